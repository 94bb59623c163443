"""Which lines are made by whom: leases of a few units of work, the longest first, less work towards the end.

A unit is what is worked on together: the keys of one line, or of all lines that share an adapter. Nothing here knows
who the workers are: whoever is free takes a lease, finishes its keys one by one, and settles it or loses it.
"""

from array import array
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

_MOST_DEATHS = 2  # of workers that had a unit alone; after them it is given up
_SHARE = 0.8  # of what each worker would get of the rest; with more, one whose lines are slower ends last


class SingleKeys(Sequence[Sequence[str]]):
    """Units of a key each, which are made when they are asked for."""

    def __init__(self, keys: Sequence[str]) -> None:
        self.keys = keys

    def __getitem__(self, place: Any) -> Any:
        return [(key,) for key in self.keys[place]] if isinstance(place, slice) else (self.keys[place],)

    def __len__(self) -> int:
        return len(self.keys)


@dataclass(eq=False, slots=True)
class Unit:
    """What is worked on together: the keys whose lines are not there yet, and how many workers died of them alone."""

    undone: dict[str, None]
    deaths: int = 0


class Lease:
    """Units that one worker has. It finishes their keys one by one."""

    def __init__(self, units: Sequence[Unit]) -> None:
        self.units = units
        self._unit_of = {key: unit for unit in units for key in unit.undone}

    @property
    def keys(self) -> list[str]:
        """The keys that are not finished, unit by unit."""
        return [key for unit in self.units for key in unit.undone]

    def finish(self, key: str) -> bool:
        """Note that the line of a key is there. Returns True if its unit is finished."""
        unit = self._unit_of[key]
        unit.undone.pop(key, None)
        return not unit.undone

    def list_left(self) -> list[Unit]:
        """Return the units that are not finished."""
        return [unit for unit in self.units if unit.undone]


class Leases:
    """All units of a run, and which of them nobody has yet.

    A lease is worth, by its units' costs, a share of what each worker would get of the rest, so that none has much to
    do when the others have nothing; it has `most` units at most.
    """

    def __init__(
        self,
        units: Sequence[Sequence[str]],
        *,
        most: int,
        workers: int,
        cost_of: Callable[[str], float] | None = None,
    ) -> None:
        self.units, self.most, self.workers = units, most, workers
        self.costs = array("d", (sum(map(cost_of, unit)) if cost_of else len(unit) for unit in units))
        # By their numbers: the longest is taken from the end, equals in the order in which they came.
        self.waiting = array("I", sorted(range(len(units)), key=self.costs.__getitem__, reverse=True)[::-1])
        self.cost_left = sum(self.costs)
        self.again: list[Lease] = []  # of workers that died

    def take(self) -> Lease | None:
        """Return the next lease; None if nobody needs to take one now."""
        if self.again:
            return self.again.pop(0)
        if not self.waiting:
            return None
        left = max(0.0, _SHARE * self.cost_left / self.workers)  # sums of floats drift
        taken: list[Sequence[str]] = []
        while self.waiting and len(taken) < self.most:
            cost = self.costs[self.waiting[-1]]
            if taken and cost > left:
                break
            left -= cost
            self.cost_left -= cost
            taken.append(self.units[self.waiting.pop()])
        return Lease([Unit(dict.fromkeys(keys)) for keys in taken])

    def give_back(self, lease: Lease) -> None:
        """Take back what is not finished of a lease whose worker is gone for a reason of its own."""
        if left := lease.list_left():
            self.again.insert(0, Lease(left))

    def lose(self, lease: Lease) -> list[str]:
        """Take back a lease whose worker has died over it, as two halves. Returns the keys that are given up.

        A unit that had a worker for itself is tried once more; at its worker's second death what it lacks is given up.
        """
        left = lease.list_left()
        if len(left) != 1 or len(lease.units) != 1:
            half = (len(left) + 1) // 2
            self.again[:0] = [Lease(part) for part in (left[:half], left[half:]) if part]
            return []
        (unit,) = left
        unit.deaths += 1
        if unit.deaths >= _MOST_DEATHS:
            return list(unit.undone)
        self.again.insert(0, Lease([unit]))
        return []
