"""Places that cannot be written: a full device, a folder that cannot be, one that goes away."""

import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from tests.fault_injection import checks, trial
from tests.fault_injection.cases import CASES, EVAL, GENERATE, Case, to_file
from tests.fault_injection.faults import IO_ERROR, Fault, Strike
from tests.fault_injection.operations import Operation
from tests.fault_injection.points import choose
from tests.fault_injection.trial import Blow, Outcome
from tests.fault_injection.world import World

Tried = Iterator[tuple[str, list[str]]]


def full_stdout(world: World, seed: int, most: int | None) -> Tried:
    """/dev/full as stdout ends every command with 74."""
    report = Case("report", ("report", "scores.jsonl", "--json"), ("scores.jsonl",))
    listed = [replace(CASES[name], output=None) for name in world.references if " " not in name]
    for case in (*listed, report, Case("schema", ("schema",), ())):
        if not world.has_inputs(case):
            continue
        arguments = world.arguments(case)
        arguments = arguments[: arguments.index("-o")] if "-o" in arguments else arguments
        room = world.room("full stdout", case)
        outcome = trial.run(room, arguments, stdin=world.stdin(case), stdout=Path("/dev/full"))
        yield case.name, list(refused(outcome))


def unwritable(world: World, seed: int, most: int | None) -> Tried:
    """A place where nothing can be written is said with 74: under /proc, where even root may not, and under a file."""
    for place in ("/proc/nowhere", "taken"):
        for name, case in CASES.items():
            if name not in world.references or case.old:
                continue
            room = world.room("unwritable", case)
            (room.work / "taken").write_text("a file")
            arguments = world.arguments(case)
            where = {"-o": f"{place}/x.jsonl", "--journal": f"{place}/x"}
            where |= {} if "-o" in arguments or "--journal" in arguments else {"--out": f"{place}/x"}
            for flag in where.keys() & set(arguments):
                arguments[arguments.index(flag) + 1] = where[flag]
            yield f"{name} to {place}", list(refused(trial.run(room, arguments, stdin=world.stdin(case))))


def refused(outcome: Outcome) -> Iterator[str]:
    yield from checks.manners(outcome)
    if outcome.code != IO_ERROR:
        yield f"it ended with {outcome.code} instead of {IO_ERROR}: {checks.last_line(outcome.err)}"


def vanish(strike: Strike, operation: Operation) -> object:
    """The folder of the output goes away under the command's feet."""
    shutil.rmtree(strike.crashed.parent / "work" / "out", ignore_errors=True)
    return strike.perform(operation)


VANISHING = (
    to_file("generate into a folder", (*GENERATE, "tasks.jsonl"), "out/edits.jsonl", "tasks.jsonl"),
    to_file("eval into a folder", (*EVAL, "adapters.jsonl"), "out/scores.jsonl", "adapters.jsonl", "adapters"),
)


def vanishing(world: World, seed: int, most: int | None) -> Tried:
    """The output's folder is removed at any operation: an error or a whole file, and running again heals it."""
    for case in VANISHING:
        if not world.has_inputs(case):
            continue
        reference = world.look(case)
        fault = Fault("vanish", vanish, IO_ERROR)
        for point in choose(case, fault, reference.outcome.operations, every=1, most=most, seed=seed):
            room = world.room("vanishing", case)
            outcome = world.run(room, case, Blow(fault, point))
            problems = [*checks.manners(outcome), *checks.half_output(case, room, reference)]
            if outcome.code not in (reference.outcome.code, IO_ERROR):
                problems.append(f"it ended with {outcome.code}: {checks.last_line(outcome.err)}")
            problems += checks.after_rerun(case, room, reference, world.run(room, case))
            yield f"{case.name}, gone at operation {point}", problems
