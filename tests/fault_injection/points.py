"""One point of the torture: a case, a fault, an operation. It is struck, looked at, run again, looked at again."""

import random
import shlex
from collections.abc import Sequence
from dataclasses import dataclass, replace

from tests.fault_injection import checks
from tests.fault_injection.cases import CASES, Case
from tests.fault_injection.controls import CONTROLS
from tests.fault_injection.faults import FAULTS, Fault
from tests.fault_injection.trial import Blow, nothing
from tests.fault_injection.world import World


@dataclass(frozen=True)
class Point:
    """`control` names a negative control: a product that is broken on purpose."""

    case: str
    fault: str
    number: int
    control: str | None = None

    @property
    def replay(self) -> str:
        """The command that does exactly this again."""
        control = f" --control {self.control}" if self.control else ""
        case = shlex.quote(self.case)
        return (
            f"python -m tests.fault_injection --stage {case} --fault {self.fault} --point {self.number}{control} --keep"
        )


@dataclass(frozen=True)
class Verdict:
    """`hit` is the operation that was struck, None where the run ended before it came. Adapters are counted."""

    point: Point
    problems: tuple[str, ...]
    hit: str | None
    redone: int = 0  # finished lines that were made again, or adapters that a finished line named
    in_flight: int = 0  # adapters that were complete when the fault came, and that no line named
    canaries: int = 0
    room: str = ""


def choose(
    case: Case, fault: Fault, operations: Sequence[tuple[int, str]], *, every: int, most: int | None, seed: int
) -> list[int]:
    """The operations that the fault can come to: each k-th, or at most so many of them, drawn by the seed."""
    numbers = [number for number, kind in operations if kind in fault.kinds]
    drawn = random.Random(f"{seed}/{case.name}/{fault.name}")
    if most is not None and len(numbers) > most:
        return sorted(drawn.sample(numbers, most))
    return numbers[drawn.randrange(every) :: every]


def strike(world: World, point: Point, room_name: str) -> Verdict:
    """Tries one point."""
    case, fault, reference = CASES[point.case], FAULTS[point.fault], world.references[point.case]
    patch = CONTROLS[point.control].patch if point.control else nothing
    room = world.room(room_name, case)
    first = world.run(room, case, Blow(fault, point.number, patch))
    if first.hit is None:  # fewer operations than in the run that numbered them, or none that the fault can come to
        return Verdict(point, (), None)
    verdict = Verdict(point, (), first.hit, canaries=len(list(checks.canaries(room))), room=str(room.folder))
    problems = list(checks.after_fault(case, room, reference, first, fault))
    lines_before, lost = checks.lines_in(case, room), checks.lines_lost(case, room, first)
    named, before = checks.named_paths(room.work), checks.finished_adapters(room)
    again = world.run(room, case, Blow(patch=patch))
    problems += checks.after_rerun(case, room, reference, again)
    after = checks.finished_adapters(room)
    lines = lines_before + checks.lines_made(case, again) - checks.lines_made(case, reference.outcome)
    redone = max(lines, 0) + sum(after.get(name) != before[name] for name in named & before.keys())
    in_flight = len(before.keys() - named) if case.arguments[0] == "adapt" else 0
    problems += [f"{redone} finished lines or adapters were made again"] if redone else []
    problems += [f"{lost} finished lines are gone"] if lost else []
    keys = verdict.canaries + len(list(checks.canaries(room)))
    problems += ["a planted key came out"] if keys else []
    return replace(verdict, problems=tuple(problems), redone=redone, in_flight=in_flight, canaries=keys)
