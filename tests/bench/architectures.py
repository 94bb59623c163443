"""Which architectures every stage works on, or refuses in a sentence: tiny random models of each, by the commands.

    OMP_NUM_THREADS=1 python -m tests.bench.architectures                     all of them: some minutes
    python -m tests.bench.architectures mamba gpt2 --only generate            some models, some columns

A cell is `works`, or `refused` with the code and sentence of the refusal (65, 78) below the table, or BROKEN and why: a
traceback, another code, or an answer that is not the model's own. What a column looks at:

    generate  texts in batches of 1 and of 8, greedy and drawn, are the same, and the greedy ones transformers' own
    batched   `adapt --trainer batched --target all-linear` trains what `--trainer peft` trains, to rounding
    peft      `adapt --trainer peft --target all-linear`; run again, it trains nothing
    eval      answers with these adapters, in batches of 1 and of 8, are plain peft's, one question at a time
    load      plain peft loads them, and they change what the model says
    sft       `sft --target all-linear` writes a model that says something else, to `generate` as to transformers
    default   `adapt` without --target
    sft's     `sft` without --target
"""

import argparse
import json
import sys
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from stages.domains.qa import QA
from stages.records.record import Record
from tests.cli.conftest import seal
from tests.models.architectures import ARCHITECTURES, make_architecture

PASSAGE = "The inn by the old bridge has a red door, and bees whose honey is sold there."
TASKS = [
    {
        "title": f"Inn {n}",
        "context": PASSAGE[: 10 + 30 * n],
        "questions": [{"question": f"Who says that {PASSAGE[: 25 * n]}?", "answer": "red"}],
    }
    for n in range(3)
]
TOKENS = ("--max-tokens", "12", "--no-chat")
LORA = ("--rank", "2", "--alpha", "8", "--epochs", "3", "--learning-rate", "2e-2")
ALL = ("--target", "all-linear")


class Refused(Exception):
    """A stage says in a sentence why it will not, with one of the codes for that."""


class Broken(Exception):
    """The third outcome, of which there must be none."""


@dataclass
class Trial:
    """One model, and what the stages make of it in a folder."""

    kind: str
    folder: Path
    made: dict[str, list[Record]] = field(default_factory=dict)
    failed: dict[str, Exception] = field(default_factory=dict)

    def begin(self) -> None:
        """Makes the model and the lines that every stage starts from."""
        (self.folder / "tasks.in").write_text("".join(json.dumps(task) + "\n" for task in TASKS))
        self.lines("tasks", "tasks", "tasks.in")
        self.lines("edits", "generate", "tasks.jsonl", "-t", "none")
        make_architecture(self.kind, self.folder / "model")

    def lines(self, name: str, *arguments: object, again: bool = False) -> list[Any]:
        """What a command writes, run once, or `again`. Raises Refused or Broken."""
        out = self.folder / f"{name}.jsonl"
        if name in self.failed:
            raise self.failed[name]
        if again or not out.exists():
            done = seal(*arguments, "-o", out.name, cwd=self.folder)
            told = [line for line in done.err.splitlines() if not line.startswith(("seal ", "[transformers]"))]
            if done.code in (65, 78) and len(told) == 1 and told[0].startswith("seal: "):
                self.failed[name] = Refused(f"{done.code} {told[0].removeprefix('seal: ')}")
                raise self.failed[name]
            if done.code or told:
                self.failed[name] = Broken(f"{arguments[0]}: code {done.code}: {' / '.join(told[-3:])}")
                raise self.failed[name]
        return [json.loads(line) for line in out.read_text().splitlines()]

    def texts(self, batch: int, *how: str, model: str = "model") -> dict[str, str]:
        """{prompt and number: self-edit}"""
        name = "-".join(["edits", model, str(batch), *how])
        lines = self.lines(name, "generate", "tasks.jsonl", "--model", model, "--batch", batch, *TOKENS, *how)
        return {f"{each['edit']['prompt']}#{each['edit']['sample']}": each["edit"]["completion"] for each in lines}

    def adapters(self, trainer: str, *target: str, again: bool = False) -> list[Any]:
        name = "-".join(["adapters", trainer, *target])
        return self.lines(
            name,
            *("adapt", "edits.jsonl", "--model", "model", "--out", name, "--trainer", trainer, *LORA, *target),
            again=again,
        )

    # ---- columns

    def generate(self) -> None:
        greedy, drawn = ("--temperature", "0", "-k", "1"), ("-k", "2")
        for name, how in (("greedy", greedy), ("drawn", drawn)):
            same(f"{name}, batches of 1 and 8", self.texts(1, *how), self.texts(8, *how))
        own = self.texts(1, *greedy)
        same("transformers and we", plain_texts(self.folder / "model", None, own), own)

    def batched(self) -> None:
        mine = self.adapters("batched", *ALL)
        try:
            oracle = self.adapters("peft", *ALL)
        except (Refused, Broken) as error:
            raise Broken(f"batched trains what peft does not: {error}") from None
        for one, other in zip(mine, oracle, strict=True):
            gap = distance(*(self.folder / each["adapter"]["path"] for each in (one, other)))
            if gap > 2e-2:
                raise Broken(f"batched and peft differ by {gap:.3g} of the weights")

    def peft(self) -> None:
        before = [stamp(self.folder / each["adapter"]["path"]) for each in self.adapters("peft", *ALL)]
        again = self.adapters("peft", *ALL, again=True)
        if before != [stamp(self.folder / each["adapter"]["path"]) for each in again]:
            raise Broken("the same command trained again")

    def eval(self) -> None:
        for trainer in self._trainers():
            self._eval(trainer)

    def _trainers(self) -> list[str]:
        found, refused = [], Exception()
        for trainer in ("batched", "peft"):
            try:
                self.adapters(trainer, *ALL)
                found.append(trainer)
            except Refused as error:
                refused = error
        if not found:
            raise refused
        return found

    def _eval(self, trainer: str) -> None:
        name = f"adapters-{trainer}---target-all-linear"
        answers = [
            self._answers(self.lines(f"{name}-{n}", "eval", f"{name}.jsonl", "--batch", n, *TOKENS)) for n in (1, 8)
        ]
        same(f"answers of {trainer}, batches of 1 and 8", *answers)
        for line in self.lines(name):
            path = self.folder / line["adapter"]["path"]
            own = {key: text for key, text in answers[0].items() if key.startswith(f"{line['adapter']['id']}#")}
            asked = {key.partition("#")[2]: text for key, text in own.items()}
            same(f"plain peft and we ({trainer})", plain_texts(self.folder / "model", path, asked), asked)

    def _answers(self, lines: Sequence[Any]) -> dict[str, str]:
        found = {}
        for line in lines:
            if line["score"] is None:
                raise Broken(f"not scored: {line}")
            record = Record.model_validate(line)
            for query, answer in zip(
                QA().queries(record.task, in_context=False, chat=False), line["score"]["answers"], strict=True
            ):
                found[f"{line['adapter']['id']}#{query.prompt}#"] = answer["prediction"]
                found[f"#{query.prompt}#"] = answer["baseline_prediction"]
        base = {key[1:]: text for key, text in found.items() if key.startswith("#")}
        same("plain baseline", plain_texts(self.folder / "model", None, base), base)
        return found

    def load(self) -> None:
        for trainer in self._trainers():
            for line in self.adapters(trainer, *ALL):
                path = self.folder / line["adapter"]["path"]
                gap = difference(self.folder / "model", path, self.folder / "model")
                if not gap > 1e-4:
                    raise Broken(f"{trainer}'s adapter changes nothing ({gap:.1e})")

    def sft(self, *target: str) -> None:
        target = target or ALL
        out = "-".join(["sft", *target])
        pairs = [{"prompt": f"{task['title']}.", "completion": task["context"]} for task in TASKS]
        (self.folder / "pairs.in").write_text("".join(json.dumps(pair) + "\n" for pair in pairs))
        target = () if target == ("default",) else target
        self.lines(out, "sft", "pairs.in", "--model", "model", "--out", f"{out}-model", *LORA, *target)
        changed = difference(self.folder / "model", None, self.folder / f"{out}-model")
        if not changed > 1e-4:
            raise Broken("the model is the same as before")
        greedy = ("--temperature", "0", "-k", "1")
        own = self.texts(8, *greedy, model=f"{out}-model")
        same("transformers and we, of sft's model", plain_texts(self.folder / f"{out}-model", None, own), own)

    def default(self) -> None:
        self.adapters("peft")
        self.adapters("batched")

    def sft_default(self) -> None:
        self.sft("default")


COLUMNS: dict[str, Callable[[Trial], None]] = {
    "generate": Trial.generate,
    "batched": Trial.batched,
    "peft": Trial.peft,
    "eval": Trial.eval,
    "load": Trial.load,
    "sft": Trial.sft,
    "default": Trial.default,
    "sft's": Trial.sft_default,
}


def same(what: str, one: Mapping[str, str], other: Mapping[str, str]) -> None:
    """Raises Broken where they differ."""
    bad = [key for key in {**one, **other} if one.get(key) != other.get(key)]
    if bad:
        raise Broken(f"{what}: {len(bad)} of {len(one)} differ: {one.get(bad[0])!r}, {other.get(bad[0])!r}")


def stamp(path: Path) -> list[tuple[str, int]]:
    return sorted((each.name, each.stat().st_mtime_ns) for each in path.iterdir())


# ---- transformers and peft, without any code of `stages`


@cache
def plain_model(model: Path) -> tuple[Any, Any]:
    """(tokenizer, network)"""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    return AutoTokenizer.from_pretrained(model), AutoModelForCausalLM.from_pretrained(model, dtype="float32").eval()


def adapted_model(model: Path, adapter: Path | None) -> Any:
    """The model with the adapter as plain peft loads it."""
    from peft import PeftModel

    network = plain_model(model)[1]
    return PeftModel.from_pretrained(deepcopy(network), adapter).eval() if adapter else network


def plain_texts(model: Path, adapter: Path | None, prompts: Iterable[str]) -> dict[str, str]:
    """{prompt#…: up to 12 tokens}, greedy, each alone."""
    import torch

    tokenizer, network = plain_model(model)[0], adapted_model(model, adapter)
    found = {}
    for key in prompts:
        ids = tokenizer(key.rpartition("#")[0], return_tensors="pt")["input_ids"]
        settings = {"attention_mask": torch.ones_like(ids), "do_sample": False, "max_new_tokens": 12}
        with torch.inference_mode():
            grown = network.generate(input_ids=ids, eos_token_id=0, pad_token_id=0, **settings)
        text = grown[0, ids.shape[1] :].tolist()
        text = text[: text.index(0)] if 0 in text else text
        found[key] = tokenizer.decode(text, skip_special_tokens=True, clean_up_tokenization_spaces=False)
    return found


def difference(model: Path, adapter: Path | None, other: Path) -> float:
    """Largest difference of two models' logits of twenty tokens."""
    import torch

    ids = torch.arange(5, 25)[None]
    with torch.inference_mode():
        first = adapted_model(model, adapter)(input_ids=ids).logits
        return float((first - adapted_model(other, None)(input_ids=ids).logits).abs().max())


def distance(one: Path, other: Path) -> float:
    """Largest difference of two adapters' weights, as a share of the largest weight."""
    from safetensors.torch import load_file

    first, second = (load_file(each / "adapter_model.safetensors") for each in (one, other))
    if first.keys() != second.keys():
        raise Broken(f"other layers: {sorted(first.keys() ^ second.keys())[:2]}")
    return max(float((first[key] - second[key]).abs().max() / first[key].abs().max()) for key in first)


def cell(column: Callable[[Trial], None], trial: Trial) -> str:
    try:
        column(trial)
    except Refused as error:
        return f"refused: {error}"
    except Broken as error:
        return f"BROKEN: {error}"
    except Exception as error:  # noqa: BLE001
        return f"BROKEN: {type(error).__name__}: {' '.join(str(error).split())}"
    return "works"


def row(kind: str, names: Sequence[str]) -> dict[str, str]:
    with tempfile.TemporaryDirectory() as folder:
        trial = Trial(kind, Path(folder))
        trial.begin()
        return {name: cell(COLUMNS[name], trial) for name in names}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kinds", nargs="*", metavar="MODEL", help=", ".join(ARCHITECTURES))
    parser.add_argument("--only", action="append", choices=COLUMNS, help="a column; repeat it")
    given = parser.parse_args()
    from transformers.utils import logging

    logging.set_verbosity_error()
    logging.disable_progress_bar()
    names, reasons = given.only or list(COLUMNS), {}
    print(f"{'':18}" + "".join(f"{name:10}" for name in names))
    for kind in given.kinds or ARCHITECTURES:
        cells = row(kind, names)
        print(f"{kind:18}" + "".join(f"{text.partition(':')[0]:10}" for text in cells.values()), flush=True)
        for name, text in cells.items():
            if text != "works":
                print(f"    {name}: {text[:300]}", file=sys.stderr, flush=True)
                reasons.setdefault(text, []).append(f"{kind} {name}")
    print()
    for text, where in reasons.items():
        print(f"{', '.join(where)}: {text}")
    sys.exit(any(text.startswith("BROKEN") for text in reasons))


if __name__ == "__main__":
    main()
