"""What lies where a file ought to: pointers, web pages, what a server said. It is called so wherever a file is read."""

import gzip
from pathlib import Path
from typing import Any

import pytest

from seal_cli.commands.tasks import read_ids
from seal_cli.runs.stdio import input_pairs, input_records
from stages import tasks
from stages.domains.arc.prompts import read_arc_template as read_arc_template
from stages.domains.arc.prompts import read_oracle
from stages.domains.qa import read_template
from stages.errors import BadConfig, BadInput, MissingInput, SealError
from stages.models.adapter_checks import read_adapter_config
from stages.models.directories import check_model
from stages.services.batch_files import read_answers
from tests.sources.test_folders import fill, kinds, read, titles

POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a2146\nsize 12345\n"
PAGE = "<!DOCTYPE html>\n<html><head><title>Sign in</title></head>{title}{context}</html>\n"
STAND_INS = [
    (POINTER, "a Git LFS pointer, not the file; fetch it in its folder: git lfs pull"),
    (POINTER.replace("\n", "\r\n"), "a Git LFS pointer, not the file; fetch it in its folder: git lfs pull"),
    ("/annex/objects/SHA256E-s5--2c.jsonl\n", "a link of git-annex, not the file; fetch it: git annex get "),
    (PAGE, "a web page or an XML answer of a server, not the file; fetch it again"),
    ("\ufeff\n" + PAGE.lower(), "a web page or an XML answer of a server, not the file; fetch it again"),
    ('<?xml version="1.0"?><Error><Code>AccessDenied</Code></Error>', "a web page or an XML answer of a server, not "),
    ("404: Not Found", "what a server said, not the file; see what it says: cat "),
    ("Entry not found\n", "what a server said, not the file; see what it says: cat "),
    (gzip.compress(POINTER.encode(), mtime=0), "a gzip file; unpack it first: gunzip -k "),
    ("a text\n".encode("utf-16"), "not UTF-8 (byte 0) but UTF-16; convert it: iconv -f UTF-16 -t UTF-8 "),
]
SOURCES = ("a.jsonl", "a.json", "a.txt", "a.md", "a.csv", "a.parquet", "a.arrow", "a")


@pytest.mark.parametrize("name", SOURCES)
@pytest.mark.parametrize(("content", "words"), STAND_INS)
def test_a_source_that_stands_for_another_file_is_called_so(
    tmp_path: Path, name: str, content: str | bytes, words: str
) -> None:
    fill(tmp_path, {name: content, "folder/good.md": "A text.", f"folder/{name}": content})
    with pytest.raises(BadInput) as caught:
        tasks.run(str(tmp_path / name))
    assert str(caught.value).startswith(f"{tmp_path}/{name}: {words}")
    found, rejects, left = read(tmp_path / "folder")
    assert titles(found) == ["good"]
    if name != "a" and not isinstance(content, bytes):
        assert [reject.reason[: len(words)] for reject in rejects] == [words]
    else:
        assert len(rejects) + len(left) == 1


@pytest.mark.parametrize(("content", "words"), STAND_INS)
def test_lines_templates_ids_and_answers_that_stand_for_another_file_are_called_so(
    tmp_path: Path, content: str | bytes, words: str
) -> None:
    path = fill(tmp_path, {"file.txt": content}) / "file.txt"
    reads: list[Any] = [
        lambda: list(input_records(path)),
        lambda: list(input_pairs(path)),
        lambda: read_answers([path]),
        lambda: read_template(str(path)),
        lambda: read_arc_template(str(path)),
        lambda: read_oracle(path),
        lambda: read_ids([str(path)]),
        lambda: list(tasks.run(str(path.with_name("x.json")), solutions=path)),
    ]
    fill(tmp_path, {"x.json": {"train": [], "test": []}})
    for reader in reads:
        with pytest.raises(SealError, match=r"file\.txt: ") as caught:
            reader()
        assert f"file.txt: {words}" in str(caught.value)


@pytest.mark.parametrize("body", [{"error": "Repository not found"}, {"message": "Not Found", "status": "404"}])
def test_what_a_server_said_in_json_is_no_task(tmp_path: Path, body: Any) -> None:
    for name in ("a.json", "a.jsonl"):
        fill(tmp_path, {name: body})
        with pytest.raises(BadInput, match=f"{name}.*: what a server said, not the file; see what it says: cat "):
            list(tasks.run(str(tmp_path / name)))


@pytest.mark.parametrize("name", ["a.jsonl.incomplete", "a.jsonl.crdownload", "a.jsonl.part"])
def test_a_download_that_did_not_finish_is_no_source_unless_a_run_of_ours_is_writing_it(
    tmp_path: Path, name: str
) -> None:
    own = {"title": "T", "context": "C", "questions": []}
    fill(tmp_path, {name: own})
    with pytest.raises(BadInput, match=f"{name}: a download that did not finish; fetch it again"):
        tasks.run(str(tmp_path / name))
    fill(tmp_path, {"tasks.jsonl.part": own, "tasks.jsonl.part.json": {"stage": "tasks"}})
    assert len(read(tmp_path / "tasks.jsonl.part")[0]) == 1


def test_a_link_of_git_annex_whose_file_is_not_here_is_called_so(tmp_path: Path) -> None:
    fill(tmp_path, {"folder/good.md": "A text."})
    for name in ("a.jsonl", "folder/b.jsonl"):
        (tmp_path / name).symlink_to(".git/annex/objects/x/SHA256E-s5--2c.jsonl")
    words = "a link of git-annex, not the file; fetch it: git annex get "
    with pytest.raises(MissingInput, match=f"no such file or folder, but {words}"):
        tasks.run(str(tmp_path / "a.jsonl"))
    _, (reject,), _ = read(tmp_path / "folder")
    assert words in reject.reason


@pytest.mark.parametrize("mark", ["", "\ufeff"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_a_template_is_its_text_without_marks_of_the_program_that_saved_it(tmp_path: Path, mark: str, end: str) -> None:
    text = f"{mark}Read {{title}}.{end}{{context}}{end}Notes:{end}"
    path = fill(tmp_path, {"t.txt": text, "ids": f"{mark}one{end}two{end}{end}"}) / "t.txt"
    assert read_template(str(path)) == "Read {title}.\n{context}\nNotes:\n"
    assert read_ids([str(tmp_path / "ids"), "three"]) == ["one", "two", "three"]
    arc = fill(tmp_path, {"arc.txt": f"{mark}Look:{end}{{demonstrations}}{end}"}) / "arc.txt"
    assert read_arc_template(str(arc)) == "Look:\n{demonstrations}\n"


def test_other_text_is_refused_with_the_way_out(tmp_path: Path) -> None:
    path = fill(tmp_path, {"t.txt": "caf\xe9 {title} {context}".encode("latin-1")}) / "t.txt"
    with pytest.raises(BadConfig, match=r"--template .*: not UTF-8 \(byte 3\); if it is Latin-1: iconv -f WINDOWS"):
        read_template(str(path))
    with pytest.raises(BadConfig, match=r"--ids .*: not UTF-8 \(byte 3\)"):
        read_ids([str(path)])


def test_texts_that_speak_of_such_things_are_texts(tmp_path: Path) -> None:
    fill(tmp_path, {"a.md": "# Git LFS\nversion https://git-lfs.github.com/spec/v1 begins a pointer.\n"})
    fill(tmp_path, {"b.md": "<p align=center>A text</p>\n", "c.txt": "Not found was the ring, said Bilbo.\n"})
    found, rejects, left = read(tmp_path)
    assert (titles(found), rejects, kinds(left)) == (["a", "b", "c"], [], [])


@pytest.mark.parametrize(
    "name", ["config.json", "tokenizer.json", "chat_template.jinja", "model.safetensors", "merges.txt"]
)
@pytest.mark.parametrize(("content", "words"), STAND_INS[:3])
def test_a_model_and_an_adapter_of_pointers_are_called_so_before_anything_is_loaded(
    tmp_path: Path, name: str, content: str, words: str
) -> None:
    whole = {"config.json": {"model_type": "x"}, "adapter_config.json": {"peft_type": "LORA"}, "README.md": POINTER}
    folder = fill(tmp_path, {**{f"m/{key}": value for key, value in whole.items()}, f"m/{name}": content}) / "m"
    with pytest.raises(BadInput) as model:
        check_model(str(folder))
    with pytest.raises(BadInput) as adapter:
        read_adapter_config(folder)
    assert str(model.value).startswith(f"--model {folder}: {folder}/{name}: {words}")
    assert str(adapter.value).startswith(f"adapter {folder}: {folder}/{name}: {words}")
    (folder / name).unlink()
    (folder / name).symlink_to(".git/annex/objects/x")
    with pytest.raises(BadInput, match=f"{name}: a link of git-annex, not the file; fetch it: git annex get "):
        check_model(str(folder))
