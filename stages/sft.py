"""pair → checkpoint: the model is fine-tuned on its own best self-edits (SEAL section 3, outer loop)."""

from collections.abc import Iterable
from pathlib import Path
from typing import Protocol

from stages.errors import BadInput
from stages.interfaces import Example, NullProgress, Progress, SftConfig
from stages.records.pairs import TrainingPair
from stages.records.record import Checkpoint


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
    """Trains on all pairs and returns the line that names the new model. Raises BadInput where there is nothing."""
    examples = [example for pair in pairs for example in pair.examples]
    if not examples:
        raise BadInput("no examples to train on: `seal filter` kept nothing (see its counts; loosen --keep)")
    return finetuner.finetune(examples, config, out, progress)
