"""What all trials share: a tiny model, the stages' inputs, and each case's run without a fault."""

import json
import shutil
from dataclasses import dataclass, field
from pathlib import Path

from tests.fault_injection import trial
from tests.fault_injection.cases import FEEDING, Case
from tests.fault_injection.processes import Streams, start
from tests.fault_injection.trial import UNHARMED, Blow, Outcome, Patch, Room, nothing

OLD = b'{"an": "older result"}\n'
QUESTIONS = 2


@dataclass(frozen=True)
class Reference:
    """An uninterrupted run: how it ended, its operations, and every file that its folder then held."""

    outcome: Outcome
    files: dict[str, bytes]


@dataclass
class World:
    """`store` holds the inputs by name."""

    folder: Path
    references: dict[str, Reference] = field(default_factory=dict)

    @property
    def model(self) -> Path:
        return self.folder / "tiny"

    @property
    def store(self) -> Path:
        return self.folder / "store"

    def room(self, name: str, case: Case) -> Room:
        """A fresh room with the case's inputs."""
        room = Room(self.folder / "rooms" / name)
        shutil.rmtree(room.folder, ignore_errors=True)
        room.work.mkdir(parents=True)
        for name in case.inputs:
            copy(self.store / name, room.work / name)
        if case.old and case.output:
            (room.work / case.output).write_bytes(OLD)
        return room

    def run(self, room: Room, case: Case, blow: Blow = UNHARMED) -> Outcome:
        return trial.run(room, self.arguments(case), stdin=self.stdin(case), blow=blow)

    def arguments(self, case: Case) -> list[str]:
        return [part.format(model=self.model) for part in case.arguments]

    def stdin(self, case: Case) -> Path | None:
        return self.store / case.stdin if case.stdin else None

    def has_inputs(self, case: Case) -> bool:
        """Whether the cases before it made what it reads."""
        return all((self.store / name).exists() for name in (*case.inputs, case.stdin or ""))

    def look(self, case: Case, patch: Patch = nothing) -> Reference:
        """A run without a fault. Its room stays, for who wants what it made."""
        room = self.room(f"reference {case.name}", case)
        outcome = self.run(room, case, Blow(patch=patch))
        return Reference(outcome, files_of(room.work))

    def refer(self, case: Case) -> Reference:
        """Keeps the run without a fault; what it makes is the input of the cases behind it."""
        reference = self.look(case)
        if case not in FEEDING:
            self.references[case.name] = reference
        for path in (self.folder / "rooms" / f"reference {case.name}" / "work").iterdir():
            if not (self.store / path.name).exists():
                copy(path, self.store / path.name)
        return reference


def copy(source: Path, target: Path) -> None:
    if source.is_dir():
        shutil.copytree(source, target)
    else:
        shutil.copyfile(source, target)


def files_of(folder: Path) -> dict[str, bytes]:
    """Every file by its path in the folder; a folder's path ends in a slash and it holds nothing."""
    found: dict[str, bytes] = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        found |= {f"{name}/": b""} if path.is_dir() else {name: path.read_bytes()}
    return found


def passages(count: int) -> str:
    """A source of tasks as people have them."""
    rows = []
    for n in range(count):
        asked = [{"question": f"What is at door {door} of inn {n}?", "answer": f"a {n}"} for door in range(QUESTIONS)]
        rows.append({"title": f"Inn {n}", "context": f"Inn {n} has {n + 2} doors.", "questions": asked})
    return "".join(json.dumps(row) + "\n" for row in rows)


def make_world(folder: Path) -> World:
    """The model is made in a child: what training libraries do to a process that forks must not be done here."""
    world = World(folder)
    world.store.mkdir(parents=True)
    (world.store / "source.jsonl").write_text(passages(4), encoding="utf-8")
    (folder / "rooms").mkdir()

    def body() -> None:
        from tests.conftest import make_model

        make_model(world.model)

    streams = Streams(Path("/dev/null"), folder / "model.out", folder / "model.err")
    if start(body, folder, streams).wait():
        raise RuntimeError(f"no model: {(folder / 'model.err').read_text(encoding='utf-8')}")
    return world
