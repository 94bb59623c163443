"""Folders that are datasets: what is read of configs and splits is what was asked for, and the rest is told."""

from pathlib import Path
from typing import Any

import pytest

from stages import tasks
from stages.errors import BadConfig, BadInput, SealError
from tests.sources.bad_input import row
from tests.sources.test_folders import fill, kinds, read, titles
from tests.sources.test_tables import stored

CARD = """---
license: mit
configs:
- config_name: one
  data_files:
  - split: train
    path: one/a*.parquet
  - split: test
    path: [one/b.parquet]
- config_name: two
  data_files: two/**
- config_name: three
  data_dir: ./three
---
# A card, which is no task
"""


def table(title: str) -> bytes:
    return stored([row(title)])


def many_configs(root: Path, card: str = CARD) -> Path:
    fill(root, {"README.md": card, "one/a1.parquet": table("A"), "one/b.parquet": table("B")})
    return fill(root, {"two/deep/c.parquet": table("C"), "three/train.parquet": table("D"), "three/x.csv": "1"})


@pytest.mark.parametrize(
    ("config", "split", "found"),
    [
        ("one", None, ["A"]),
        ("one", "test", ["B"]),
        ("one", "train+test", ["A", "B"]),
        ("two", None, ["C"]),
        ("three", "train", ["D"]),
    ],
)
def test_a_card_says_which_files_are_of_a_config_and_a_split(
    tmp_path: Path, config: str, split: str | None, found: list[str]
) -> None:
    assert titles(read(many_configs(tmp_path), config=config, split=split)[0]) == found


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({}, ": has the configs one, two, three; --config NAME takes one"),
        ({"config": "four"}, " --config four: its card has the configs one, two, three"),
        ({"config": "one", "split": "dev"}, " --split dev: no file is called so; it has test, train"),
        (
            {"config": "one", "split": "train[:9]"},
            " --split train[:9]: no file is called so; it has test, train; --sample N takes a part of one",
        ),
    ],
)
def test_what_the_card_leaves_open_or_lacks_is_one_sentence(tmp_path: Path, options: Any, words: str) -> None:
    with pytest.raises(BadConfig if options else BadInput) as caught:
        list(tasks.run(str(many_configs(tmp_path)), **options))
    assert str(caught.value) == f"{tmp_path}{words}"


def test_a_default_config_is_read_and_told(tmp_path: Path) -> None:
    told: list[str] = []
    card = CARD.replace("name: two", "name: two\n  default: true")
    assert titles(read(many_configs(tmp_path, card), note=told.append)[0]) == ["C"]
    assert told[0] == f"of {tmp_path} the config two is read; --config NAME takes another (one, three)"


@pytest.mark.parametrize("card", ["---\nlicense: mit\nconfigs: [\n---\n", "---\nconfigs:\n- 3\n---\n"])
def test_a_card_that_cannot_be_understood_is_a_note(tmp_path: Path, card: str) -> None:
    told: list[str] = []
    fill(tmp_path, {"README.md": card, "train.parquet": table("A"), "test.parquet": table("B")})
    assert titles(read(tmp_path, note=told.append)[0]) == ["A"]
    assert f"{tmp_path}/README.md: a card that cannot be understood (" in told[0]
    assert told[1] == f"of {tmp_path} the split train is read; --split NAME takes another (test)"


def test_a_card_names_no_file_beside_the_folder(tmp_path: Path) -> None:
    card = (
        "---\nconfigs:\n- config_name: x\n  data_files: [../beside.parquet, a.parquet, 'https://host/b.parquet']\n---\n"
    )
    fill(tmp_path, {"beside.parquet": table("Beside"), "data/README.md": card, "data/a.parquet": table("A")})
    assert titles(read(tmp_path / "data")[0]) == ["A"]


@pytest.mark.parametrize(
    ("names", "found"),
    [
        (("train.parquet", "test.parquet"), ["train"]),
        (
            ("data/train-00000-of-00001.parquet", "data/validation-00000-of-00001.parquet"),
            ["data/train-00000-of-00001"],
        ),
        (("train/a.parquet", "dev/a.parquet"), ["train/a"]),
        (("test.parquet",), ["test"]),
        (("a.parquet", "b.parquet"), ["a", "b"]),
        (("train.jsonl", "train.parquet"), ["train", "train"]),
    ],
)
def test_of_splits_that_the_names_tell_train_is_read(tmp_path: Path, names: tuple[str, ...], found: list[str]) -> None:
    for name in names:
        title = Path(name).with_suffix("").as_posix()
        fill(tmp_path, {name: table(title) if name.endswith("t") else row(f"{title}")})
    told: list[str] = []
    assert titles(read(tmp_path, note=told.append)[0]) == list(dict.fromkeys(found))
    assert bool(told) == (len(found) < len(names) and found != ["train", "train"])


def test_splits_of_which_none_is_train_are_asked_for(tmp_path: Path) -> None:
    fill(tmp_path, {"test.parquet": table("A"), "validation.parquet": table("B")})
    with pytest.raises(BadInput, match="has the splits test, validation; --split NAME takes one"):
        read(tmp_path)
    assert titles(read(tmp_path, split="test")[0]) == ["A"]


def test_folders_of_a_dataset_without_a_card_are_its_configs(tmp_path: Path) -> None:
    fill(tmp_path, {"en/train.parquet": table("A"), "de/train.parquet": table("B")})
    told: list[str] = []
    assert titles(read(tmp_path, note=told.append)[0]) == ["B", "A"]
    assert told == [f"of {tmp_path} the folders de, en are read together; --config NAME takes one"]
    assert titles(read(tmp_path, config="en")[0]) == ["A"]
    with pytest.raises(BadConfig, match="--config fr: no folder in it is called so, and it has no card"):
        read(tmp_path, config="fr")


def test_what_save_to_disk_wrote_is_read_without_its_caches(tmp_path: Path) -> None:
    for split in ("train", "held_out"):
        name = f"{split}/data-00000-of-00001.arrow"
        fill(tmp_path, {name: stored([row(split)], ".arrow"), f"{split}/state.json": {"_data_files": []}})
    fill(tmp_path, {"dataset_dict.json": {"splits": ["train", "held_out"]}, "train/dataset_info.json": {}})
    fill(tmp_path, {"train/cache-1a2b.arrow": stored([row("cached")], ".arrow")})
    found, rejects, left = read(tmp_path)
    assert (titles(found), rejects) == (["train"], [])
    assert ("cache-1a2b.arrow", "cache of datasets") in kinds(left)
    assert titles(read(tmp_path, split="held_out")[0]) == ["held_out"]
    assert titles(read(tmp_path / "train")[0]) == ["train"]


def test_a_card_beside_lines_is_no_task_and_notes_are(tmp_path: Path) -> None:
    fill(tmp_path / "data", {"README.md": "---\nlicense: mit\n---\n# Card\n", "data/train.jsonl": row("A")})
    assert titles(read(tmp_path / "data")[0]) == ["A"]
    fill(tmp_path / "notes", {"README.md": "---\ntitle: My notes\n---\n# Notes\nA text.\n", "b.jsonl": row("B")})
    assert titles(read(tmp_path / "notes")[0]) == ["README", "B"]


@pytest.mark.parametrize(
    ("files", "words"),
    [
        ({}, "it is empty"),
        ({"notes.doc": b"\xd0\xcf\x11\xe0"}, "it holds 1 .doc; save it as .docx or .pdf"),
        ({"train.zip": b"PK\x03\x04"}, "it holds 1 .zip; unpack it first, into the same folder"),
        ({"train.jsonl.zst": b"(\xb5/\xfd"}, "it holds 1 .zst; unpack it first, into the same folder"),
        ({"a.png": b"\x89PNG", "b.jpg": b"\xff\xd8"}, "it holds 1 .png, 1 .jpg; give the text that the pictures show"),
        ({"a.wav": b"RIFF"}, "it holds 1 .wav; give the text that is spoken"),
        ({"a.xml": "<a/>"}, "it holds 1 .xml; take its text: pandoc -t gfm FILE -o NEW.md"),
        ({"t.jsonl.incomplete": "{}"}, "it holds 1 .incomplete; a download did not finish: fetch it again"),
        ({".train.csv": "x"}, "it holds 1 hidden"),
    ],
)
def test_a_folder_without_anything_to_read_is_one_sentence(tmp_path: Path, files: Any, words: str) -> None:
    (tmp_path / "data").mkdir()
    with pytest.raises(BadInput) as caught:
        read(fill(tmp_path / "data", files))
    documents = ".pdf, .html, .htm, .xhtml, .docx, .epub"
    data = ".json, .jsonl, .ndjson, .parquet, .arrow, .csv, .tsv"
    lacks = f"(.txt, .md, .markdown, .rst, {documents}), code and data ({data})"
    assert str(caught.value).startswith(f"{tmp_path}/data: a folder without texts {lacks}; {words}")


def test_a_folder_whose_files_hold_no_row_is_not_called_empty(tmp_path: Path) -> None:
    fill(tmp_path, {"a.csv": "title,context,question,answer\n"})
    with pytest.raises(BadInput, match=f"{tmp_path}: no task in it; give another source, or --allow-empty"):
        read(tmp_path)


def test_a_stored_dataset_beside_notes_is_read_without_its_descriptions(tmp_path: Path) -> None:
    fill(tmp_path, {"a.md": "A note.", "data-00000-of-00001.arrow": stored([row("A")], ".arrow")})
    fill(tmp_path, {"state.json": {"_data_files": []}, "dataset_info.json": {"citation": "", "features": {}}})
    found, rejects, left = read(tmp_path)
    assert (titles(found), rejects) == (["a", "A"], [])
    assert {kind for _, kind in kinds(left)} == {"description of a dataset"}


def test_a_link_to_nothing_that_is_called_a_table_is_rejected(tmp_path: Path) -> None:
    fill(tmp_path, {"a.parquet": table("A")})
    (tmp_path / "b.parquet").symlink_to("nowhere")
    (tmp_path / "c.parquet").symlink_to("a.parquet")
    found, (reject,), _ = read(tmp_path)
    assert titles(found) == ["A"]
    assert reject.reason == "cannot be read (No such file or directory, a link to nothing)"


def test_no_network_is_asked_for_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stages.tasks.load_dataset", lambda *given: pytest.fail("asked the hub"))
    for name in ("squad", "csv", "squad_v2"):
        fill(tmp_path, {f"{name}/train.parquet": table(name)})
        monkeypatch.chdir(tmp_path)
        assert titles(read(name)[0]) == [name]


def test_a_name_that_is_no_folder_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "cache")
    monkeypatch.setattr("datasets.config.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(
        SealError, match=r"^squad: neither a file here nor a dataset that can be loaded \(the hub cannot be reached"
    ):
        read("squad")
