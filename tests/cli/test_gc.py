"""`seal gc`: what no line names is listed, and removed when that is asked for; nothing else is touched."""

import fcntl
import json
import os
import resource
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from stages import gc as collecting
from stages.eval import Eval
from stages.files import atomic_directory, hold_folders, open_locked
from stages.gc import run as collect
from stages.work import Work
from tests import invented
from tests.cli.conftest import Finished
from tests.cli.inside import run_inside

NAMED, LOST, OLD = "0123456789abcdef", "fedcba9876543210", "00000000ffffffff"


def an_adapter(folder: Path, base: str | None = "1234") -> Path:
    """A directory as `seal adapt` writes it; without a base as another program does."""
    folder.mkdir(parents=True)
    (folder / "adapter_config.json").write_text('{"peft_type": "LORA"}')
    metadata = {"format": "pt", **({"base": base} if base else {})}
    weight = {"dtype": "F32", "shape": [1, 1], "data_offsets": [0, 4]}
    header = json.dumps({"__metadata__": metadata, "w.lora_A.weight": weight}).encode()
    (folder / "adapter_model.safetensors").write_bytes(len(header).to_bytes(8, "little") + header + bytes(4))
    return folder


def a_line(path: str) -> str:
    return json.dumps({"v": 1, "adapter": {"id": Path(path).name, "path": path}}) + "\n"


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run with an adapter that a line names, and one that none does."""
    folder = tmp_path / "run"
    for name in (NAMED, LOST):
        an_adapter(folder / "round-1/adapters" / name)
    (folder / "round-1/adapters.jsonl").write_text(a_line(f"adapters/{NAMED}"))
    return folder


def gc(folder: Path, *flags: str) -> Finished:
    return run_inside("gc", folder.name, *flags, cwd=folder.parent)


def listed(folder: Path) -> list[str]:
    done = gc(folder)
    assert done.code == 0, done.err
    return done.out.splitlines()


def test_what_no_line_names_is_listed_and_removed_only_when_asked(run: Path) -> None:
    looked = gc(run)
    assert (looked.code, looked.out) == (0, f"run/round-1/adapters/{LOST}\n")
    assert "seal gc: 1 adapters that no line names, 0 unfinished directories, 0.0 MB; nothing removed: give --rem" in (
        looked.err
    )
    assert (run / "round-1/adapters" / LOST).is_dir()
    removed = gc(run, "--remove")
    assert (removed.code, removed.out) == (0, looked.out)
    assert sorted(path.name for path in (run / "round-1/adapters").iterdir()) == [NAMED]
    assert "nothing to remove" in gc(run).err


@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("round-1/scores.jsonl.part", a_line(f"adapters/{LOST}")),
        ("journal/adapt.jsonl", a_line(f"../round-1/adapters/{LOST}")),
        ("round-1/old.jsonl", a_line(f"/home/gone/run/round-1/adapters/{LOST}")),
        ("elsewhere.jsonl", a_line(f"some/folder/that/is/gone/{LOST}")),
        ("round-1/torn.jsonl.part", a_line(f"adapters/{LOST}")[:-5]),
        ("all.json", f"[{a_line(f'round-1/adapters/{LOST}')}]"),
        ("bad.jsonl", json.dumps({"source": "x", "reason": "y", "text": a_line(f"round-1/adapters/{LOST}")})),
        ("round-1/up.jsonl", a_line(f"../round-1/../round-1/adapters/./{LOST}")),
    ],
    ids=["unfinished", "a journal", "moved", "lost", "torn", "a document", "a reject", "roundabout"],
)
def test_whoever_names_an_adapter_keeps_it(run: Path, file: str, text: str) -> None:
    (run / file).parent.mkdir(exist_ok=True)
    (run / file).write_text(text)
    assert listed(run) == []


def test_files_by_which_a_killed_cluster_knew_its_workers_go_and_those_of_a_living_one_stay(run: Path) -> None:
    folder = run / "round-1/adapters"
    dead, living = (f".seal-{letter * 16}" for letter in "ab")
    for name in (dead, f"{dead}-3", living, f"{living}-0", ".seal-mine"):
        (folder / name).write_text("proof")
    lock = open_locked(folder / living, fcntl.LOCK_EX, os.O_RDWR)  # its driver lives
    looked, removed = gc(run), gc(run, "--remove")
    os.close(lock)
    paths = [f"run/round-1/adapters/{name}" for name in (LOST, dead, f"{dead}-3")]
    assert looked.out.splitlines() == removed.out.splitlines() == paths
    assert "0 unfinished directories, 2 files of killed cluster runs, 0.0 MB; removed" in removed.err
    assert {path.name for path in folder.iterdir()} == {NAMED, living, f"{living}-0", ".seal-mine"}


def test_lines_behind_links_keep_what_they_name(run: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path / "disk/scores"
    elsewhere.mkdir(parents=True)
    (elsewhere / "scores.jsonl").write_text(a_line(f"../../run/round-1/adapters/{LOST}"))
    (elsewhere / "round").symlink_to(run)  # a circle
    (run / "scores").symlink_to(tmp_path / "disk")
    (run / "latest").symlink_to(run / "round-1")
    assert listed(run) == []
    (run / "scores").unlink()
    assert listed(run) == [f"run/round-1/adapters/{LOST}"]


def test_a_folder_that_cannot_be_read_ends_it(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def scandir(path: Any) -> Any:
        if str(path).endswith("behind"):
            raise PermissionError(13, "Permission denied", str(path))
        return whole(path)

    whole = os.scandir
    (tmp_path / "disk").mkdir()
    (run / "behind").symlink_to(tmp_path / "disk")
    monkeypatch.setattr(os, "scandir", scandir)
    with pytest.raises(PermissionError, match="behind"):
        list(collect(run, remove=True))
    assert (run / "round-1/adapters" / LOST).is_dir()


def test_of_two_adapters_with_one_id_the_one_that_is_named_stays(run: Path) -> None:
    an_adapter(run / "copy" / NAMED)
    assert set(listed(run)) == {f"run/copy/{NAMED}", f"run/round-1/adapters/{LOST}"}


def test_what_killed_runs_left_behind_goes_too(run: Path) -> None:
    left = [f"round-1/adapters/{OLD}.abcd_123.part", f"round-1/adapters/{OLD}.abcd_123.old.part"]
    left += ["round-1/model.k2j3h4g5.part", f"round-1/adapters/{OLD}.training.part"]
    for name in left:
        (run / name).mkdir()
    (run / left[0] / "adapter_config.json").touch()
    (run / left[2] / "model-00001-of-00002.safetensors").touch()
    (run / left[3] / "training.safetensors").touch()  # a checkpoint of --checkpoint-every
    (run / left[3] / "training.safetensors.part").touch()
    (run / "round-1/notes.backup12.part").mkdir()
    (run / "round-1/notes.backup12.part/mine.txt").touch()
    assert set(listed(run)) == {f"run/{name}" for name in (*left, f"round-1/adapters/{LOST}")}
    gc(run, "--remove")
    assert (run / "round-1/notes.backup12.part/mine.txt").exists()
    assert not any((run / name).exists() for name in left)


def test_nothing_is_touched_that_seal_did_not_write(run: Path) -> None:
    outside = an_adapter(run.parent / "outside" / LOST)
    adapters = run / "round-1/adapters"
    an_adapter(adapters / "1111111111111111", base=None)
    (an_adapter(adapters / "2222222222222222") / "notes.txt").write_text("mine")
    an_adapter(adapters / "my-adapter")
    (adapters / "3333333333333333").symlink_to(outside)
    (run / "linked").symlink_to(run.parent / "outside")
    (adapters / "4444444444444444").mkdir()
    assert listed(run) == [f"run/round-1/adapters/{LOST}"]
    gc(run, "--remove")
    assert len(list(adapters.iterdir())) == 6
    assert outside.is_dir()


def test_a_run_that_is_at_work_is_left_alone(run: Path) -> None:
    (run / "scores.jsonl.part").touch()
    with (run / "scores.jsonl.part").open() as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        refused = gc(run, "--remove")
    assert (refused.code, "run/scores.jsonl.part: another process is working there" in refused.err) == (75, True)
    with hold_folders([run / "round-1/adapters"]), hold_folders([run / "round-1/adapters"]):
        refused = gc(run, "--remove")
    assert (refused.code, "run/round-1/adapters: another process is working there" in refused.err) == (75, True)
    assert (run / "round-1/adapters" / LOST).is_dir()
    descriptor = os.open(run / "round-1/adapters", os.O_RDONLY)
    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)  # nothing holds it any more
    os.close(descriptor)


def test_a_model_that_a_living_process_builds_is_no_leftover(run: Path) -> None:
    with atomic_directory(run / "round-1/model"):
        refused = gc(run, "--remove")
    assert (refused.code, "another process is working there" in refused.err) == (75, True)
    assert (run / "round-1/model").is_dir()


def test_the_lines_of_a_run_that_ends_before_the_folders_are_held_count(
    run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def end_a_run(path: Path, kind: int, *more: int) -> int:
        (run / "late.jsonl").write_text(a_line(f"round-1/adapters/{LOST}"))
        return hold(path, kind, *more)

    hold = collecting.open_locked
    monkeypatch.setattr(collecting, "open_locked", end_a_run)
    assert list(collect(run, remove=True)) == []


def test_more_files_of_lines_than_a_process_may_open_are_read_one_by_one(run: Path) -> None:
    for number in range(40):
        (run / f"scores-{number}.jsonl").write_text(a_line(f"round-1/adapters/{LOST}") if number == 39 else "")
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (len(os.listdir("/dev/fd")) + 20, hard))  # noqa: PTH208
    try:
        done = gc(run)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert (done.code, done.out) == (0, ""), done.err


def test_adapters_that_questions_are_put_to_stay_though_their_lines_are_in_a_pipe(run: Path) -> None:
    line = invented.a_line(invented.a_task(), [True, True])
    assert line.adapter
    adapter = line.adapter.model_copy(update={"path": str(run / "round-1/adapters" / LOST)})
    unloaded = {"find_moved": lambda *_: None, "find_unusable": lambda *_: {}, "find_foreign": lambda *_: set()}
    engine: Any = SimpleNamespace(**unloaded, choose=lambda *_: "model", chats=False)
    judge: Any = SimpleNamespace(text="exact", offline=True)
    work = Eval(engine, judge).prepare([line.grow(adapter=adapter, score=None)])
    assert isinstance(work, Work)
    with work.claim():
        assert gc(run, "--remove").code == 75
    assert (run / "round-1/adapters" / LOST).is_dir()
    assert gc(run, "--remove").code == 0


def test_a_folder_in_which_lines_cannot_name_anything_is_refused(run: Path) -> None:
    bare = run_inside("gc", "run/round-1/adapters", cwd=run.parent)
    assert (bare.code, "holds no JSON lines, so that no adapter is named" in bare.err) == (65, True)
    (run / "more.jsonl.gz").touch()
    packed = gc(run, "--remove")
    assert (packed.code, "run/more.jsonl.gz: its lines may name adapters" in packed.err) == (65, True)
    assert run_inside("gc", "nowhere", cwd=run).code == 66
    assert (run / "round-1/adapters" / LOST).is_dir()


def test_lines_beside_a_run_and_in_the_working_folder_name_its_adapters_too(run: Path) -> None:
    (run.parent / "adapters.jsonl").write_text(a_line(f"run/round-1/adapters/{LOST}"))
    assert listed(run) == []
