"""What can die while a cluster works, and what becomes of the run: lines, exit codes, and the same command again.

python -m tests.ray.table [NAME …]        prints the table, or the rows whose names have one of these words
"""

import os
import signal
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import psutil

from tests.cli.conftest import Finished
from tests.ray.nodes import start_node
from tests.ray.trial import STAGES, Trial

RECORDS, LONG = 40, 600  # lines; as many as take longer than the end of a node to be noticed
Play = Callable[[Trial, str, int], Finished]  # a trial, a cluster's address, and a place from 0 to RECORDS


@cache
def get_keys(stage: str, address: str, count: int) -> list[str]:
    """The records of a stage by the names that workers have for them."""
    with tempfile.TemporaryDirectory() as name:
        trial = Trial(stage, count, Path(name))
        assert trial.start(address).end().code == 0
        return sorted({key for _, key in trial.begun})


def strike(times: int) -> Play:
    """A record kills its worker so often."""

    def play(trial: Trial, address: str, place: int) -> Finished:
        trial.strike([get_keys(trial.stage, address, trial.count)[place]], times)
        return trial.start(address).end()

    return play


def strike_all(times: int) -> Play:
    """Every record kills its worker so often."""

    def play(trial: Trial, address: str, place: int) -> Finished:
        trial.strike(get_keys(trial.stage, address, trial.count), times)
        return trial.start(address).end()

    return play


def stop(signum: signal.Signals) -> Play:
    """The run gets a signal when a number of lines is in its journal."""

    def play(trial: Trial, address: str, place: int) -> Finished:
        run = trial.start(address)
        trial.wait_for(place, run)
        run.send(signum)
        return run.end(30)

    return play


def kill_driver(trial: Trial, address: str, place: int) -> Finished:
    """The process that has Ray dies, the one that publishes lives."""
    run = trial.start(address)
    trial.wait_for(place, run)
    os.kill(find_driver(trial.folder), signal.SIGKILL)
    return run.end()


def find_driver(folder: Path) -> int:
    """The child of the command's own process."""
    here = [each for each in psutil.process_iter(["cwd", "ppid", "name"]) if each.info["cwd"] == str(folder)]
    own = {each.pid for each in here}
    (found,) = [each.pid for each in here if each.info["ppid"] in own]
    return int(found)


def kill_node(trial: Trial, address: str, place: int) -> Finished:
    with start_node(cpus=1) as head, start_node(cpus=1, address=head.address) as node:
        run = trial.start(head.address)
        trial.wait_for(place, run)
        node.kill("raylet")
        return run.end()


def kill_head(name: str) -> Play:
    """A process of the head dies, of a cluster with another node."""

    def play(trial: Trial, address: str, place: int) -> Finished:
        with start_node(cpus=1) as head, start_node(cpus=1, address=head.address):
            run = trial.start(head.address)
            trial.wait_for(place, run)
            head.kill(name)
            return run.end()

    return play


def hide_folder(trial: Trial, address: str, place: int) -> Finished:
    """One of two nodes has another, empty folder under the name of the run's."""
    own = ("unshare", "--mount", "--propagation", "private")
    with start_node(cpus=1) as head, start_node(*own, cpus=1, address=head.address) as node:
        run = trial.start(head.address)
        trial.wait_for(place, run)
        enter = ("nsenter", f"--mount=/proc/{node.processes['raylet']}/ns/mnt")
        subprocess.run([*enter, "mount", "-t", "tmpfs", "none", trial.folder], check=True)
        return run.end()


def rename_folder(trial: Trial, address: str, place: int) -> Finished:
    """The run's folder gets another name for all, and then its own again."""
    run = trial.start(address)
    trial.wait_for(place, run)
    away = trial.folder.rename(f"{trial.folder}-away")
    found = run.end()
    away.rename(trial.folder)
    return found


@dataclass(frozen=True)
class Fault:
    """What dies, in which places, and how the command then ends; `rejected` of its lines are left out."""

    name: str
    play: Play
    code: int = 0
    stage: str = "judge"
    places: Sequence[int] = (0,)
    rejected: int = 0
    tried: int = 2  # times that a record is begun, at most
    count: int = RECORDS


EACH = range(RECORDS)
FAULTS = (
    *(Fault(f"{stage}: nothing", strike(0), stage=stage, tried=1) for stage in STAGES),
    Fault("judge: a worker, at each record", strike(1), places=EACH),
    *(
        Fault(f"{stage}: a worker, at every fourth record", strike(1), stage=stage, places=range(0, RECORDS, 4))
        for stage in STAGES
        if stage != "judge"
    ),
    Fault("judge: a worker, at every record", strike_all(1), tried=9),
    Fault("judge: every worker, at one record", strike(99), 3, places=range(0, RECORDS, 4), rejected=1, tried=9),
    Fault("adapt: every worker, at one record", strike(99), 3, "adapt", range(0, RECORDS, 13), rejected=1, tried=9),
    Fault("judge: every worker, at every record", strike_all(99), 70, tried=9),
    Fault("judge: the run, by SIGKILL, at each line", stop(signal.SIGKILL), 137, places=EACH),
    Fault("judge: the run, by Ctrl-C", stop(signal.SIGINT), 130, places=(1, 13, 26)),
    Fault("judge: the run, by SIGTERM", stop(signal.SIGTERM), 143, places=(1, 13, 26)),
    Fault("judge: the driver, at each line", kill_driver, places=range(1, RECORDS)),
    Fault("judge: a node", kill_node, places=range(5, 6), count=LONG),
    Fault("judge: the head's raylet", kill_head("raylet"), 70, places=range(5, 6), count=LONG),
    Fault("adapt: a node's sight of the folder", hide_folder, 78, stage="adapt", places=range(2, 3)),
    Fault("adapt: the folder's name, for a while", rename_folder, stage="adapt", places=range(5, 6)),
    Fault("judge: the head's GCS", kill_head("gcs_server"), 70, places=range(5, 6), count=LONG),
)


@dataclass
class Row:
    """What became of the runs with one fault, and of the same commands once more without it."""

    fault: Fault
    runs: int = 0
    codes: Counter[int] = field(default_factory=Counter)
    tried: int = 0
    lost: int = 0
    twice: int = 0
    rejected: int = 0
    again: Counter[int] = field(default_factory=Counter)
    same: int = 0
    said: list[str] = field(default_factory=list)

    def add(self, trial: Trial, found: Finished, again: Finished) -> None:
        self.runs += 1
        self.codes[found.code if found.code >= 0 else 128 - found.code] += 1  # as a shell has it
        self.tried = max([self.tried, *Counter(key for _, key in trial.begun).values()])
        lost, twice = trial.compare()
        self.lost += lost
        self.twice += twice
        self.rejected += trial.rejected
        self.again[again.code] += 1
        self.same += trial.same
        self.said += [found.err, again.err]

    @property
    def wrong(self) -> list[str]:
        """What is not as it should be."""
        fault, rejected = self.fault, self.fault.rejected * self.runs
        good = {
            f"exit codes {dict(self.codes)}": set(self.codes) == {fault.code},
            f"tried {self.tried} times": self.tried <= fault.tried,
            f"{self.lost} lines lost": not self.lost,
            f"{self.twice} lines twice": not self.twice,
            f"{self.rejected} rejected": self.rejected == rejected,
            f"again {dict(self.again)}": set(self.again) == {3 if rejected else 0},
            f"{self.runs - self.same} with other bytes": self.same == (0 if rejected else self.runs),
        }
        return [words for words, fine in good.items() if not fine]

    def __str__(self) -> str:
        def join(codes: Counter[int]) -> str:
            return ", ".join(map(str, sorted(codes)))

        return (
            f"| {self.fault.name} | {self.runs} | {join(self.codes)} | {self.tried} | {self.lost} | {self.twice} "
            f"| {join(self.again)} | {'none' if self.fault.rejected else self.same} |"
        )


def try_fault(fault: Fault, address: str) -> Row:
    """Run the stage with the fault in all its places, and each time the same command again."""
    row = Row(fault)
    for place in fault.places:
        with tempfile.TemporaryDirectory(prefix="seal-trial-") as name:
            trial = Trial(fault.stage, fault.count, Path(name))
            found = fault.play(trial, address, place)
            trial.heal()
            row.add(trial, found, trial.start(address).end())
    return row


def main(words: list[str]) -> None:
    print("| what dies | runs | exit | tried | lost | twice | again | same bytes |")
    print("|---|---|---|---|---|---|---|---|")
    with start_node(cpus=2) as head:
        for fault in FAULTS:
            if not words or any(word in fault.name for word in words):
                row = try_fault(fault, head.address)
                print(row, *row.wrong, sep=" WRONG: " if row.wrong else "", flush=True)
                if row.wrong:
                    print(*row.said, sep="\n", file=sys.stderr, flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
