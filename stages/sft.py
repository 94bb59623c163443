"""pair → checkpoint: the model is fine-tuned on its own best self-edits (SEAL section 3, outer loop)."""

from collections.abc import Callable, Iterable
from functools import cached_property
from pathlib import Path
from typing import Protocol

from stages.errors import BadConfig, BadInput, BadLine, ExistingOutput, Untrainable
from stages.files import remove_partials
from stages.interfaces import Example, NullProgress, Progress
from stages.models.checkpoints import CHECKPOINT_FILE, read_checkpoint
from stages.records.schema import Checkpoint
from stages.settings import SftConfig
from stages.sources.repeats import UniqueLines
from stages.sources.training_pairs import TrainingPair
from stages.tokens.chat_templates import NO_CHAT_ADVICE
from stages.tokens.token_counts import TokenCounter


class Finetuner(Protocol):
    model: str

    def finetune(
        self, examples: list[Example], config: SftConfig, out: Path, progress: Progress = NullProgress()
    ) -> Checkpoint: ...


def run(
    pairs: Iterable[TrainingPair],
    finetuner: Finetuner,
    *,
    out: Path,
    config: SftConfig = SftConfig(),
    progress: Progress = NullProgress(),
) -> Checkpoint:
    """Train on all pairs and return the line that names the new model. Raises BadInput where there is nothing."""
    examples = [example for pair in pairs for example in pair.examples]
    if not examples:
        raise BadInput("no examples to train on: `seal filter` kept nothing (see its counts; loosen --keep)")
    return finetuner.finetune(examples, config, out, progress)


class PairCheck:
    """Check that the model can learn a pair: raises BadLine for one beyond its context, or no chat of its template.

    Also for a line of `seal filter` that comes twice; others may repeat what is to weigh more.

    The tokenizer is loaded, after `prepare`, when a pair comes that must be counted. `counts`: whether those of a hub
    model, which may have to be downloaded, are counted too, and not chats alone.
    """

    def __init__(self, model: str, counts: bool = True, prepare: Callable[[], object] = bool) -> None:
        self.model, self.prepare, self.counts = model, prepare, counts or Path(model).is_dir()
        self.distinct = UniqueLines()
        self.unwritten = 0  # chats of which the template writes none like them

    @cached_property
    def lengths(self) -> TokenCounter:
        """Look at the model: without a pair nobody asks for one."""
        return TokenCounter(self.model)

    def __call__(self, pair: TrainingPair) -> None:
        key = (pair.task_id, pair.edit_id)
        self.distinct.check(key, f"self-edit {pair.edit_id} of task {pair.task_id} occurs twice")
        for example in pair.sequences:
            if pair.is_chat or (self.counts and not self.lengths.surely_holds(example)):
                self._check_fit(example, is_chat=pair.is_chat)
        if pair.edit_id is not None:
            self.distinct.seen.add(key)

    def _check_fit(self, example: Example, *, is_chat: bool) -> None:
        self.prepare()
        has_template = bool(self.lengths.tokenizer.chat_template)  # one that cannot be loaded is no line's fault
        try:
            if is_chat and not has_template:
                raise BadConfig(f"--model {self.model}: has no chat template")
            self.lengths.check(example)
        except BadConfig as error:  # the template's
            self.unwritten += 1
            why = str(error).removesuffix(NO_CHAT_ADVICE)
            raise BadLine(f"{why}; give a chat model, or text instead of messages") from None
        except Untrainable as error:
            raise BadLine(str(error)) from None

    def blame_model(self, error: BadInput, rejected: int) -> None:
        """Raise BadConfig where every rejected line is a chat that the model's template does not write."""
        if self.unwritten and self.unwritten == rejected:
            raise BadConfig(str(error)) from None


def check_out(out: Path, model: str, *, overwrite: bool) -> None:
    """Raise ExistingOutput for a folder that must or could not be replaced, or that no `seal sft` wrote."""
    if out.is_symlink():
        raise ExistingOutput(f"--out {out}: a symlink; give the directory itself")
    if Path(model).is_dir() and out.resolve() == Path(model).resolve():
        raise ExistingOutput(f"--out {out}: is the model that is trained; give another directory")
    if not out.name or (out.exists() and not (out / "config.json").is_file()):
        raise ExistingOutput(f"--out {out}: is there and is no model directory; give another one")
    if out.exists() and not overwrite and not (out / CHECKPOINT_FILE).is_file():
        raise ExistingOutput(f"--out {out}: exists already; give --overwrite, or another directory")


def find_made(out: Path, digest: str, *, overwrite: bool) -> Checkpoint | None:
    """Return the checkpoint that this very run has made before. Raises ExistingOutput for another run's.

    What a killed run left beside it is removed.
    """
    remove_partials(out.parent, {out.name})
    made = read_checkpoint(out, digest)
    if made is None and out.exists() and not overwrite:
        raise ExistingOutput(f"--out {out}: exists already; give --overwrite, or another directory")
    return made
