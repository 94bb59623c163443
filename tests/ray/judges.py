"""Judges for runs on a cluster."""

import os
import signal
import time
from collections.abc import Iterable, Iterator

from stages.judges.base import Case, Verdict
from tests.ray.worker import STRIKES


class Careful:
    """Says that everything is right, and takes a while."""

    name = "careful"

    def grade(self, cases: Iterable[Case]) -> Iterator[Verdict]:
        for _ in cases:
            time.sleep(0.02)
            yield Verdict(True)


class Hopeless(Careful):
    """Kills the worker of a cluster before it is there."""

    def __init__(self) -> None:
        if STRIKES.exists():
            os.kill(os.getpid(), signal.SIGKILL)
