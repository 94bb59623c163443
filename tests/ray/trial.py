"""One run of a stage on a cluster, beside a run alone: how often a record was tried, and what became of its line."""

import atexit
import os
import shutil
import signal
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from stages.records.jsonl import encode_line
from stages.records.record import Record
from stages.records.task import Task
from tests.cli.conftest import SMALL_LORA, Finished, seal, surroundings
from tests.conftest import ROOT
from tests.fork_client import ask, hear
from tests.forked import forked_seal
from tests.invented import a_line, an_edit, numbered
from tests.ray.nodes import OPEN
from tests.ray.worker import BEGUN, STRIKES

MODEL = ("--model", ROOT / "examples/tiny/model")
RATER = r"""sed -u 's/^{"id": *\("[^"]*"\).*/{"id": \1, "value": 0.5}/'"""
STAGES: dict[str, tuple[object, ...]] = {
    "generate": ("--max-tokens", "8", *MODEL),
    "adapt": (*SMALL_LORA, *MODEL),
    "eval": ("--max-tokens", "4", *MODEL),
    "judge": ("--judge", "tests.ray.judges:Careful"),
    "rate": ("--program", RATER),
}
INPUT, OUTPUT, REJECTS = "in.jsonl", "out.jsonl", "rejects.jsonl"


@cache
def make_world(stage: str, count: int) -> Path:
    """A folder in which the stage has run without a cluster, over the lines of so many tasks."""
    folder = Path(tempfile.mkdtemp(prefix="seal-world-"))
    atexit.register(shutil.rmtree, folder)
    if stage == "eval":
        before = make_world("adapt", count)
        shutil.copytree(before / "adapters", folder / "adapters")
        shutil.copy(before / OUTPUT, folder / INPUT)
    else:
        lines = [make_line(stage, numbered(f"T{number}", 1)) for number in range(count)]
        (folder / INPUT).write_bytes(b"".join(map(encode_line, lines)))
    found = seal(stage, INPUT, *STAGES[stage], "-o", OUTPUT, cwd=folder)
    assert found.code == 0, found.err
    return folder


def make_line(stage: str, task: Task) -> Record:
    """A line of the stage's input."""
    if stage == "generate":
        return Record(task=task)
    if stage == "judge":
        return a_line(task, [True])
    return Record(task=task, edit=an_edit(task, completion=f"{task.title} has an answer."))


@dataclass
class Trial:
    """A stage in a folder of its own, whose input is a world's."""

    stage: str
    count: int
    folder: Path

    def __post_init__(self) -> None:
        shutil.copytree(self.world, self.folder, dirs_exist_ok=True)
        (self.folder / STRIKES).mkdir()
        for left in self.folder.glob(f"{OUTPUT}*"):
            left.unlink()
        if self.stage == "adapt":
            shutil.rmtree(self.folder / "adapters")

    @property
    def world(self) -> Path:
        return make_world(self.stage, self.count)

    def start(self, address: str) -> "Run":
        """The command on a cluster."""
        flags = ("-o", OUTPUT, "--rejects", REJECTS, "--ray", address, "--workers", "2")
        return Run([self.stage, INPUT, *map(str, (*STAGES[self.stage], *flags))], self.folder)

    def strike(self, keys: Sequence[str], times: int) -> None:
        """Let each of these records kill its worker so often."""
        for key in keys:
            (self.folder / STRIKES / key.replace("/", "_")).write_text(str(times))

    def heal(self) -> None:
        """Let no record kill a worker any more."""
        for file in (self.folder / STRIKES).iterdir():
            if file.name != BEGUN.name:
                file.unlink()

    def wait_for(self, count: int, run: "Run") -> None:
        """Wait until so many lines are in the journal; what ends before is no trial."""
        while len(self.lines) < count:
            assert not run.is_over, run.end().err
            time.sleep(0.002)

    @property
    def lines(self) -> list[bytes]:
        """Whole lines of FILE, or of what an unfinished run has left."""
        path = next((path for path in (self.folder / OUTPUT, self.folder / f"{OUTPUT}.part") if path.exists()), None)
        return path.read_bytes().split(b"\n")[:-1] if path else []

    @property
    def begun(self) -> list[tuple[str, str]]:
        """(process, record) for each time that a worker began one, in their order, each once."""
        path = self.folder / BEGUN
        found = path.read_text().splitlines() if path.exists() else []
        return [(process, name) for process, _, name in dict.fromkeys(line.partition(" ") for line in found)]

    @property
    def same(self) -> bool:
        """Whether FILE, and the adapters, are those of the run alone."""
        adapters = [path.relative_to(self.world) for path in self.world.glob("adapters/*/*.safetensors")]
        return (self.folder / OUTPUT).exists() and all(
            (self.folder / path).read_bytes() == (self.world / path).read_bytes() for path in (OUTPUT, *adapters)
        )

    def compare(self) -> tuple[int, int]:
        """How many lines of the run alone are neither in FILE nor rejected, and how many are there twice."""
        wanted = Counter((self.world / OUTPUT).read_bytes().split(b"\n")[:-1])
        there = Counter(self.lines)
        return (wanted - there).total() - self.rejected, (there - wanted).total()

    @property
    def rejected(self) -> int:
        """How many lines were given up."""
        path = self.folder / REJECTS
        return len(path.read_bytes().splitlines()) if path.exists() else 0


class Run:
    """`seal` by way of the fork server, which passes on every signal."""

    def __init__(self, words: Sequence[str], folder: Path) -> None:
        self.streams = {0: os.open(os.devnull, os.O_RDONLY), **{n: os.memfd_create("seal") for n in (1, 2)}}
        socket = str(forked_seal().with_name("socket"))
        self.server = ask(socket, words, str(folder), surroundings(**OPEN), self.streams)
        self.code: int | None = None

    @property
    def is_over(self) -> bool:
        if self.code is None:
            self.server.settimeout(0.001)
            try:
                self.code = hear(self.server)
            except TimeoutError:
                return False
        return True

    def send(self, signum: signal.Signals) -> None:
        self.server.send(bytes([signum]))

    def end(self, within_s: float = 240) -> Finished:
        """Wait for its end."""
        until = time.monotonic() + within_s
        while not self.is_over:
            assert time.monotonic() < until, f"still running after {within_s} s: {self._read(2)}"
            time.sleep(0.01)
        assert self.code is not None
        with closing(self.server):
            return Finished(self.code, self._read(1), self._read(2))

    def _read(self, number: int) -> str:
        return os.pread(self.streams[number], 1 << 20, 0).decode()
