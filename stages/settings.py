"""Settings: the one home of knob, default, source, bounds and words of help. Imports nothing heavy.

`seal_cli.flags.expand` makes a flag of each field; a number of the paper carries its source.
"""

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from annotated_types import Ge, Le

from stages.errors import BadConfig, refuse_given

Ties = Literal["first", "random", "shortest"]  # which of several equally good self-edits is kept
OuterLoss = Literal["sft", "dpo", "weighted"]  # cross-entropy, of preferences (DPO), weighted by advantages (GRPO)
UnscoredPolicy = Literal["leave-out", "pessimistic"]  # pessimistic: its unscored answers wrong, the baseline's right
Schedule = Literal["linear", "cosine", "constant"]
Method = Literal["lora", "full"]  # what is trained: a LoRA on the frozen model, or all of its weights
Targets = tuple[str, ...]  # names of layers
_TARGETS = "A layer to adapt (repeat it), or all-linear."
_USUAL = "peft's choice: q_proj, v_proj; ARC: q, v, gate, up, down"
_CHOSEN = "ARC: what the self-edit says"
_RATE = f"0.001; full: 7e-05; {_CHOSEN}"
_LORA_ALONE = ("rank", "alpha", "dropout", "targets")  # settings that mean nothing where all weights are trained
FULL_LEARNING_RATE = 7e-5  # SEAL v2, continued pretraining; a LoRA's would destroy the model
_PADS = (
    "What is learned behind a sequence: none, eos (one end token), full (end tokens up to --pad-to: the official "
    "recipe), sampled:M (M of those, weighted)."
)


@dataclass(frozen=True)
class Doc:
    """What a setting does, for help. `metavar` stands for its value there; `flag` is its name if not the field's own.

    `default` is said instead of the value itself; `values` are some to choose from; `panel` is the title over it.
    `read` makes each text of a tuple of what was written in the shell.
    """

    text: str = ""
    metavar: str | None = None
    flag: str = ""
    default: str = ""
    values: tuple[str, ...] = ()
    panel: str = ""
    read: Callable[[str], str] = str


_ESCAPES = {"n": "\n", "t": "\t", "\\": "\\"}


def read_escapes(text: str) -> str:
    r"""Return a stop string as it was written in the shell: \n, \t and \\ stand for a line's end, a tab, a backslash.

    Raises BadConfig for a backslash before anything else.
    """

    def read(found: re.Match[str]) -> str:
        if found[1] not in _ESCAPES:
            raise BadConfig(rf"the stop string '{text}': {found[0]} is none of \n, \t and \\; write \\ for a backslash")
        return _ESCAPES[found[1]]

    return re.sub(r"\\(.|\Z)", read, text, flags=re.DOTALL)


STOP = Doc(
    r"A text ends before this one, which is left out (repeat it): '\n', the line's end; \t and \\ are known, too.",
    "TEXT",
    "--stop",
    default="none",
    panel="Sampling",
    read=read_escapes,
)

ModelName = Annotated[
    str | None,
    Doc("A model directory or hub name.", "DIR|NAME", default="the one that the lines name", panel="Options"),
]


@dataclass(frozen=True)
class Retrieval:
    """Passages of other tasks that stand in prompts: retrieval-augmented generation."""

    panel: ClassVar[str] = "Retrieval"
    retrieve: Annotated[
        Path | None, Doc("Put the passages of this file's tasks that suit a question best before it (BM25).", "FILE")
    ] = None
    chunks: Annotated[int | None, Ge(1), Doc("Passages before a question, at most.", "K", default="3")] = None

    def get_most(self, *, in_context: bool = False) -> int:
        """Return how many passages a question gets. Raises BadConfig for flags that contradict each other."""
        if self.retrieve is None:
            refuse_given({"--chunks": self.chunks}, "passages that are retrieved: give --retrieve FILE, too")
        elif in_context:
            raise BadConfig(f"--retrieve {self.retrieve}: --in-context shows the passage itself; leave one of them out")
        return self.chunks or 3


@dataclass(frozen=True)
class Sampling:
    """How a completion is drawn. Defaults: SEAL App. B, self-edit generation for knowledge incorporation."""

    panel: ClassVar[str] = "Sampling"
    temperature: Annotated[float, Ge(0.0), Doc("0 is greedy.", "T")] = 1.0  # SEAL App. B
    top_p: Annotated[float, Ge(0.0), Le(1.0), Doc("Nucleus sampling; 1 keeps all tokens.", "P")] = 0.95  # SEAL App. B
    max_tokens: Annotated[int, Ge(1), Doc("Most tokens of a completion.", "N")] = 8192  # official make_squad_data
    seed: int = 0
    stop: Annotated[tuple[str, ...], STOP] = ()  # official query server: end tokens alone

    def __post_init__(self) -> None:
        """Raise BadConfig for a stop string that is none."""
        if isinstance(self.stop, str):
            raise BadConfig(f"the stop string {self.stop!r}: stands alone; give a tuple of them")
        if "" in self.stop:
            raise BadConfig("the stop string '': is empty, and would end every text before it begins; leave it out")

    @property
    def settings(self) -> dict[str, Any]:
        """What records and a run's settings say of it: stop strings only where there are some, in one order."""
        found = {name: value for name, value in vars(self).items() if name != "stop"}
        return {**found, **({"stop": sorted(set(self.stop))} if self.stop else {})}


ANSWERING = Sampling(temperature=0.0, top_p=1.0, max_tokens=64)  # official query server: greedy, 64 tokens


@dataclass(frozen=True)
class PadMode:
    """What is learned behind a sequence: nothing, one end token, or end tokens up to a fixed length.

    `full` is the official recipe, whose loss is 98 % pads at 2048 tokens; `sampled:M` takes M of the pads, each
    weighted by how many it stands for, and comes close to it at a fraction of the cost.
    """

    end: bool  # one end token is learned
    padded: bool
    samples: int | None = None  # pads per sequence; None: all

    @classmethod
    def parse(cls, text: str) -> "PadMode":
        """From none, eos, sampled:M or full. Raises BadConfig for anything else."""
        name, _, count = text.partition(":")
        if text in ("none", "eos"):
            return cls(end=text == "eos", padded=False)
        if text == "full":
            return cls(end=False, padded=True)
        if name == "sampled" and count.isdecimal() and int(count):
            return cls(end=False, padded=True, samples=int(count))
        raise BadConfig(f"--pad-mode {text}: take none, eos, full or sampled:M, for example sampled:32")


@dataclass(frozen=True)
class FitConfig:
    """The inner update. Defaults: SEAL App. B and the official TTT server, single-passage knowledge incorporation."""

    panel: ClassVar[str] = "Training"
    method: Annotated[
        Method, Doc("Train a LoRA, or all weights (full): of a pool, whose lines then name a model directory.")
    ] = "lora"
    rank: Annotated[int, Ge(1), Doc("LoRA rank.", "R")] = 32  # SEAL App. B
    alpha: Annotated[float, Doc("LoRA alpha; the update is scaled by alpha/rank.", "A")] = 64.0  # SEAL App. B
    dropout: Annotated[float, Ge(0), Le(1), Doc("LoRA dropout.", "P")] = 0.0  # official TTT server
    targets: Annotated[Targets, Doc(_TARGETS, "NAME", "--target", default=_USUAL)] = ()  # as the official code
    learning_rate: Annotated[float, Ge(0), Doc("", "LR", default=_RATE)] = 1e-3  # SEAL App. B
    epochs: Annotated[int, Ge(1), Doc("", "N", default=f"10; {_CHOSEN}")] = 10  # SEAL App. B
    batch_size: Annotated[int, Ge(1), Doc("Sequences per batch.", "N")] = 1  # SEAL App. B
    accumulation: Annotated[int, Ge(1), Doc("Batches per step.", "N")] = 1  # official TTT server
    schedule: Annotated[Schedule, Doc("Learning rate over the steps.")] = "linear"  # HF Trainer's, as the official code
    warmup_steps: Annotated[int, Ge(0), Doc("", "N")] = 0  # HF Trainer's default
    warmup_ratio: Annotated[float, Ge(0), Le(1), Doc("Warm-up as a share of the steps instead.", "X")] = 0.0
    max_grad_norm: Annotated[float, Ge(0), Doc("", "X")] = 1.0  # HF Trainer's default; 0 does not clip
    weight_decay: Annotated[float, Ge(0), Doc("", "X")] = 0.0  # HF Trainer's default
    pad_mode: Annotated[str, Doc(_PADS, "MODE", values=("none", "eos", "full", "sampled:32"))] = "eos"  # official: full
    pad_to: Annotated[int, Ge(2), Doc("Tokens up to which full and sampled pad.", "N")] = 2048  # official TTT server

    def change(self, given: Mapping[str, Any]) -> "FitConfig":
        """Return it with the given fields. Raises BadConfig where they contradict each other.

        A given --warmup-ratio stands instead of these settings' own warm-up steps.
        """
        if given.get("warmup_ratio") and given.get("warmup_steps"):
            steps, ratio = given["warmup_steps"], given["warmup_ratio"]
            raise BadConfig(f"--warmup-ratio {ratio:g} and --warmup-steps {steps}: both are the warm-up; give one")
        own: dict[str, Any] = {"warmup_steps": 0} if given.get("warmup_ratio") else {}
        if given.get("method") == "full":
            own |= {"learning_rate": FULL_LEARNING_RATE}
            for name in _LORA_ALONE:
                if name in given:
                    flag, value = ("target", given[name][0]) if name == "targets" else (name, given[name])
                    raise BadConfig(f"--{flag} {value}: is a LoRA's, and --method full trains all weights")
        return replace(self, **{**own, **given})

    @property
    def settings(self) -> dict[str, Any]:
        """Every hyper-parameter that counts, by name: what ids, settings and records say of the training."""
        unused = {"method"} if self.method == "lora" else set(_LORA_ALONE)
        unused |= set() if self.warmup_ratio else {"warmup_ratio"}
        return {name: value for name, value in vars(self).items() if name not in unused}

    def count_warmup_steps(self, steps: int) -> int:
        """Return the steps of the warm-up, of so many in all: of a ratio rounded up, as HF Trainer does."""
        return self.warmup_steps or math.ceil(steps * self.warmup_ratio)


@dataclass(frozen=True)
class Pooling:
    """Whether self-edits are trained on together: one adapter for all, or for each value of `by` (None: each alone).

    The defaults are those of the paper's continued pretraining with LoRA (SEAL v1, section 4.2, and the official CPT).
    """

    panel: ClassVar[str] = "Pools"
    pool: Annotated[bool, Doc("Train one adapter on the self-edits of all lines.")] = False
    pool_by: Annotated[
        str | None, Doc("One adapter for each value of a key of the lines: task.title, meta.topic.", "KEY")
    ] = None
    pool_passages: Annotated[
        Literal["each", "once"] | None,
        Doc("The passage is learned with each of its self-edits, or once.", default="each"),
    ] = None  # each: official CPT.py (v1); once: CPT_fullFT.py (v2)
    max_tokens_budget: Annotated[
        int | None,
        Ge(1),
        Doc("Most tokens of an epoch of a pool; sequences beyond are left out.", "N", default="all"),
    ] = None

    @property
    def is_on(self) -> bool:
        """True if there are pools."""
        return self.pool or self.pool_by is not None

    @property
    def settings(self) -> Mapping[str, Any]:
        """What a run's settings and an adapter's record say of it."""
        found = {"by": self.pool_by, "passages": self.pool_passages or "each", "max_tokens": self.max_tokens_budget}
        return {name: value for name, value in found.items() if value is not None}


ALONE = Pooling()  # each self-edit is trained alone


@dataclass(frozen=True)
class SftConfig:
    """The outer update. Defaults: SEAL App. B, supervised fine-tuning on the kept self-edits."""

    panel: ClassVar[str] = "Training"
    full: Annotated[bool, Doc("Tune every weight, or a LoRA that is merged.", flag="--full/--lora")] = False
    rank: Annotated[int, Ge(1), Doc("LoRA rank.", "R")] = 64  # SEAL App. B
    alpha: Annotated[float, Doc("LoRA alpha.", "A")] = 128.0  # SEAL App. B
    targets: Annotated[Targets, Doc(_TARGETS, "NAME", "--target", default="the seven of a Llama block")] = (
        *("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"),  # SEAL App. B
    )
    learning_rate: Annotated[float, Ge(0), Doc("", "LR")] = 3e-4  # SEAL App. B
    epochs: Annotated[int, Ge(1), Doc("", "N")] = 2  # SEAL App. B
    batch_size: Annotated[int, Ge(1), Doc("Examples per step.", "N")] = 10  # SEAL App. B: of the optimizer
    micro_batch: Annotated[int, Ge(1), Doc("Examples per forward pass; divides the batch size.", "N")] = (
        1  # same for any
    )
    max_grad_norm: Annotated[float, Ge(0), Doc("", "X")] = 1.0  # HF Trainer's default; 0 does not clip
    loss: Annotated[
        OuterLoss,
        Doc(
            "sft: cross-entropy; dpo: chosen against rejected (`seal filter --pairs`); weighted: cross-entropy times "
            "the advantage (`seal filter --weights`)."
        ),
    ] = "sft"  # SEAL section 3: ReST-EM
    beta: Annotated[float, Ge(0), Doc("Of --loss dpo: a larger one keeps nearer to the model before.", "B")] = (
        0.1  # trl's DPOConfig; arXiv 2305.18290 App. B
    )
    seed: int = 0

    def check(self) -> None:
        """Raise BadConfig for settings that contradict each other."""
        if self.batch_size % self.micro_batch:
            raise BadConfig(f"--micro-batch {self.micro_batch}: does not divide --batch-size {self.batch_size}")
        if self.loss != "dpo" and self.beta != SftConfig.beta:
            raise BadConfig(f"--beta {self.beta:g}: is of --loss dpo; leave it out, or give that")
        if not self.beta > 0:
            raise BadConfig(f"--beta {self.beta:g}: with 0 no pair teaches anything; give more")

    def get_used_settings(self) -> dict[str, Any]:
        """Return every setting that counts, by name: those of another loss than sft only where it is another."""
        unused = {"sft": {"loss", "beta"}, "weighted": {"beta"}, "dpo": set[str]()}[self.loss]
        return {key: value for key, value in vars(self).items() if key not in unused}
