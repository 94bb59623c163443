"""The steps and passes of trainings, as the trainers make them, and what each costs."""

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from stages.planning.rates import Features, add_features


@dataclass(frozen=True)
class SizedJob:
    """A training in tokens: of each of its sequences as computed, with pads; the sequences of a step, the epochs."""

    rows: tuple[int, ...]
    batch: int
    epochs: int

    @property
    def tokens(self) -> int:
        """Tokens of all epochs, which say which job goes first."""
        return self.epochs * sum(self.rows)

    @property
    def steps(self) -> int:
        return self.epochs * -(-len(self.rows) // self.batch)

    def list_batches(self) -> list[tuple[int, ...]]:
        """Return the rows of each step of an epoch. Trainers shuffle; what a step holds on average stays."""
        return [self.rows[start : start + self.batch] for start in range(0, len(self.rows), self.batch)]


@dataclass(frozen=True)
class PassShape:
    """The largest pass of all: what memory follows from."""

    tokens: int = 0
    squares: int = 0
    slots: int = 0

    def grow(self, other: "PassShape") -> "PassShape":
        return PassShape(max(self.tokens, other.tokens), max(self.squares, other.squares), max(self.slots, other.slots))

    @property
    def features(self) -> Features:
        """What memory follows from."""
        return {"pass tokens": float(self.tokens), "pass squares": float(self.squares), "slots": float(self.slots)}


def describe_fit(jobs: Sequence[SizedJob], slots: int, budget: int) -> tuple[Features, PassShape]:
    """Return what the time of a call of the trainer follows from, and its largest pass.

    `slots` jobs are in work at a time, the longest first, and each step takes the next step of all of them, in passes
    of at most `budget` tokens; 1 slot: one job after the other.
    """
    queue = deque(sorted((job for job in jobs if job.steps), key=lambda job: job.tokens, reverse=True))
    active: list[tuple[list[tuple[int, ...]], int]] = []  # (steps of an epoch, steps that are left)
    found, most = {"starts": 1.0, "jobs": float(len(jobs))}, PassShape()
    sums = {"steps": 0, "slot steps": 0, "passes": 0, "tokens": 0, "squares": 0}
    while queue or active:
        while queue and len(active) < slots:
            job = queue.popleft()
            active.append((job.list_batches(), job.steps))
        rows = sorted(size for batches, left in active for size in batches[left % len(batches)])
        for one in _split(rows, budget):
            squares = sum(size**2 for size in one)
            sums["passes"] += 1
            sums["squares"] += squares
            most = most.grow(PassShape(sum(one), squares, len(active)))
        sums["steps"] += 1
        sums["slot steps"] += len(active)
        sums["tokens"] += sum(rows)
        active = [(batches, left - 1) for batches, left in active if left > 1]
    return add_features([found, {name: float(value) for name, value in sums.items()}]), most


def _split(rows: Sequence[int], budget: int) -> Iterator[list[int]]:
    """Split sequences into passes of at most so many tokens; a longer one is a pass of its own."""
    part: list[int] = []
    used = 0
    for size in rows:
        if part and used + size > budget:
            yield part
            part, used = [], 0
        part.append(size)
        used += size
    if part:
        yield part
