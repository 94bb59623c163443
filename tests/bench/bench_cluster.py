"""How far a cluster's workers are busy, in virtual seconds, and what its driver costs, in real ones. JSON lines.

    python tests/bench/bench_cluster.py                                       750 lines, 64 workers
    WORKERS=1,8,64,512 RECORDS=750,100000 DEATHS=0,0.01,0.05 PARTS=adapt,eval python …
    PARTS=driver RECORDS=10000,100000,1000000 python …                        some minutes, 3 KB of disk a line

`adapt`, `eval`: see simulated_cluster.py, which says what is ideal and what an actor is.

`driver`: all of a run is real (reading, plan, leases, journal with its syncs, publishing) but its workers: they have
each line at once and deliver DELIVERED at a time, and Ray itself is not there. What the actors would do, the making of
lines and their encoding, happens in the driver's process here, and its seconds are taken off; what goes between them is
pickled, and read back at the driver's cost. `loop`: from the first lease to the last line, `cpu`: processor time, of
both processes in all; `sync_s`: time in which the disk was waited for. `together_mb`: the most proportional set size
(PSS) of the run's two processes, in which a page that both have counts once; the others are resident sizes (RSS).
"""

import json
import os
import pickle
import resource
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from multiprocessing import get_context
from pathlib import Path
from unittest.mock import patch

from bench_lines import write
from simulated_cluster import DRAWS, VirtualRay, simulate

from seal_cli.flags.run import InputFlags, RunFlags
from seal_cli.runs.drive import drive
from stages.cluster.settings import Cluster
from stages.eval import plan
from stages.records.adapter_paths import make_path_relative
from stages.records.jsonl import EncodedLine, encode_line
from stages.records.record import Record, Section
from stages.records.score import Answer, make_score
from stages.work import Listing, Source, WholeSource, Work

PARTS = os.environ.get("PARTS", "adapt,eval,driver").split(",")
RECORDS = [int(count) for count in os.environ.get("RECORDS", "750").split(",")]
WORKERS = [int(count) for count in os.environ.get("WORKERS", "64").split(",")]
DEATHS = [float(rate) for rate in os.environ.get("DEATHS", "0").split(",")]
DELIVERED = int(os.environ.get("DELIVERED", "8"))
EVERY_S = 0.1  # between two looks at the memory


@dataclass
class Clock:
    """Seconds of this process and its processor, from `start` to `stop`."""

    wall: float = 0.0
    cpu: float = 0.0

    def start(self) -> None:
        self.wall, self.cpu = self.wall - time.perf_counter(), self.cpu - time.process_time()

    def stop(self) -> None:
        self.wall, self.cpu = self.wall + time.perf_counter(), self.cpu + time.process_time()


@dataclass
class Scoring:
    """A stage that plans what `seal eval` does, and makes up what comes of its actors."""

    name: str = "eval"
    needs: tuple[Section, ...] = ("adapter",)
    making: Clock = field(default_factory=Clock)
    loop: Clock = field(default_factory=Clock)

    def prepare(self, records: Sequence[Record], source: Source | None = None) -> Work | Listing:
        lines = (source or WholeSource(records)).sift(records, lambda line: None)
        todo = plan(lines)
        self.wanted = todo.wanted
        return Work(todo, dict, "", open=lambda finished: self, leased=todo.wanted)  # type: ignore[arg-type, return-value]

    def make_line(self, key: str) -> EncodedLine:
        if not self.loop.wall:
            self.loop.start()
        self.making.start()
        line = self.wanted[key]
        answers = [
            Answer(
                id=question.id,
                prediction=question.answer,
                correct=bool(number % 3),
                reason=None,
                baseline_prediction="a bridge",
                baseline_correct=number == 0,
            )
            for number, question in enumerate(line.task.questions)  # type: ignore[attr-defined]
        ]
        made = line.grow(score=make_score(answers, model="student", judge="exact"))
        data = pickle.dumps(EncodedLine(encode_line(make_path_relative(made, Path.cwd()))))
        self.making.stop()
        return pickle.loads(data)  # type: ignore[no-any-return]  # noqa: S301 - the driver does so


@dataclass
class Memory:
    """The memory of a process and its child, in MB: the most of each, and of both with what they share once."""

    process: int
    most: dict[str, float] = field(default_factory=dict)

    def watch(self) -> None:
        while Path(f"/proc/{self.process}").exists():
            for name, size in dict(self._look()).items():
                self.most[name] = max(self.most.get(name, 0.0), size)
            time.sleep(EVERY_S)

    def _look(self) -> Iterator[tuple[str, float]]:
        together = 0.0
        try:
            children = Path(f"/proc/{self.process}/task/{self.process}/children").read_text().split()
            for name, process in [("parent", self.process), *(("worker", int(child)) for child in children)]:
                rows = Path(f"/proc/{process}/smaps_rollup").read_text().splitlines()[1:]
                sizes = {row.split(":")[0]: int(row.split()[1]) / 1024 for row in rows}
                together += sizes["Pss"]
                yield f"{name}_mb", sizes["Rss"]
        except (OSError, KeyError):  # one has ended
            return
        yield "together_mb", together


def drive_alone(folder: Path) -> None:
    """Run the driver, and leave its figures in the folder."""
    os.chdir(folder)
    stage, sync, fsync = Scoring(), Clock(), os.fsync
    ray = VirtualRay(lambda key: 0.0, line_of=stage.make_line, lines_per_delivery=DELIVERED)

    def sync_timed(descriptor: int) -> None:
        sync.start()
        fsync(descriptor)
        sync.stop()

    def shut_down() -> None:
        stage.loop.stop()
        found = {"loop_s": stage.loop.wall - stage.making.wall, "sync_s": sync.wall, "making_s": stage.making.wall}
        found |= {"loop_cpu_s": stage.loop.cpu - stage.making.cpu, "making_cpu_s": stage.making.cpu}
        Path("figures").write_text(json.dumps(found))

    ray.shutdown = shut_down  # type: ignore[method-assign]
    cluster, lines = Cluster("local", workers=WORKERS[0]), InputFlags(Path("adapters.jsonl"))
    with (
        patch("stages.cluster.ray.start_ray", lambda cluster: ray),
        patch.object(Cluster, "check", lambda self: None),
        patch("os.fsync", sync_timed),
    ):
        sys.exit(drive(stage, lines, RunFlags(output=Path("scores.jsonl")), cluster=cluster))


def measure_driver(count: int) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write(folder / "adapters.jsonl", count, score=None)
        before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
        child = get_context("fork").Process(target=drive_alone, args=(folder,))
        child.start()
        assert child.pid
        memory = Memory(child.pid)
        watch = threading.Thread(target=memory.watch)
        watch.start()
        child.join()
        watch.join()
        seconds, used = time.perf_counter() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
        if child.exitcode:
            raise SystemExit(f"{count} lines: the driver ended with {child.exitcode}")
        found = json.loads((folder / "figures").read_text())
        size = (folder / "scores.jsonl").stat().st_size
    seconds -= found.pop("making_s")
    cpu = used.ru_utime + used.ru_stime - before.ru_utime - before.ru_stime - found.pop("making_cpu_s")
    rates = {"loop_lines_per_s": count / found["loop_s"], "loop_lines_per_cpu_s": count / found["loop_cpu_s"]}
    say("driver", lines=count, line_bytes=size // count, seconds=seconds, cpu_s=cpu, **found, **rates, **memory.most)


def say(bench: str, **figures: float) -> None:
    rounded = {name: round(value, 1) if abs(value) < 100 else round(value) for name, value in figures.items()}
    print(json.dumps({"bench": bench, **rounded}), flush=True)


def main() -> None:
    for part in PARTS:
        for count in RECORDS:
            if part == "driver":
                measure_driver(count)
                continue
            for workers in WORKERS:
                for rate in DEATHS:
                    place = {"bench": f"cluster, {part}", "workers": workers, "records": count, "death_rate": rate}
                    print(json.dumps({**place, **simulate(DRAWS[part](count), workers, rate)}), flush=True)


if __name__ == "__main__":
    main()
