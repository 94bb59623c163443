"""A guard around user-supplied trainers: reports their errors as theirs, and checks what they return."""

import math
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from stages.interfaces import FitJob, FitResult, NullProgress, Progress
from stages.plugins import Plugin, format_value

_TRAINER_NEEDS = "a trainer has a model and fit(jobs, progress), as in stages.interfaces"


class GuardedTrainer:
    """Trains with the user's class. Raises BadConfig, with its file and line, if it raises or returns anything else."""

    def __init__(self, name: str, kind: Any, model: str, **settings: Any) -> None:
        self.theirs = Plugin("--trainer", name, kind, model, **settings)
        self.model = self.theirs.text("model", _TRAINER_NEEDS)
        self.method = self.theirs.method("fit", _TRAINER_NEEDS)

    def fit(self, jobs: Iterable[FitJob], progress: Progress = NullProgress()) -> Iterator[FitResult]:
        """Yield one result per job."""
        asked = list(jobs)
        left = {job.id for job in asked}
        for found in self.theirs.each(self.method, asked, progress):
            if fault := _fault_of_result(found):
                raise self.theirs.wrong(f"gave {format_value(found)}, which {fault}")
            if found.id not in left:
                raise self.theirs.wrong(f"gave a result for {format_value(found.id)}, which is no job that waits")
            left.remove(found.id)
            yield found
        if left:
            raise self.theirs.wrong(f"gave no result for {len(left)} of {len(asked)} jobs")


def _fault_of_result(found: object) -> str | None:
    """Why this is no result of a training; None where it is one."""
    if not isinstance(found, FitResult):
        return "is no FitResult(id, path, sequences, tokens, steps, loss_first, loss_last, error)"
    if found.error is not None:
        return None if isinstance(found.error, str) else "has an error that is no text"
    if not isinstance(found.path, Path | str):
        return "has neither a path nor an error"
    if not all(map(_is_count, (found.sequences, found.tokens, found.steps))):
        return "has sequences, tokens or steps that are no number"
    losses = found.loss_first, found.loss_last
    finite = all(isinstance(loss, int | float) and math.isfinite(loss) for loss in losses)
    return None if finite else "has a loss that is no finite number"


def _is_count(value: object) -> bool:
    return type(value) is int and value >= 0
