"""The work of a torture over a few forked worker processes."""

import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from multiprocessing import get_context
from typing import Any, TypeVar

from tests.fault_injection.parts import PARTS, Absent
from tests.fault_injection.points import Point, Verdict, strike
from tests.fault_injection.world import World

V = TypeVar("V")
EVERY_S = 5.0
_here: list[World] = []  # in a worker: the world that it was forked with


@dataclass(frozen=True)
class PartVerdict:
    """`tried` trials of a part, the complaints by trial, or what of it could not be tried."""

    name: str
    tried: int
    problems: tuple[tuple[str, tuple[str, ...]], ...]
    note: str = ""


def make_pool(world: World, workers: int) -> ProcessPoolExecutor:
    """Workers inherit the world and every import; they start at the first job."""
    return ProcessPoolExecutor(workers, mp_context=get_context("fork"), initializer=_here.append, initargs=(world,))


def try_point(point: Point, room: str | None) -> Verdict:
    """A job of a worker; `room` names a folder to keep."""
    return strike(_here[0], point, room or f"worker {os.getpid()}")


def try_part(name: str, seed: int, most: int | None) -> PartVerdict:
    """A job of a worker."""
    found, note = [], ""
    try:
        for what, problems in PARTS[name](_here[0], seed, most):
            found.append((what, tuple(problems)))
    except Absent as absent:
        note = str(absent)
    return PartVerdict(name, len(found), tuple(each for each in found if each[1]), note)


def try_all(pool: ProcessPoolExecutor, work: Callable[..., V], jobs: Sequence[tuple[Any, ...]]) -> Iterator[V]:
    """The results as they come, with progress on stderr."""
    started = shown = time.monotonic()
    waiting = [pool.submit(work, *job) for job in jobs]
    for done, future in enumerate(as_completed(waiting), 1):
        yield future.result()
        now = time.monotonic()
        if now - shown >= EVERY_S or done == len(waiting):
            shown = now
            sys.stderr.write(f"torture: {done}/{len(waiting)}, {now - started:.0f} s\n")
