"""How many prompts and training sequences the model's context cannot hold, for a dry run."""

from collections.abc import Iterable
from pathlib import Path

from stages.interfaces import FitJob, PadMode, Prompt
from stages.tokens.token_counts import TokenCounter

NONE = 0, ""  # also of a server, which has no directory here


def count_crowded(model: str, prompts: Iterable[Prompt]) -> tuple[int, str]:
    """Count the prompts that leave no room for a completion, with a sentence for the user."""
    if not Path(model).is_dir():
        return NONE
    lengths, asked = TokenCounter(model), list(prompts)
    fits = {id(prompt): lengths.leaves_room(prompt) for prompt in {id(prompt): prompt for prompt in asked}.values()}
    crowded = sum(not fits[id(prompt)] for prompt in asked)  # the samples of a task share their prompt
    return crowded, (
        f"{crowded} prompts leave no room in {model}'s context of {lengths.context} tokens: they "
        "would fail; shorten their tasks, or leave them out"
    )


def count_untrainable(model: str, jobs: Iterable[FitJob]) -> tuple[int, str]:
    """Count the trainings with a sequence that is longer than the context, with a sentence for the user."""
    if not Path(model).is_dir():
        return NONE
    lengths, known, failed = TokenCounter(model), dict[int, bool](), 0
    for job in jobs:
        end, examples = PadMode.parse(job.config.pad_mode).end, job.lesson.examples
        if id(examples) not in known:  # the seeds of a self-edit share their examples
            known[id(examples)] = all(lengths.holds(example, end=end) for example in examples)
        failed += not known[id(examples)]
    return failed, (
        f"{failed} trainings have a sequence longer than {model}'s context of "
        f"{lengths.context} tokens: they would fail; split their passages into several tasks"
    )
