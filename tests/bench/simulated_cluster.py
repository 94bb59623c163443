"""Runs on a cluster in virtual seconds: the real driver of stages.cluster, and actors that only say how long they take.

Messages take no time. An actor loads its model, and then makes the lines of each lease one after the other. With
probability `death_rate` it dies within a line, all moments of which are alike; another comes in its place at once, and
has its model to load.
"""

import itertools
import random
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from heapq import heappop, heappush
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

from stages.cluster.ray import RayWorkers
from stages.cluster.settings import Cluster
from stages.cluster.workers import Delivery

LOAD_S = 5.0  # a process with torch and the tiny model; measured, as are the seconds below, on one core of a Xeon

# Characters of an epoch, as `seal adapt` counts them, of the paper's first round: 50 passages × 5 self-edits.
TRAINED = """
1222 1156 2058 1170 1087 2225 1689 1538 1492 1878 2293 1248 1401 1572 1189 2224 1764 1870 1772 2129 3000 8309 2942 2747
2530 1321 1238 1688 1840 4503 1692 1431 3391 1693 2496 3726 1944 2106 1567 2318 1478 1241 1535 2367 7342 1512 1560 1430
2110 4439 1548 1630 1319 1786 1637 942 2578 1169 1361 10226 1306 1413 2043 1335 1693 2442 2352 2305 2164 2182 1499 2419
1362 1609 1323 1469 1262 2124 855 2355 1162 1044 1089 853 1541 1626 1939 1689 1657 1951 1857 1861 1775 1916 1790 2203
3144 1732 2663 2459 1447 1210 1349 1321 1618 2384 1114 1087 1197 1546 1419 1347 6548 2652 2059 1716 2185 1341 1048 1375
1716 1599 1142 2719 4290 2435 2046 2146 4497 2274 1558 1746 1554 1793 1878 1956 1410 1194 1211 3185 2449 1973 2481 1317
1491 1591 1153 1264 1705 1857 2515 2882 2708 2447 2555 778 1566 896 902 1433 1730 2266 1583 1374 1443 1561 1549 2183
1595 1524 8300 1574 1246 1631 1307 2358 1564 1541 1417 1322 1409 2410 1339 1782 3308 701 1287 570 597 933 1439 877 1349
1612 1828 1089 1315 1351 1851 1286 1640 2024 1907 1835 2078 1291 1007 1994 1371 2066 2238 1650 7478 2106 1716 2201 2059
1870 1923 4091 2406 4575 2610 2739 2126 1180 1456 1189 1201 1232 1414 1156 1227 1343 1205 1644 1593 1804 1944 2726 1360
1377 1487 1150 1607 1236 1339 4512 1282 1735
"""
EPOCHS = 10  # SEAL App. B
# What 100 of them took the tiny model: seconds a character, and how far each was off, twenty-first by twenty-first.
SECONDS_PER_CHARACTER = 1.08e-4
OFF = "0.78 0.85 0.87 0.90 0.92 0.95 0.97 0.97 0.99 1.00 1.02 1.02 1.04 1.06 1.08 1.10 1.11 1.16 1.19 1.23 1.28"
# Seconds of their answers (two to ten questions), of which the driver knows nothing beforehand.
ANSWERED_S = "0.03 0.04 0.05 0.18 0.21 0.22 0.25 0.27 0.28 0.30 0.30 0.31 0.31 0.34 0.37 0.40 0.42 0.44 0.47 0.51 0.59"


@dataclass(frozen=True)
class Lines:
    """The lines of a run: what the driver believes that they cost, and the seconds that each takes."""

    costs: Sequence[float]
    seconds: Sequence[float]


def draw_adapters(count: int) -> Lines:
    """Draw trainings: the paper's lengths in their order, three seeds of each and so on, or many at random."""
    chance, known = random.Random(0), [int(length) for length in TRAINED.split()]
    lengths = (known * 3)[:count] if count <= 3 * len(known) else chance.choices(known, k=count)
    off = [float(times) for times in OFF.split()]
    pace = SECONDS_PER_CHARACTER * EPOCHS
    return Lines(lengths, [pace * length * chance.choice(off) for length in lengths])


def draw_scores(count: int) -> Lines:
    """Draw the lines of `seal eval`."""
    seconds = [float(each) for each in ANSWERED_S.split()]
    return Lines([1.0] * count, random.Random(0).choices(seconds, k=count))


DRAWS: Mapping[str, Callable[[int], Lines]] = {"adapt": draw_adapters, "eval": draw_scores}


def simulate(lines: Lines, workers: int, death_rate: float = 0.0) -> dict[str, Any]:
    """Run the driver on these lines and return its figures.

    `ideal` is the seconds of all lines shared out evenly, without a rest, over workers that never die, and all load
    their model at once, which is not counted. `utilisation` is ideal by what it took; `of_bound` is the same with the
    longest line for the ideal, where that alone is longer.
    """
    ray = VirtualRay(lambda key: lines.seconds[int(key)], load_s=LOAD_S, death_rate=death_rate)
    with patch("stages.cluster.ray.start_ray", lambda cluster: ray):
        found = RayWorkers(
            Cluster("local", workers=workers), lambda _: None, _Keys(), cost_of=lambda key: lines.costs[int(key)]
        )
    came = sum(1 for _ in found.make([str(number) for number in range(len(lines.seconds))]))
    took = ray.now - LOAD_S
    ideal = sum(lines.seconds) / workers
    return {
        "utilisation": round(ideal / took, 4),
        "of_bound": round(max(ideal, *lines.seconds) / took, 4),
        "seconds": round(took, 1),
        "tail_s": round(ray.get_tail_s(), 2),
        "leases": ray.leases,
        "deaths": ray.deaths,
        "lost_s": round(ray.lost_s, 1),
        "given_up": len(lines.seconds) - came,
        "made_twice": came - len(ray.made),
    }


class _Keys:
    """Lines that are nothing but their keys."""

    key_of = encode = decode = staticmethod(str)


class RayError(Exception):
    """The end of an actor."""


class RayTaskError(RayError):
    """An error in an actor that lives on: there are none."""


class VirtualRay:
    """Stands where the package ray does. `seconds_of`: a line, by its key; `line_of`: what is delivered of it."""

    exceptions = SimpleNamespace(RayError=RayError, RayTaskError=RayTaskError)

    def __init__(
        self,
        seconds_of: Callable[[str], float],
        *,
        load_s: float = 0.0,
        death_rate: float = 0.0,
        line_of: Callable[[str], Any] = str,
        lines_per_delivery: int = 1,
    ) -> None:
        self.seconds_of, self.load_s, self.death_rate = seconds_of, load_s, death_rate
        self.line_of, self.lines_per_delivery = line_of, lines_per_delivery
        self.chance = random.Random(0)
        self.now = self.lost_s = 0.0  # lost: work that nobody has a line of
        self.events: list[tuple[float, int, Any]] = []  # (when, in which order they were foreseen, what is ready then)
        self.numbers = itertools.count()
        self.actors: set[_Actor] = set()
        self.leases = self.deaths = 0
        self.made: Counter[str] = Counter()

    # ---- what the driver calls

    def put(self, value: object) -> object:
        return value

    def remote(self, **asked: float) -> Callable[[type], Any]:
        return lambda kind: SimpleNamespace(remote=partial(_Actor, self))

    def wait(self, references: Sequence[Any], *, num_returns: int, timeout: float) -> tuple[list[Any], list[Any]]:
        """Go on to the moment at which the next thing comes, or (timeout 0) take what comes in this one."""
        if timeout:
            self.now = max(self.now, self.events[0][0])
            return [self.events[0][-1]] if num_returns == 1 else list(references), []
        found: list[Any] = []
        while self.events and self.events[0][0] <= self.now and len(found) < num_returns:
            found.append(heappop(self.events)[-1])
        return found, []

    def get(self, reference: Any, timeout: float = 0.0) -> Any:
        return reference.value if isinstance(reference, _Reply) else reference

    def kill(self, actor: "_Actor") -> None:
        self.actors.remove(actor)

    def nodes(self) -> list[dict[str, Any]]:
        return [{"NodeID": "node", "Alive": True, "Resources": {"CPU": 1.0}}]

    def shutdown(self) -> None: ...

    # ---- what the actors do

    def foresee(self, seconds: float, ready: Any) -> None:
        """Let something be ready in so many seconds."""
        heappush(self.events, (self.now + seconds, next(self.numbers), ready))

    def get_tail_s(self) -> float:
        """Return how long the first to be idle for good waited for the last."""
        return self.now - min(actor.busy_until for actor in self.actors)


@dataclass(eq=False)
class _Reply:
    """What an actor answers, once."""

    value: Any


class _Actor:
    def __init__(self, ray: VirtualRay) -> None:
        self.ray, self.busy_until = ray, ray.now
        ray.actors.add(self)
        calls = (self._meet, self._load, self._serve, lambda: self._reply(0.0, []))
        self.meet, self.load, self.serve, self.report = (SimpleNamespace(remote=call) for call in calls)
        self.serve.options = lambda num_returns: self.serve

    def _meet(self, opener: object, place: Any, name: str) -> _Reply:
        place.enter(name)
        return self._reply(0.0, ("here", "node"))

    def _load(self) -> _Reply:
        self.busy_until += self.ray.load_s
        return self._reply(self.ray.load_s, None)

    def _reply(self, seconds: float, value: Any) -> _Reply:
        self.ray.foresee(seconds, reply := _Reply(value))
        return reply

    def _serve(self, keys: Sequence[str], finished: Sequence[Any], packed: Any) -> "_Stream":
        self.ray.leases += 1
        return _Stream(self, self._work(keys))

    def _work(self, keys: Sequence[str]) -> Iterator[tuple[float, Delivery | None]]:
        """Yield (seconds from the one before, delivery); one of None is the actor's end."""
        ray, step = self.ray, self.ray.lines_per_delivery
        for start in range(0, len(keys), step):
            some = keys[start : start + step]
            seconds = sum(map(ray.seconds_of, some))
            if ray.death_rate and ray.chance.random() < ray.death_rate:
                seconds *= ray.chance.random()
                ray.lost_s, ray.deaths = ray.lost_s + seconds, ray.deaths + 1
                yield seconds, None
            ray.made.update(some)
            yield seconds, Delivery([(key, ray.line_of(key)) for key in some])


class _Stream:
    """What an actor delivers of a lease: `next` gives what has come, and foresees what comes next."""

    def __init__(self, actor: _Actor, deliveries: Iterator[tuple[float, Delivery | None]]) -> None:
        self.actor, self.deliveries = actor, deliveries
        self._foresee()

    def _foresee(self) -> None:
        seconds, self.coming = next(self.deliveries, (0.0, StopIteration))
        self.actor.busy_until = self.actor.ray.now + seconds
        self.actor.ray.foresee(seconds, self)

    def __next__(self) -> Delivery:
        coming = self.coming
        if coming is StopIteration:
            raise StopIteration
        if coming is None:
            raise RayError("died")
        self._foresee()
        return coming
