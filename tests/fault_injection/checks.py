"""What must hold after a fault, and after the same command was run again. Each check gives its complaints."""

import hashlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.bits import are_same
from tests.fault_injection.cases import Case
from tests.fault_injection.faults import Fault
from tests.fault_injection.trial import Outcome, Room
from tests.fault_injection.warm import CANARY
from tests.fault_injection.world import OLD, Reference, files_of

WEIGHTS = "adapter_model.safetensors"
MANIFEST = ".manifest.json"


def manners(outcome: Outcome) -> Iterator[str]:
    """However a command ends, it ends in time and with plain words."""
    if outcome.code is None:
        yield "it hung, or left a process behind"
    if "Traceback" in outcome.err:
        yield f"a traceback: {outcome.err.strip().splitlines()[-1]}"
    if outcome.code == 74 and not outcome.err.startswith("seal") and "\nseal" not in outcome.err:
        yield "it ended with 74 and said nothing"


def after_fault(case: Case, room: Room, reference: Reference, outcome: Outcome, fault: Fault) -> Iterator[str]:
    """The folder of the crashed command is fit to be seen: what has its name is whole."""
    yield from manners(outcome)
    fine = outcome.code == reference.outcome.code
    if outcome.code != fault.code and (fault.must_end or not fine):
        yield f"it ended with {outcome.code} instead of {fault.code}: {last_line(outcome.err)}"
    if fine and not fault.must_end:
        wrong = (problem for problem in differences(case, room, reference) if ".part" not in problem)  # the next run's
        yield from (f"it ended well, but {problem}" for problem in wrong)
    yield from half_output(case, room, reference)
    yield from half_folder(case, room, reference)
    yield from half_adapters(room, reference)


def half_output(case: Case, room: Room, reference: Reference) -> Iterator[str]:
    """The output under its own name is whole, or what was there before, or absent."""
    if case.output and (room.work / case.output).exists():
        found = (room.work / case.output).read_bytes()
        whole = case.output in reference.files and are_same(case.output, found, reference.files[case.output])
        if not whole and not (case.old and found == OLD):
            yield f"{case.output} has its name but is not whole ({len(found)} bytes)"
    elif case.output and case.old:
        yield f"{case.output} was there before and is gone"


def half_folder(case: Case, room: Room, reference: Reference) -> Iterator[str]:
    """A folder that is made under its own name is whole or absent."""
    if case.folder is None or not (room.work / case.folder).exists():
        return
    start = f"{case.folder}/"
    wanted = {name.removeprefix(start): data for name, data in reference.files.items() if name.startswith(start)}
    found = files_of(room.work / case.folder)
    if found.keys() != {*wanted} - {""} or not all(are_same(name, found[name], wanted[name]) for name in found):
        yield f"{case.folder} has its name but is not whole"


def half_adapters(room: Room, reference: Reference) -> Iterator[str]:
    """What a whole line names is there, byte for byte (or as tests/bits.py says)."""
    for path in sorted(named_paths(room.work)):
        wanted = {
            name: data for name, data in reference.files.items() if name.removeprefix(f"{path}/") not in ("", name)
        }
        found = {f"{path}/{name}": data for name, data in files_of(room.work / path).items()}
        if found.keys() != wanted.keys() or not all(are_same(name, found[name], wanted[name]) for name in wanted):
            yield f"a line names {path}, which is {'not whole' if found else 'absent'}"


def named_paths(work: Path) -> set[str]:
    """The adapters and models that whole lines name: of outputs, unfinished outputs and journals."""
    found: set[str] = set()
    for file in (path for path in work.rglob("*") if path.is_file() and path.suffix != ".safetensors"):
        for line in file.read_bytes().split(b"\n")[:-1]:
            try:
                value = json.loads(line)
            except ValueError:
                continue
            found |= {os.path.relpath(path, work) for path in paths_in(value, work, file.parent)}
    return found


def paths_in(value: Any, work: Path, folder: Path) -> Iterator[Path]:
    """`adapter.path` of a record, told from its file's folder, and `model` of a checkpoint, however deep they lie."""
    if not isinstance(value, dict):
        return
    if {"base", "examples"} <= value.keys():
        yield work / value["model"]
    adapter = value.get("adapter")
    if isinstance(adapter, dict) and adapter.get("path"):
        yield folder / adapter["path"]
    for inner in value.values():
        yield from paths_in(inner, work, folder)


def after_rerun(case: Case, room: Room, reference: Reference, outcome: Outcome) -> Iterator[str]:
    """Nothing shows that there ever was a fault."""
    yield from manners(outcome)
    if outcome.code != reference.outcome.code:
        yield f"run again, it ended with {outcome.code}: {last_line(outcome.err)}"
    if sorted(outcome.out.splitlines()) != sorted(reference.outcome.out.splitlines()):
        yield f"run again, its {len(outcome.out.splitlines())} lines on stdout are not those of an uninterrupted run"
    yield from (f"run again, {problem}" for problem in differences(case, room, reference))


def differences(case: Case, room: Room, reference: Reference) -> Iterator[str]:
    """Where the folder is not that of an uninterrupted run. A journal's own files may differ."""
    found = files_of(room.work)
    own = f"{case.journal}/"
    for name in sorted(found.keys() | reference.files.keys()):
        if case.journal and name.startswith(own):
            continue
        if name not in found or name not in reference.files:
            yield f"{name} is {'left over' if name in found else 'missing'}"
        elif name.endswith(MANIFEST):
            yield from wrong_manifest(name, found)
        elif not are_same(name, found[name], reference.files[name]):
            yield f"{name} has other content ({len(found[name])} bytes for {len(reference.files[name])})"


def wrong_manifest(name: str, found: dict[str, bytes]) -> Iterator[str]:
    """A manifest is JSON and has its file's hash; times differ."""
    try:
        told = json.loads(found[name])
    except ValueError:
        yield f"{name} is not JSON"
        return
    if told.get("sha256") != hashlib.sha256(found.get(name.removesuffix(MANIFEST), b"")).hexdigest():
        yield f"{name} has not its file's sha256"


def canaries(room: Room) -> Iterator[str]:
    """No file and no stream holds a key of the environment."""
    for path in room.folder.rglob("*"):
        if path.is_file() and CANARY.encode() in path.read_bytes():
            yield f"{path.relative_to(room.folder)} holds the planted key"


def finished_adapters(room: Room) -> dict[str, tuple[int, int]]:
    """(inode, time of change) of the weights of every adapter that has its own name."""
    found = {path.parent.relative_to(room.work).as_posix(): path.stat() for path in room.work.rglob(WEIGHTS)}
    return {name: (of.st_ino, of.st_mtime_ns) for name, of in found.items() if not name.endswith(".part")}


def lines_in(case: Case, room: Room) -> int:
    """Whole lines that a crash has left of unfinished work."""
    path = room.work / (case.lines or "")
    return len(path.read_bytes().split(b"\n")[:-1]) if path.is_file() else 0


def lines_made(case: Case, outcome: Outcome) -> int:
    """Lines that a run has appended: each is one write."""
    return sum(line[1:] == ("write", case.lines) for line in outcome.trace)


def lines_lost(case: Case, room: Room, outcome: Outcome) -> int:
    """Finished lines that a crash has taken. All but the last were finished: the next was begun after them."""
    if case.lines is None or (case.output and (room.work / case.output).exists()):
        return 0
    return max(lines_made(case, outcome) - 1 - lines_in(case, room), 0)


def last_line(text: str) -> str:
    return (text.strip().splitlines() or ["(it said nothing)"])[-1][:300]
