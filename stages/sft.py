"""sft line → checkpoint: the model is fine-tuned on its own best self-edits (SEAL section 3, outer loop)."""

from collections.abc import Iterable
from pathlib import Path
from typing import Protocol

from stages.engines.base import Example, Prompt, SftConfig
from stages.failures import BadInput
from stages.records import Checkpoint, SftExample


class Finetuner(Protocol):
    model: str

    def finetune(self, examples: list[Example], config: SftConfig, out: Path) -> Checkpoint: ...


def run(lines: Iterable[SftExample], finetuner: Finetuner, *, out: Path, config: SftConfig = SftConfig()) -> Checkpoint:
    """Trains on all lines and returns the line that names the new model. Raises BadInput where there is nothing."""
    examples = [Example(prompt_of(line), line.completion) for line in lines]
    if not examples:
        raise BadInput("no examples to train on: `seal filter` kept nothing (see its counts; loosen --keep)")
    return finetuner.finetune(examples, config, out)


def prompt_of(line: SftExample) -> Prompt:
    """The prompt as engines read it: text, or the messages of a chat."""
    if isinstance(line.prompt, str):
        return line.prompt
    return [{"role": message.role, "content": message.content} for message in line.prompt]
