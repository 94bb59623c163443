"""--ray where there is no cluster, and what a run keeps of the records that its workers gave up."""

from collections.abc import Collection, Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest

from seal_cli.runs.worker import InFlightLog
from stages.interfaces import NullProgress, Progress
from stages.rate import _ProgramWorker
from stages.records.record import Record
from tests.cli.conftest import jsonl, seal
from tests.cli.inside import run_inside
from tests.invented import a_task, an_edit

REFUSED = [
    (("judge", "lines.jsonl", "--workers", "2", "-o", "x"), 78, "--workers 2: only --ray has workers"),
    (("adapt", "lines.jsonl", "--gpus-per-worker", "1"), 78, "--gpus-per-worker 1.0: only --ray has workers"),
    (("adapt", "lines.jsonl", "--ray", "local", "--sequential"), 78, "each step of a sequence needs the last one"),
]


@pytest.mark.parametrize(("arguments", "code", "told"), REFUSED)
def test_a_cluster_that_does_nothing_is_refused(
    arguments: tuple[str, ...], code: int, told: str, tmp_path: Path
) -> None:
    (tmp_path / "lines.jsonl").write_text("")
    found = seal(*arguments, "--allow-empty", cwd=tmp_path)
    assert found.code == code, found.err
    assert told in found.err


def test_a_cluster_needs_the_package_and_a_place_for_lines(tmp_path: Path) -> None:
    (tmp_path / "lines.jsonl").write_text("")
    found = seal("judge", "lines.jsonl", "--ray", "local", "--allow-empty", cwd=tmp_path)
    if find_spec("ray") is None:
        assert (found.code, "pip install 'seal-toolkit[ray]'" in found.err) == (78, True)
    else:
        assert (found.code, "give -o FILE or --journal DIR" in found.err) == (2, True)


def test_what_is_given_up_outlives_what_is_in_work() -> None:
    log = InFlightLog()
    log.begin_work(["a", "b"])
    log.give_up(["a"])
    assert (log.in_work(), log.given_up()) == (["b"], ["a"])
    log.clear()
    log.begin_work(["c"])
    assert (log.in_work(), log.given_up()) == (["c"], ["a"])


def test_a_record_whose_line_is_there_is_not_rejected_whoever_gave_it_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = _ProgramWorker.make

    def make(self: _ProgramWorker, keys: Collection[str], progress: Progress = NullProgress()) -> Iterator[Record]:
        yield from own(self, keys, progress)
        progress.give_up(list(keys)[1:])

    monkeypatch.setattr(_ProgramWorker, "make", make)
    silent = [
        line.grow(edit=an_edit(line.task, sample, " ")) for sample, line in enumerate([Record(task=a_task())] * 3)
    ]
    done = run_inside("rate", "--program", "true", "-o", "rated.jsonl", stdin=jsonl(silent), cwd=tmp_path)
    assert done.code == 0, done.err
    assert len((tmp_path / "rated.jsonl").read_bytes().splitlines()) == 3
