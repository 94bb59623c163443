"""Judges that bring their worker down, each where a folder or a word says so."""

import os
import signal
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

from stages.judges.base import Case, Verdict


class Careful:
    """Says that everything is right, and takes a while."""

    name = "careful"

    def grade(self, cases: Iterable[Case]) -> Iterator[Verdict]:
        for case in cases:
            self.look_at(case)
            yield Verdict(True)

    def look_at(self, case: Case) -> None:
        time.sleep(0.02)


class Deadly(Careful):
    """Dies of every case that says "poison"."""

    def look_at(self, case: Case) -> None:
        if "poison" in case.question:
            os.kill(os.getpid(), signal.SIGKILL)


class Mortal(Careful):
    """Dies once of every second record."""

    def look_at(self, case: Case) -> None:
        mark = Path("deaths") / case.question.split()[-1].rstrip("?")
        if int(mark.name[1:]) % 2 and not mark.exists():
            mark.touch()
            os.kill(os.getpid(), signal.SIGKILL)


class Hopeless(Careful):
    """Dies before it is there."""

    def __init__(self) -> None:
        if Path("deaths").exists():
            os.kill(os.getpid(), signal.SIGKILL)
