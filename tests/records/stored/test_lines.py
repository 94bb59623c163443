"""Records that stay in their file are read again as they were; another line in their place is noticed."""

import os
import pickle
from pathlib import Path

import pytest

from seal_cli.runs.input import Input
from seal_cli.runs.rejects import Rejects
from seal_cli.runs.stdio import input_records
from seal_cli.runs.summary import Counts
from seal_cli.terminal.progress import ProgressMeter
from stages.errors import BadInput, BadLine
from stages.records.adapter_paths import get_base_folders
from stages.records.jsonl import encode_line
from stages.records.record import Record
from stages.records.stored.lines import InputReader, StoredRecords
from tests.invented import a_task

LINES = [Record(task=a_task(name)) for name in ("Ada", "Bo", "Cy", "Di")]
CUT = "was changed while this run works on it; put it back as it was, and the same command goes on"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Four lines, with what a file by hand may have between them."""
    first, *others = map(encode_line, LINES)
    (tmp_path / "tasks.jsonl").write_bytes(b"\xef\xbb\xbf" + first.replace(b"\n", b"\r\n") + b"\n" + b"".join(others))
    return tmp_path / "tasks.jsonl"


def read(path: Path, **selection: object) -> tuple[Input, StoredRecords]:
    found = Input("generate", Rejects(None, strict=False, most=None), Counts(), ProgressMeter("generate"))
    found.folders = get_base_folders(path)
    how = {"limit": None, "shard": None, "allow_empty": False, **selection}
    return found, found.store(input_records(path), path, **how)  # type: ignore[arg-type]


def test_each_record_is_read_again_as_it_was(file: Path) -> None:
    _, records = read(file)
    assert (len(records), list(records), list(records)) == (4, LINES, LINES)
    assert (records[-1], records[1:3], records[4:]) == (LINES[3], LINES[1:3], [])
    with pytest.raises(IndexError):
        records[4]
    assert list(read(file, limit=2)[1]) == LINES[:2]


def test_lines_of_a_pipe_are_there_as_often_as_they_are_asked_for(file: Path, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    if os.fork() == 0:
        (tmp_path / "pipe").write_bytes(file.read_bytes())
        os._exit(0)
    _, records = read(tmp_path / "pipe")
    assert (list(records), records[2]) == (LINES, LINES[2])
    os.wait()


def test_a_file_that_is_replaced_or_that_grows_is_read_as_it_was(file: Path) -> None:
    _, records = read(file)
    with file.open("ab") as more:
        more.write(b"{}\n")
    assert list(records) == LINES
    file.with_name("new").write_text("other lines")
    file.with_name("new").replace(file)
    assert list(records) == LINES


def test_a_line_that_is_another_one_now_is_noticed(file: Path) -> None:
    _, records = read(file)
    there = file.read_bytes()
    file.write_bytes(there.replace(b"Cy", b"Cu"))
    assert records[0] == LINES[0]
    with pytest.raises(BadInput, match=rf"tasks.jsonl:4: {CUT}"):
        records[2]
    file.write_bytes(there[:-9])
    with pytest.raises(BadInput, match=rf"tasks.jsonl:5: {CUT}"):
        records[3]


def test_what_is_sifted_out_is_gone_and_the_digest_is_that_of_the_rest(file: Path, tmp_path: Path) -> None:
    def check(line: Record) -> None:
        if line.task.name == "Bo":
            raise BadLine("not Bo")

    source, records = read(file)
    whole = source.digest.hexdigest()
    left = source.sift(records, check)
    assert list(left) == [LINES[0], *LINES[2:]]
    (tmp_path / "rest.jsonl").write_bytes(b"".join(map(encode_line, left)))
    rest, others = read(tmp_path / "rest.jsonl")
    assert source.digest.hexdigest() == rest.digest.hexdigest() != whole
    assert rest.sift(others, lambda line: None) is others


def test_a_reader_travels() -> None:
    reader = pickle.loads(pickle.dumps(InputReader("tasks.jsonl", [Path("/x")])))  # noqa: S301
    assert (reader.name, reader.folders) == ("tasks.jsonl", (Path("/x"),))
    assert reader(encode_line(LINES[0]).removesuffix(b"\n")) == LINES[0]
