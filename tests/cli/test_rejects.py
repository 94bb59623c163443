"""Rejected lines: said, kept in a file, and too many of them end the run."""

import base64
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from seal_cli.flags.run import InputFlags
from seal_cli.runs.journal import lock
from seal_cli.runs.rejects import Rejects, encode_reject, get_part_path
from stages.errors import BadInput, ExistingOutput, Locked
from stages.records.jsonl import Reject
from tests.cli.inside import run_inside


def bad(line: int = 12, raw: bytes = b'{"a"', source: str = "in.jsonl") -> Reject:
    return Reject(source, line, 7, "not JSON: it ends early", raw)


def old(file: Path) -> bytes:
    """Makes the file of a run before."""
    file.write_bytes(encode_reject(bad(99)))
    return file.read_bytes()


def kept(file: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in file.read_text(encoding="utf-8").split("\n")[:-1]]


def test_strict_ends_the_run_at_the_first_bad_line_with_its_plain_message(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rejects = Rejects(tmp_path / "bad.jsonl", strict=True, most=None)
    with pytest.raises(BadInput, match=r"^in\.jsonl:12: not JSON: it ends early$"):
        rejects(bad())
    rejects.close()
    assert capsys.readouterr().err == ""
    assert list(tmp_path.iterdir()) == []


def test_every_bad_line_is_in_the_partial_file_as_soon_as_it_is_known(tmp_path: Path) -> None:
    file = tmp_path / "new" / "bad.jsonl"
    rejects = Rejects(file, strict=False, most=InputFlags.max_rejects)
    assert not file.parent.exists()
    rejects(bad())
    about = {"source": "in.jsonl", "line": 12, "offset": 7, "reason": "not JSON: it ends early"}
    assert kept(get_part_path(file)) == [{**about, "text": '{"a"', "base64": None}]
    rejects(bad(13, b"caf\xe9"))
    assert not file.exists()
    rejects.close()
    assert list(file.parent.iterdir()) == [file]
    assert kept(file)[1] == {**about, "line": 13, "text": None, "base64": base64.b64encode(b"caf\xe9").decode()}
    assert rejects.count == 2


@given(st.binary(), st.text())
def test_the_bytes_of_a_line_come_back_whatever_they_are(raw: bytes, source: str) -> None:
    line = encode_reject(bad(raw=raw, source=source))
    assert line.count(b"\n") == 1
    found = json.loads(line)
    assert raw == (found["text"].encode() if found["base64"] is None else base64.b64decode(found["base64"]))
    assert (found["text"] is None) != (found["base64"] is None)


def test_a_source_whose_name_is_no_utf_8_is_kept(tmp_path: Path) -> None:
    rejects = Rejects(tmp_path / "bad.jsonl", strict=False, most=InputFlags.max_rejects)
    rejects(bad(source="caf\udce9.jsonl"))
    rejects.close()
    assert kept(tmp_path / "bad.jsonl")[0]["source"] == "caf\udce9.jsonl"


def test_the_first_five_are_said_and_at_the_end_how_many_there_were(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "bad.jsonl"
    rejects = Rejects(file, strict=False, most=InputFlags.max_rejects)
    for line in range(1, 8):
        rejects(bad(line))
    rejects.close()
    assert capsys.readouterr().err.splitlines() == [
        *(f"seal: in.jsonl:{line}: not JSON: it ends early (line rejected)" for line in range(1, 6)),
        f"seal: 7 lines rejected, see {file}",
    ]
    assert (rejects.count, len(kept(file))) == (7, 7)


def test_an_entry_of_a_document_is_said_by_its_place_and_without_a_file_the_flag_is_named(
    capsys: pytest.CaptureFixture[str],
) -> None:
    rejects = Rejects(None, strict=False, most=InputFlags.max_rejects)
    rejects(Reject("squad.json", 0, 0, "data[3]: not SQuAD v1.1", b"7"))
    rejects.close()
    assert capsys.readouterr().err.splitlines() == [
        "seal: squad.json: data[3]: not SQuAD v1.1 (entry rejected)",
        "seal: 1 line rejected, give --rejects FILE to keep them",
    ]


def test_without_bad_lines_nothing_is_said_and_no_file_made(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rejects = Rejects(tmp_path / "bad.jsonl", strict=False, most=0)
    rejects.check(0)
    rejects.close()
    assert list(tmp_path.iterdir()) == []
    assert capsys.readouterr().err == ""


def test_the_rejects_of_a_run_before_are_replaced_only_at_the_end(tmp_path: Path) -> None:
    file = tmp_path / "bad.jsonl"
    before = old(file)
    rejects = Rejects(file, strict=False, most=InputFlags.max_rejects)
    rejects(bad(1))
    assert file.read_bytes() == before
    rejects.close()
    assert [found["line"] for found in kept(file)] == [1]
    assert list(tmp_path.iterdir()) == [file]


def test_before_the_first_bad_line_nothing_on_the_disk_is_changed(tmp_path: Path) -> None:
    file = tmp_path / "bad.jsonl"
    before, left = old(file), old(get_part_path(file))
    Rejects(file, strict=False, most=InputFlags.max_rejects)
    assert (file.read_bytes(), get_part_path(file).read_bytes()) == (before, left)


@pytest.mark.parametrize("empty", [False, True])
def test_a_run_that_ends_well_without_bad_lines_removes_those_of_a_run_before(tmp_path: Path, empty: bool) -> None:
    file = tmp_path / "bad.jsonl"
    file.write_bytes(b"" if empty else old(file))
    rejects = Rejects(file, strict=False, most=InputFlags.max_rejects)
    rejects.close()
    assert not file.exists()


def test_after_an_error_without_bad_lines_those_of_a_run_before_stay(tmp_path: Path) -> None:
    file = tmp_path / "bad.jsonl"
    before = old(file)
    rejects = Rejects(file, strict=True, most=None)
    with pytest.raises(BadInput):
        rejects(bad())
    rejects.close(ended_well=False)
    assert file.read_bytes() == before


def test_what_took_the_name_during_the_run_is_not_removed(tmp_path: Path) -> None:
    file = tmp_path / "bad.jsonl"
    rejects = Rejects(file, strict=False, most=InputFlags.max_rejects)
    file.write_bytes(b"notes")
    rejects.close()
    assert file.read_bytes() == b"notes"


def test_after_an_error_too_the_bad_lines_are_in_the_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "bad.jsonl"
    old(file)
    rejects = Rejects(file, strict=False, most=InputFlags.max_rejects)
    rejects(bad(1))
    rejects.close(ended_well=False)
    assert [found["line"] for found in kept(file)] == [1]
    assert capsys.readouterr().err.endswith(f"seal: 1 line rejected, see {file}\n")


@pytest.mark.parametrize("ended_well", [False, True])
@pytest.mark.parametrize("lines", [0, 1, 2])
def test_where_the_output_was_complete_already_the_file_stays_and_nothing_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], lines: int, ended_well: bool
) -> None:
    file = tmp_path / "bad.jsonl"
    before = old(file)
    rejects = Rejects(file, strict=False, most=InputFlags.max_rejects)
    for line in range(lines):
        rejects(bad(line))
    capsys.readouterr()
    rejects.close(ended_well=ended_well, keep=True)
    assert file.read_bytes() == before
    assert list(tmp_path.iterdir()) == [file]
    assert capsys.readouterr().err == ""


def test_what_a_killed_run_left_is_not_mixed_with_the_lines_of_this_one(tmp_path: Path) -> None:
    file = tmp_path / "bad.jsonl"
    old(get_part_path(file))
    rejects = Rejects(file, strict=False, most=InputFlags.max_rejects)
    rejects(bad(1))
    rejects.close()
    assert [found["line"] for found in kept(file)] == [1]


WRITER = """
import sys
from pathlib import Path
from seal_cli.runs.rejects import Rejects
from stages.records.jsonl import Reject
rejects = Rejects(Path(sys.argv[1]), strict=False, most=None)
rejects(Reject("other.jsonl", 1, 0, "not JSON", b"{"))
print("written", flush=True)
sys.stdin.read()
rejects.close()
"""


def test_two_processes_never_write_one_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "bad.jsonl"
    command = [sys.executable, "-c", WRITER, str(file)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as other:
        assert other.stdout
        assert other.stdout.readline() == b"written\n"
        rejects = Rejects(file, strict=False, most=InputFlags.max_rejects)
        with pytest.raises(Locked, match=r"bad\.jsonl\.part: another process is writing it"):
            rejects(bad())
        rejects.close(ended_well=False)
        assert [found["source"] for found in kept(get_part_path(file))] == ["other.jsonl"]
        other.communicate()
    assert other.returncode == 0
    assert [found["source"] for found in kept(file)] == ["other.jsonl"]
    assert capsys.readouterr().err == ""  # no file to see


@pytest.mark.parametrize("keep", [False, True])
def test_the_lock_ends_with_the_run(tmp_path: Path, keep: bool) -> None:
    file = tmp_path / "bad.jsonl"
    rejects = Rejects(file, strict=False, most=InputFlags.max_rejects)
    rejects(bad())
    rejects.close(keep=keep)
    os.close(lock(get_part_path(file)))


@pytest.mark.parametrize(
    "name",
    [
        "in.jsonl",
        "out.jsonl",
        "out.jsonl.part",
        "out.jsonl.part.json",
        "out.jsonl.manifest.json",
        "new/../in.jsonl",
        "link.jsonl",
    ],
)
def test_the_input_and_the_output_are_no_file_of_rejects(tmp_path: Path, name: str) -> None:
    (tmp_path / "new").mkdir()
    (tmp_path / "in.jsonl").touch()
    (tmp_path / "link.jsonl").symlink_to("in.jsonl")
    others = (None, tmp_path / "in.jsonl", tmp_path / "out.jsonl")
    file = tmp_path / name
    with pytest.raises(ExistingOutput) as caught:
        Rejects(file, strict=False, most=InputFlags.max_rejects, others=others)
    assert str(caught.value) == f"--rejects {file}: is the input or the output; give a file of its own"
    Rejects(tmp_path / "bad.jsonl", strict=False, most=InputFlags.max_rejects, others=others)


def test_an_input_that_has_the_name_of_the_partial_file_is_not_overwritten(tmp_path: Path) -> None:
    with pytest.raises(ExistingOutput, match="is the input or the output"):
        Rejects(tmp_path / "bad.jsonl", strict=False, most=InputFlags.max_rejects, others=[tmp_path / "bad.jsonl.part"])


def test_the_journal_of_a_pipe_is_no_file_of_rejects(tmp_path: Path) -> None:
    for name in ("kept/generate.jsonl", "kept/generate.json"):
        way = ("generate", "-t", "none", "--journal", "kept", "--rejects", name)
        refused = run_inside(*way, stdin="{}\n", cwd=tmp_path)
        assert (refused.code, "is the input or the output; give a file of its own" in refused.err) == (73, True)


def test_what_an_interrupted_run_keeps_is_not_taken_for_rejects(tmp_path: Path) -> None:
    part = get_part_path(tmp_path / "edits.jsonl")
    part.write_bytes(b'{"v": 1, "task": {}}\n')
    with pytest.raises(ExistingOutput, match=r"edits\.jsonl\.part: exists and is no file of rejected lines"):
        Rejects(tmp_path / "edits.jsonl", strict=False, most=None)
    part.write_bytes(b'{"sou')  # a killed run's first line
    Rejects(tmp_path / "edits.jsonl", strict=False, most=None)


def test_half_a_line_that_a_full_disk_took_is_not_in_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "bad.jsonl"
    rejects = Rejects(file, strict=False, most=None)
    rejects(bad(1))
    write = os.write

    def half(descriptor: int, data: bytes) -> int:
        if len(data) > 40:
            return write(descriptor, data[:40])
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "write", half)
        with pytest.raises(OSError, match="No space left"):
            rejects(bad(2, b"x" * 10))
    rejects.close(ended_well=False)
    assert [found["line"] for found in kept(file)] == [1]


def test_without_a_file_the_others_do_not_matter(tmp_path: Path) -> None:
    Rejects(None, strict=False, most=InputFlags.max_rejects, others=[tmp_path / "in.jsonl"])


@pytest.mark.parametrize("content", [b'{"v": 1, "task": {}}\n', b"notes", b'{"source"'])
def test_a_file_that_holds_anything_else_is_never_removed(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "in.jsonl"
    file.write_bytes(content)
    with pytest.raises(ExistingOutput, match=r"in\.jsonl: exists and is no file of rejected lines; give another file"):
        Rejects(file, strict=False, most=InputFlags.max_rejects)
    assert file.read_bytes() == content


def test_a_folder_is_no_file_of_rejects(tmp_path: Path) -> None:
    with pytest.raises(ExistingOutput, match="a folder; give a file with --rejects"):
        Rejects(tmp_path, strict=False, most=InputFlags.max_rejects)


def test_a_pipe_and_a_device_are_no_files_of_rejects(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for file in (tmp_path / "pipe", Path("/dev/null")):
        with pytest.raises(ExistingOutput, match=f"^{file}: a device or a pipe; give a file with --rejects$"):
            Rejects(file, strict=False, most=InputFlags.max_rejects)


@pytest.mark.parametrize("most", [0, 1, 100])
def test_more_than_the_limit_end_the_run_with_the_last_one_kept(tmp_path: Path, most: int) -> None:
    file = tmp_path / "bad.jsonl"
    rejects = Rejects(file, strict=False, most=most)
    for line in range(1, most + 1):
        rejects(bad(line))
    with pytest.raises(BadInput) as caught:
        rejects(bad(most + 1))
    assert str(caught.value) == (
        f"in.jsonl:{most + 1}: not JSON: it ends early; with this line more than --max-rejects {most} are rejected: "
        f"see them in {file}, or raise --max-rejects"
    )
    rejects.close(ended_well=False)
    assert len(kept(file)) == most + 1


def test_without_a_file_the_limit_names_both_flags() -> None:
    with pytest.raises(BadInput, match=r"keep them with --rejects FILE, or raise --max-rejects$"):
        Rejects(None, strict=False, most=0)(bad())


def test_without_a_limit_reading_never_ends() -> None:
    rejects = Rejects(None, strict=False, most=None)
    for line in range(1000):
        rejects(bad(line))
    assert rejects.count == 1000


def test_without_one_good_line_the_first_bad_one_ends_the_run() -> None:
    rejects = Rejects(None, strict=False, most=InputFlags.max_rejects)
    rejects(bad(1))
    rejects(bad(2))
    rejects.check(good=1)
    with pytest.raises(BadInput, match=r"^in\.jsonl:1: not JSON: it ends early$"):
        rejects.check(good=0)


def test_of_a_single_line_that_is_bad_only_its_error_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rejects = Rejects(tmp_path / "bad.jsonl", strict=False, most=InputFlags.max_rejects)
    rejects(bad())
    with pytest.raises(BadInput):
        rejects.check(good=0)
    rejects.close()
    assert capsys.readouterr().err == ""
    assert len(kept(tmp_path / "bad.jsonl")) == 1


def test_a_bad_line_is_said_as_soon_as_reading_is_over(capsys: pytest.CaptureFixture[str]) -> None:
    rejects = Rejects(None, strict=False, most=InputFlags.max_rejects)
    rejects(bad())
    rejects.check(good=1)
    assert capsys.readouterr().err == "seal: in.jsonl:12: not JSON: it ends early (line rejected)\n"


def test_a_line_is_written_in_one_piece(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written: list[int] = []
    write = os.write

    def count(descriptor: int, data: bytes) -> int:
        written.append(len(data))
        return write(descriptor, data)

    monkeypatch.setattr(os, "write", count)
    rejects = Rejects(tmp_path / "bad.jsonl", strict=False, most=None)
    for line in range(3):
        rejects(bad(line, b"x" * 100_000))
    assert len(written) == 3
    assert sum(written) == get_part_path(tmp_path / "bad.jsonl").stat().st_size


def test_a_full_disk_is_named_with_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "bad.jsonl"
    before = old(file)
    rejects = Rejects(file, strict=False, most=None)
    with monkeypatch.context() as patch, Path("/dev/full").open("wb", buffering=0) as full:
        write = os.write
        patch.setattr(os, "write", lambda _, data: write(full.fileno(), data))
        with pytest.raises(OSError, match=r"No space left on device: '.*bad\.jsonl\.part'"):
            rejects(bad())
    rejects.close(ended_well=False)
    assert file.read_bytes() == before
    assert list(tmp_path.iterdir()) == [file]


def test_lines_that_cannot_be_synced_do_not_become_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "bad.jsonl"
    before = old(file)
    rejects = Rejects(file, strict=False, most=None)
    rejects(bad())

    def fail(descriptor: int) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match=r"Input/output error: '.*bad\.jsonl\.part'"):
        rejects.close()
    assert file.read_bytes() == before
