"""Rejected lines: said, kept in a file, and too many of them end the run."""

import base64
import json
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from seal_cli.rejects import MOST, Rejects, encode
from stages.failures import BadInput, ExistingOutput
from stages.lines import Reject


def bad(line: int = 12, raw: bytes = b'{"a"', source: str = "in.jsonl") -> Reject:
    return Reject(source, line, 7, "not JSON: it ends early", raw)


def kept(file: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in file.read_text(encoding="utf-8").split("\n")[:-1]]


def test_by_default_a_hundred_bad_lines_are_borne() -> None:
    assert MOST == 100


def test_strict_ends_the_run_at_the_first_bad_line_with_its_plain_message(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rejects = Rejects(tmp_path / "bad.jsonl", strict=True, most=None)
    with pytest.raises(BadInput, match=r"^in\.jsonl:12: not JSON: it ends early$"):
        rejects(bad())
    rejects.close()
    assert capsys.readouterr().err == ""
    assert list(tmp_path.iterdir()) == []


def test_every_bad_line_is_in_the_file_as_soon_as_it_is_known(tmp_path: Path) -> None:
    file = tmp_path / "new" / "bad.jsonl"
    rejects = Rejects(file, strict=False, most=MOST)
    assert not file.parent.exists()
    rejects(bad())
    about = {"source": "in.jsonl", "line": 12, "offset": 7, "reason": "not JSON: it ends early"}
    assert kept(file) == [{**about, "text": '{"a"', "base64": None}]
    rejects(bad(13, b"caf\xe9"))
    assert kept(file)[1] == {**about, "line": 13, "text": None, "base64": base64.b64encode(b"caf\xe9").decode()}
    assert rejects.count == 2


@given(st.binary(), st.text())
def test_the_bytes_of_a_line_come_back_whatever_they_are(raw: bytes, source: str) -> None:
    line = encode(bad(raw=raw, source=source))
    assert line.count(b"\n") == 1
    found = json.loads(line)
    assert raw == (found["text"].encode() if found["base64"] is None else base64.b64decode(found["base64"]))
    assert (found["text"] is None) != (found["base64"] is None)


def test_a_source_whose_name_is_no_utf_8_is_kept(tmp_path: Path) -> None:
    rejects = Rejects(tmp_path / "bad.jsonl", strict=False, most=MOST)
    rejects(bad(source="caf\udce9.jsonl"))
    assert kept(tmp_path / "bad.jsonl")[0]["source"] == "caf\udce9.jsonl"


def test_the_first_five_are_said_and_at_the_end_how_many_there_were(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "bad.jsonl"
    rejects = Rejects(file, strict=False, most=MOST)
    for line in range(1, 8):
        rejects(bad(line))
    rejects.close()
    rejects.close()
    assert capsys.readouterr().err.splitlines() == [
        *(f"seal: in.jsonl:{line}: not JSON: it ends early (line rejected)" for line in range(1, 6)),
        f"seal: 7 lines rejected, see {file}",
    ]
    assert (rejects.count, len(kept(file))) == (7, 7)


def test_an_entry_of_a_document_is_said_by_its_place_and_without_a_file_the_flag_is_named(
    capsys: pytest.CaptureFixture[str],
) -> None:
    rejects = Rejects(None, strict=False, most=MOST)
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


def test_the_rejects_of_a_run_before_are_removed(tmp_path: Path) -> None:
    file = tmp_path / "bad.jsonl"
    for line in (1, 2):
        rejects = Rejects(file, strict=False, most=MOST)
        assert not file.exists()
        rejects(bad(line))
        rejects.close()
        assert [found["line"] for found in kept(file)] == [line]
    file.write_bytes(b"")
    Rejects(file, strict=False, most=MOST)
    assert not file.exists()


@pytest.mark.parametrize("content", [b'{"v": 1, "task": {}}\n', b"notes", b'{"source"'])
def test_a_file_that_holds_anything_else_is_never_removed(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "in.jsonl"
    file.write_bytes(content)
    with pytest.raises(ExistingOutput, match=r"in\.jsonl: exists and is no file of rejected lines; give another file"):
        Rejects(file, strict=False, most=MOST)
    assert file.read_bytes() == content


def test_a_folder_is_no_file_of_rejects(tmp_path: Path) -> None:
    with pytest.raises(ExistingOutput, match="a folder; give a file with --rejects"):
        Rejects(tmp_path, strict=False, most=MOST)


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
    rejects = Rejects(None, strict=False, most=MOST)
    rejects(bad(1))
    rejects(bad(2))
    rejects.check(good=1)
    with pytest.raises(BadInput, match=r"^in\.jsonl:1: not JSON: it ends early$"):
        rejects.check(good=0)


def test_of_a_single_line_that_is_bad_only_its_error_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rejects = Rejects(tmp_path / "bad.jsonl", strict=False, most=MOST)
    rejects(bad())
    with pytest.raises(BadInput):
        rejects.check(good=0)
    rejects.close()
    assert capsys.readouterr().err == ""
    assert len(kept(tmp_path / "bad.jsonl")) == 1


def test_a_bad_line_is_said_as_soon_as_reading_is_over(capsys: pytest.CaptureFixture[str]) -> None:
    rejects = Rejects(None, strict=False, most=MOST)
    rejects(bad())
    rejects.check(good=1)
    assert capsys.readouterr().err == "seal: in.jsonl:12: not JSON: it ends early (line rejected)\n"


def test_a_line_is_written_in_one_piece(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written: list[int] = []
    write = os.write
    monkeypatch.setattr(os, "write", lambda descriptor, data: written.append(len(data)) or write(descriptor, data))
    rejects = Rejects(tmp_path / "bad.jsonl", strict=False, most=None)
    for line in range(3):
        rejects(bad(line, b"x" * 100_000))
    assert len(written) == 3
    assert sum(written) == (tmp_path / "bad.jsonl").stat().st_size


def test_a_full_disk_is_named_with_the_file() -> None:
    rejects = Rejects(Path("/dev/full"), strict=False, most=None)
    with pytest.raises(OSError, match="No space left on device: '/dev/full'"):
        rejects(bad())
