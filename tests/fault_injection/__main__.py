"""python -m tests.fault_injection: faults at every file operation of the stages; ends with 1 if not all survived."""

import shutil
import sys
import tempfile
import time
from argparse import ArgumentParser, Namespace
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

from tests.fault_injection import tables
from tests.fault_injection.cases import CASES, with_makers
from tests.fault_injection.controls import CONTROLS, Control
from tests.fault_injection.faults import FAULTS
from tests.fault_injection.parts import PARTS
from tests.fault_injection.points import Point, Verdict, choose
from tests.fault_injection.pool import PartVerdict, make_pool, try_all, try_part, try_point
from tests.fault_injection.warm import warm
from tests.fault_injection.world import World, make_world

FEW = 2  # points of each stage and fault in the short form
COMPLETE = (0, 3)
ROOM = 1 << 30


def arguments() -> Namespace:
    """The command line; every name is checked."""
    parser = ArgumentParser(prog="python -m tests.fault_injection", description=__doc__)
    parser.add_argument("--short", action="store_true", help=f"{FEW} points of each stage and fault")
    parser.add_argument("--stage", action="append", choices=CASES, metavar="NAME", help="repeat it; default: all")
    parser.add_argument("--fault", action="append", choices=FAULTS, metavar="NAME", help="repeat it; default: all")
    parser.add_argument("--part", action="append", choices=PARTS, metavar="NAME", help="only these parts, no points")
    parser.add_argument("--control", action="append", choices=CONTROLS, metavar="NAME", help="only these controls")
    parser.add_argument("--point", action="append", type=int, metavar="N", help="only this operation")
    parser.add_argument("--every", type=int, default=1, metavar="N", help="each N-th operation")
    parser.add_argument("--most", type=int, metavar="N", help="at most N operations of each stage and fault")
    parser.add_argument("--seed", type=int, default=0, metavar="S", help="which operations are drawn")
    parser.add_argument("--workers", type=int, default=2, metavar="N")
    parser.add_argument("--folder", metavar="DIR", help="where the trials happen; default: memory, if there is some")
    parser.add_argument("--keep", action="store_true", help="keep the folders of all trials")
    found = parser.parse_args()
    found.most = found.most or (FEW if found.short else None)
    return found


def main() -> int:
    """The exit code: 1 where something did not survive."""
    given, started = arguments(), time.monotonic()
    warm()
    world = make_world(Path(tempfile.mkdtemp(prefix="seal-torture-", dir=given.folder or quick_folder())).resolve())
    try:
        broken = refer(world, given)
        with make_pool(world, given.workers) as pool:
            bad = torture(world, pool, given, broken)
    finally:
        if given.keep:
            say(f"kept: {world.folder}/rooms")
        else:
            shutil.rmtree(world.folder)
    say(f"\n{bad} failures, {time.monotonic() - started:.0f} s")
    return int(bad > 0)


def quick_folder() -> str | None:
    """Memory, where there is some: what a disk would lose is simulated anyway."""
    memory = Path("/dev/shm")  # noqa: S108
    return str(memory) if memory.is_dir() and shutil.disk_usage(memory).free > ROOM else None


def say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def refer(world: World, given: Namespace) -> int:
    """Runs the cases that are needed without a fault. Returns how many do not even do that."""
    named = [*(given.stage or ()), *(CONTROLS[name].case for name in given.control or ())]
    broken = 0
    for case in with_makers(list(CASES) if given.part or not named else named):
        if not world.has_inputs(case):
            say(f"FAILED {case.name}: the stages before it made no input for it")
            broken += 1
        elif (outcome := world.refer(case).outcome).code not in COMPLETE:
            say(f"FAILED {case.name} ends with {outcome.code} without any fault: {outcome.err.strip()}")
            world.references.pop(case.name, None)
            broken += 1
    return broken


def torture(world: World, pool: ProcessPoolExecutor, given: Namespace, broken: int) -> int:
    """Points, parts and controls as asked for. Returns the number of failures."""
    chosen = given.stage or given.fault
    all_of_it = not (chosen or given.part or given.control)
    verdicts = try_points(world, pool, given) if chosen or all_of_it else []
    parts: list[PartVerdict] = []
    if given.part or all_of_it:
        parts = list(try_all(pool, try_part, [(name, given.seed, given.most) for name in given.part or PARTS]))
    for line in tables.failures((), parts):
        say(line)
    if verdicts:
        say(f"\n{tables.points_table(verdicts)}\n\n{tables.complaints(verdicts)}")
    if parts:
        say(f"\n{tables.parts_table(parts)}")
    unseen = 0
    if given.control or all_of_it:
        unseen = sum(not seen(world, pool, CONTROLS[name], given) for name in given.control or CONTROLS)
    bad = sum(bool(verdict.problems) for verdict in verdicts)
    return broken + bad + sum(len(part.problems) for part in parts) + unseen


def try_points(world: World, pool: ProcessPoolExecutor, given: Namespace) -> list[Verdict]:
    """A verdict for each point, in the order of the tables. Failures are told as they are found."""
    names = [name for name in given.stage or CASES if name in world.references]
    points = [
        point for name in names for fault in given.fault or FAULTS for point in points_of(world, name, fault, given)
    ]
    verdicts: list[Verdict] = []
    for verdict in try_all(pool, try_point, jobs(points, given)):
        verdicts.append(verdict)
        for line in tables.failures([verdict], ()):
            say(line)
    order = {point: place for place, point in enumerate(points)}
    return sorted(verdicts, key=lambda verdict: order[verdict.point])


def points_of(world: World, case: str, fault: str, given: Namespace) -> list[Point]:
    operations = world.references[case].outcome.operations
    chosen = given.point or choose(
        CASES[case], FAULTS[fault], operations, every=given.every, most=given.most, seed=given.seed
    )
    return [Point(case, fault, number) for number in chosen]


def jobs(points: Sequence[Point], given: Namespace) -> list[tuple[Point, str | None]]:
    named = [f"{point.case} {point.fault} {point.number}" for point in points]
    return [(point, name if given.keep else None) for point, name in zip(points, named, strict=True)]


def seen(world: World, pool: ProcessPoolExecutor, control: Control, given: Namespace) -> bool:
    """Whether the torture finds out about a product that is broken on purpose. One that cannot be broken counts."""
    if not control.is_there() or control.case not in world.references:
        say(f"control {control.name}: what it would break is not there")
        return False
    case = CASES[control.case]
    operations = world.look(case, control.patch).outcome.operations
    points = []
    for name in control.faults:
        chosen = given.point or choose(case, FAULTS[name], operations, every=given.every, most=None, seed=0)
        points += [Point(case.name, name, number, control.name) for number in chosen]
    verdicts = list(try_all(pool, try_point, jobs(points, given)))
    found = sum(control.complaint in "; ".join(verdict.problems) for verdict in verdicts)
    say(f"control {control.name}: {found} of {len(verdicts)} points show it{'' if found else ': THE TORTURE IS BLIND'}")
    if given.control:
        say("\n".join(tables.failures(verdicts, ())))
    return found > 0


if __name__ == "__main__":
    sys.exit(main())
