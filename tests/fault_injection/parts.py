"""What else must hold, beside the points: each part gives (what was tried, its complaints) one after the other."""

import importlib
import json
import os
import random
import shutil
import time
from collections.abc import Callable, Iterator
from functools import partial
from itertools import count
from pathlib import Path

from tests.fault_injection import checks, places, trial
from tests.fault_injection.cases import CASES, TRAIN, Case, to_file
from tests.fault_injection.faults import KILLED, Fault, Strike, end_at_once
from tests.fault_injection.operations import Operation
from tests.fault_injection.processes import Streams, start
from tests.fault_injection.trial import Blow, Room, finish, launch
from tests.fault_injection.world import World

Tried = Iterator[tuple[str, list[str]]]
TRY_AGAIN = 75
COMPLETE = (0, 3)
BAD, FEW_BAD, BAD_LIMIT_S = 10_000, 200, 600.0


class Absent(Exception):
    """The product has not got what this part is for; the text says what."""


# ---- two writers


def pause(strike: Strike, operation: Operation) -> object:
    """Waits until the room's `go` is there, then goes on."""
    until = time.monotonic() + 30
    while not (strike.crashed.parent / "go").exists() and time.monotonic() < until:
        time.sleep(0.01)
    return strike.perform(operation)


def two_writers(world: World, seed: int, most: int | None) -> Tried:
    """While one command works, the same command again is refused; the first ends as if nothing had been."""
    for name in ("tasks", "generate", "adapt", "sft", "generate in a pipe"):
        if name not in world.references:
            continue
        count = len(world.references[name].outcome.operations)
        for point in [2 * count // 5, 3 * count // 5, 4 * count // 5][: most or 3]:
            yield f"{name}, the second at operation {point}", list(second_writer(world, CASES[name], point))


def second_writer(world: World, case: Case, point: int) -> Iterator[str]:
    """The first waits at the operation until the second has ended."""
    room = world.room("two writers", case)
    arguments, stdin = world.arguments(case), world.stdin(case)
    first = launch(room, arguments, stdin=stdin, blow=Blow(Fault("pause", pause, 0), point))
    until = time.monotonic() + 20
    while time.monotonic() < until and not (room.trace.exists() and "struck" in room.trace.read_text()):
        time.sleep(0.01)
    second = trial.run(Room(room.folder, "second-"), arguments, stdin=stdin)
    (room.folder / "go").touch()
    ended = finish(room, first)
    yield from checks.manners(second)
    if second.code != TRY_AGAIN or (case.output or str(case.journal)) not in second.err:
        yield f"the second ended with {second.code}: {checks.last_line(second.err)}"
    reference = world.references[case.name]
    yield from (f"the first: {problem}" for problem in checks.after_rerun(case, room, reference, ended))


# ---- finished already


def run_again(world: World, seed: int, most: int | None) -> Tried:
    """A command that is complete ends as before and touches nothing."""
    for name, reference in world.references.items():
        room = world.room("run again", CASES[name])
        world.run(room, CASES[name])
        before = stamps(room)
        outcome = world.run(room, CASES[name])
        problems = list(checks.after_rerun(CASES[name], room, reference, outcome))
        changed = [path for path, stamp in stamps(room).items() if before.get(path) != stamp]
        changed = [] if "--overwrite" in CASES[name].arguments else changed  # --overwrite makes it again
        yield name, problems + [f"{path} was touched" for path in changed]


def stamps(room: Room) -> dict[str, tuple[int, int]]:
    files = [path for path in room.work.rglob("*") if path.is_file()]
    return {str(path.relative_to(room.work)): (path.stat().st_ino, path.stat().st_mtime_ns) for path in files}


# ---- shards


def shards(world: World, seed: int, most: int | None) -> Tried:
    """The shards in any order make the whole; `seal merge` puts them together."""
    for name in ("generate", "adapt"):
        if name in world.references:
            case, drawn = CASES[name], random.Random(seed)
            order = drawn.sample(range(1, 4), 3)
            room = world.room("shards", case)
            yield f"{name} in 3 parts", list(sharded(world, room, case, order))
            merges = importlib.import_module("seal_cli.app").COMMANDS.keys() & {"merge"}
            if not merges:
                raise Absent("there is no `seal merge` yet")
            yield f"{name} merged", list(merged(world, room, case, order))


def sharded(world: World, room: Room, case: Case, order: list[int]) -> Iterator[str]:
    """Makes the pieces in this order."""
    pieces = {part: f"piece-{part}.jsonl" for part in order}
    for part in order:
        arguments = [*world.arguments(case)[:-1], pieces[part], "--shard", f"{part}/{len(order)}"]
        outcome = trial.run(room, arguments)
        if outcome.code not in COMPLETE:
            yield f"part {part} ended with {outcome.code}: {checks.last_line(outcome.err)}"
            return
    lines = [line for piece in pieces.values() for line in (room.work / piece).read_bytes().splitlines()]
    if sorted(lines) != whole_lines(world, case):
        yield "the parts' lines are not those of the whole"


def merged(world: World, room: Room, case: Case, order: list[int]) -> Iterator[str]:
    outcome = trial.run(room, ["merge", *(f"piece-{part}.jsonl" for part in order), "-o", "merged.jsonl"])
    if outcome.code not in COMPLETE:
        yield f"seal merge ended with {outcome.code}: {checks.last_line(outcome.err)}"
    elif sorted((room.work / "merged.jsonl").read_bytes().splitlines()) != whole_lines(world, case):
        yield "the merged lines are not those of the whole"


def whole_lines(world: World, case: Case) -> list[bytes]:
    assert case.output
    return sorted(world.references[case.name].files[case.output].splitlines())


# ---- bad lines


def bad_lines(world: World, seed: int, most: int | None) -> Tried:
    """Generated bad input for every reader, each in a process of its own that may die of it."""
    feeds = importlib.import_module("tests.sources.bad_input").FEEDS
    folder = world.folder / "rooms" / "bad lines"
    for name, feed in feeds.items():
        shutil.rmtree(folder, ignore_errors=True)
        (folder / "work").mkdir(parents=True)
        streams = Streams(Path(os.devnull), folder / "out", folder / "err")
        count = BAD if most is None else FEW_BAD
        body = partial(feed, folder / "work", seed, count)
        code = start(body, folder, streams).wait(BAD_LIMIT_S)
        said = checks.last_line((folder / "err").read_text(encoding="utf-8"))
        yield f"{name}, {count:,} bad lines", [f"ended with {code}: {said}"] if code else []


# ---- killed in the middle of training

LEARNED: dict[str, dict[str, object]] = {
    "sft": {"completion": "doors"},
    "weighted": {"completion": "doors", "advantage": -0.5},
    "dpo": {"chosen": "doors", "rejected": "none"},
}


def killed_in_training(world: World, seed: int, most: int | None) -> Tried:
    """Between two steps of `seal sft` there is no file operation, so that no point lies there."""
    for loss, learned in LEARNED.items():
        rows = (json.dumps({"prompt": f"Inn {n} has ", **learned}) for n in range(4))
        (world.store / f"learned-{loss}.jsonl").write_text("\n".join(rows) + "\n", encoding="utf-8")
        arguments = ("sft", f"learned-{loss}.jsonl", *TRAIN[2:], "--loss", loss)
        case = to_file(f"sft {loss}", arguments, "checkpoint.jsonl", f"learned-{loss}.jsonl")
        reference, room = world.look(case), world.room("killed in training", case)
        killed = world.run(room, case, Blow(patch=die_in_third_pass))
        problems = [] if killed.code == KILLED else [f"it ended with {killed.code}: {checks.last_line(killed.err)}"]
        problems += checks.half_output(case, room, reference)
        yield loss, problems + list(checks.after_rerun(case, room, reference, world.run(room, case)))


def die_in_third_pass() -> None:
    """Of eight, in the second of four steps."""
    from transformers import Trainer

    run_pass, passes = Trainer.training_step, count(1)

    def run_or_die(*given: object, **named: object) -> object:
        return end_at_once() if next(passes) == 3 else run_pass(*given, **named)

    Trainer.training_step = run_or_die


PARTS: dict[str, Callable[[World, int, int | None], Tried]] = {
    "bad-lines": bad_lines,
    "vanishing": places.vanishing,
    "two-writers": two_writers,
    "run-again": run_again,
    "shards": shards,
    "killed-in-training": killed_in_training,
    "full-stdout": places.full_stdout,
    "unwritable": places.unwritable,
}
