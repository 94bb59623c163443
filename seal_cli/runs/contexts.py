"""What a dry run says of prompts and training sequences that the model's context cannot hold."""

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from seal_cli.terminal.console import say

if TYPE_CHECKING:
    from seal_cli.runs.run import Run
    from stages.interfaces import FitJob, Prompt


def count_crowded(run: "Run", model: str, prompts: "Iterable[Prompt]") -> None:
    """Counts as failed the prompts that leave no room for a completion in the model's context, and says how many.

    Of a server, which has no directory here, nothing is known.
    """
    from stages.tokens.token_counts import Lengths

    if not Path(model).is_dir():
        return
    lengths, asked = Lengths(model), list(prompts)
    fits = {id(prompt): lengths.leaves_room(prompt) for prompt in {id(prompt): prompt for prompt in asked}.values()}
    crowded = sum(not fits[id(prompt)] for prompt in asked)  # the samples of a task share their prompt
    run.counts.failed += crowded
    if crowded:
        say(
            f"seal {run.stage}: {crowded} prompts leave no room in {model}'s context of {lengths.context} tokens: they "
            "would fail; shorten their tasks, or leave them out"
        )


def count_untrainable(run: "Run", model: str, jobs: "Iterable[FitJob]") -> None:
    """Counts as failed the trainings with a sequence that is longer than the model's context, and says how many."""
    from stages.interfaces import PadMode
    from stages.tokens.token_counts import Lengths

    if not Path(model).is_dir():
        return
    lengths, known = Lengths(model), dict[int, bool]()
    failed = 0
    for job in jobs:
        end, examples = PadMode.parse(job.config.pad_mode).end, job.lesson.examples
        if id(examples) not in known:  # the seeds of a self-edit share their examples
            known[id(examples)] = all(lengths.holds(example, end=end) for example in examples)
        failed += not known[id(examples)]
    run.counts.failed += failed
    if failed:
        say(
            f"seal {run.stage}: {failed} trainings have a sequence longer than {model}'s context of "
            f"{lengths.context} tokens: they would fail; split their passages into several tasks"
        )
