"""An engine and a trainer that cost nothing, for `--engine` and `--trainer`."""

from collections.abc import Iterable, Iterator
from pathlib import Path

from stages.interfaces import Completion, FitJob, FitResult, NullProgress, Progress, Request


class Echo:
    """Says the end of what it is asked."""

    def __init__(self, model: str, *, device: object, batch_size: int) -> None:
        self.model = model

    def sample(self, requests: Iterable[Request], progress: Progress = NullProgress()) -> Iterator[Completion]:
        for request in requests:
            yield Completion(request.id, str(request.prompt)[-20:], "stop", 5)


class Pretend:
    """Trains nothing, and says where the adapter would lie."""

    def __init__(self, model: str, *, device: object) -> None:
        self.model = model

    def fit(self, jobs: Iterable[FitJob], progress: Progress = NullProgress()) -> Iterator[FitResult]:
        for job in jobs:
            yield FitResult(job.id, Path(job.out), 1, 10, 1, 2.0, 1.0)


class Replaced(Echo):
    """An engine whose model is replaced by another while it loads it."""

    def __init__(self, model: str, *, device: object, batch_size: int) -> None:
        super().__init__(model, device=device, batch_size=batch_size)
        Path(model, "config.json").write_text('{"another": true}')
