"""Running a stage: what its worker is told."""

from collections.abc import Collection, Iterator, Mapping
from pathlib import Path

import pytest

from seal_cli.terminal.console import QuietMode
from stages.interfaces import NullProgress, Progress
from stages.rate import RateByProgram, _ProgramWorker
from stages.records.record import Record
from stages.work import resume
from tests.cli.conftest import jsonl
from tests.cli.inside import run_inside
from tests.invented import a_task, an_edit

LINES = [Record(task=a_task(), edit=an_edit(a_task(), sample, f"Text {sample}.")) for sample in range(3)]


@pytest.mark.parametrize("in_shell", [True, False])
def test_whether_a_line_is_to_be_made_is_known_without_a_look_at_all_the_others(
    in_shell: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[Collection[str]] = []

    def make(self: object, keys: Collection[str], progress: Progress = NullProgress()) -> Iterator[Record]:
        told.append(keys)
        return iter(())

    monkeypatch.setattr(_ProgramWorker, "make", make)
    monkeypatch.setattr(QuietMode, "on", True)  # no process shows what goes on
    if in_shell:
        assert run_inside("rate", "--program", "true", stdin=jsonl(LINES), cwd=tmp_path).code == 0
    else:
        resume(RateByProgram("true"), LINES, tmp_path / "rated.jsonl")
    (keys,) = told
    assert (len(keys), isinstance(keys, Mapping)) == (3, True)
