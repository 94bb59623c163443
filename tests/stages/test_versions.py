"""Versions: `current` is the last adapter that was released, the way back is known, and no crash leaves it nowhere."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from stages import files, versions
from stages.errors import BadConfig, BadInput, ExistingOutput, Locked, MissingInput
from stages.gc import run as collect
from stages.rollback import list_versions
from stages.rollback import run as roll_back
from stages.versions import find_current, hold_versions, read_versions, release

IDS = ("aaaaaaaaaaaaaaaa", "bbbbbbbbbbbbbbbb", "cccccccccccccccc")
A, B, C = IDS


class Died(BaseException):
    """The process is gone."""


def an_adapter(folder: Path) -> Path:
    """A small LoRA as `seal adapt` writes it; each has other weights."""
    folder.mkdir(parents=True)
    (folder / "adapter_config.json").write_text('{"peft_type": "LORA", "r": 1}')
    tensors, data = dict[str, Any](), folder.name.encode().ljust(8)[:8]
    for at, side in enumerate("AB"):
        name = f"base_model.model.layer.lora_{side}.weight"
        tensors[name] = {"dtype": "F32", "shape": [1, 1], "data_offsets": [4 * at, 4 * at + 4]}
    header = json.dumps({"__metadata__": {"format": "pt", "base": "1234"}, **tensors}).encode()
    (folder / "adapter_model.safetensors").write_bytes(len(header).to_bytes(8, "little") + header + data)
    return folder


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run with three adapters, none of them released, and a card."""
    folder = tmp_path / "run"
    for name in IDS:
        an_adapter(folder / "adapters" / name)
    lines = [json.dumps({"adapter": {"id": name, "path": f"adapters/{name}"}}) for name in IDS]
    (folder / "adapters.jsonl").write_text("\n".join(lines) + "\n")
    (folder / "card.json").write_text("{}")
    return folder


def put_out(run: Path, name: str) -> str:
    """Release an adapter; the id of the version that is in use then."""
    found = release(run, run / "adapters" / name, adapter_id=name, gate="learned>10", card=run / "card.json")
    return found.adapter.id


def current(run: Path) -> str:
    return find_current(run).name


def test_current_leads_to_the_last_release_and_the_run_may_move(run: Path) -> None:
    with pytest.raises(MissingInput, match="has no current version"):
        find_current(run)
    for name in (A, B):
        put_out(run, name)
        assert current(run) == name
    assert (run / "current").readlink() == Path("adapters", B)
    moved = run.rename(run.with_name("elsewhere"))
    assert current(moved) == B
    assert roll_back(moved).now.adapter.id == A
    assert current(moved) == A


def test_the_same_release_again_is_no_second_one(run: Path) -> None:
    put_out(run, A)
    before = (run / "versions.jsonl").read_bytes()
    put_out(run, A)
    assert (run / "versions.jsonl").read_bytes() == before
    (run / "card.json").write_text('{"learned": 12}')
    put_out(run, A)
    assert len(read_versions(run)) == 2  # another card says so


def test_a_gate_that_is_only_asked_again_does_not_undo_a_rollback(run: Path) -> None:
    for name in (A, B):
        put_out(run, name)
    roll_back(run)
    assert put_out(run, B) == A
    assert current(run) == A
    (run / "card.json").write_text('{"learned": 14}')
    assert put_out(run, B) == A, "another card of the same adapter does not, either"
    assert current(run) == A
    with (run / "adapters" / B / "adapter_model.safetensors").open("r+b") as file:
        file.seek(-1, os.SEEK_END)
        file.write(b"!")
    assert put_out(run, B) == B, "it was trained anew"


def test_a_version_that_was_taken_again_is_released_as_any_other(run: Path) -> None:
    for name in (A, B):
        put_out(run, name)
    roll_back(run)
    roll_back(run, B)
    put_out(run, C)
    assert put_out(run, B) == B
    assert current(run) == B


def test_a_version_that_a_rollback_went_to_was_not_given_up(run: Path) -> None:
    for name in (A, B):
        put_out(run, name)
    roll_back(run)
    put_out(run, C)
    assert put_out(run, A) == A
    assert current(run) == A
    assert put_out(run, B) == A, "this one was"


def test_a_version_that_was_given_up_is_not_gone_back_to_unless_asked_for(run: Path) -> None:
    for name in (A, B):
        put_out(run, name)
    roll_back(run)
    put_out(run, C)
    done = roll_back(run)
    assert (done.now.adapter.id, done.before and done.before.adapter.id, current(run)) == (A, C, A)
    with pytest.raises(MissingInput, match=f"{A} is the first version, and there is none before it"):
        roll_back(run)
    assert roll_back(run, B).now.rolled_back == A
    assert current(run) == B
    assert roll_back(run).now.adapter.id == A
    with pytest.raises(BadConfig, match="--to dddd: no version of that id was released"):
        roll_back(run, "dddd")
    assert roll_back(run, A).before is None
    assert current(run) == A


def test_a_version_that_is_gone_or_changed_is_refused_by_name(run: Path) -> None:
    for name in IDS:
        put_out(run, name)
    (run / "adapters" / A).rename(run / "gone")
    with (run / "adapters" / B / "adapter_model.safetensors").open("r+b") as file:
        file.seek(-1, os.SEEK_END)
        file.write(b"!")
    with pytest.raises(BadInput, match=f"version {B}: its adapter .* was changed since it was released"):
        roll_back(run)
    with pytest.raises(MissingInput, match=f"version {A}: its adapter .* is gone"):
        roll_back(run, A)
    assert current(run) == C
    told = {each.version.adapter.id: (each.current, each.fault) for each in list_versions(run)}
    assert [*told] == [A, B, C]
    assert told[C] == (True, None)
    assert "is gone" in str(told[A][1])
    assert "was changed" in str(told[B][1])


def test_what_is_no_adapter_is_not_released(run: Path) -> None:
    (run / "adapters" / A / "adapter_model.safetensors").write_bytes(b"torn")
    with pytest.raises(BadInput, match="cut off or damaged"):
        put_out(run, A)
    assert not (run / "versions.jsonl").exists()


def test_a_folder_in_the_place_of_the_link_is_left_alone(run: Path) -> None:
    (run / "current").mkdir()
    with pytest.raises(ExistingOutput, match="is no link, and would be replaced by one"):
        put_out(run, A)
    assert (run / "current").is_dir()


def test_two_at_once_are_told(run: Path) -> None:
    put_out(run, A)
    with hold_versions(run), pytest.raises(Locked, match="another process releases a version"):
        put_out(run, B)
    assert current(run) == A


def test_a_released_adapter_is_never_waste(run: Path) -> None:
    put_out(run, A)
    put_out(run, B)
    roll_back(run)
    (run / "adapters.jsonl").write_text("{}\n")
    assert [each.path.name for each in collect(run)] == [C]


def list_steps(run: Path, work: Callable[[], object], monkeypatch: pytest.MonkeyPatch, die_at: int) -> int:
    """Do the work, whose process dies at this operation on files (from 0), torn where it writes; count them."""
    count = 0

    def watch(module: Any, name: str) -> None:
        whole = getattr(module, name)

        def step(*arguments: Any, **more: Any) -> Any:
            nonlocal count
            count += 1
            if count > die_at:
                if name == "write_all":
                    os.write(arguments[0], arguments[1][: len(arguments[1]) // 2])
                raise Died
            return whole(*arguments, **more)

        patch.setattr(module, name, step)

    with monkeypatch.context() as patch:
        for module, name in ((versions, "write_all"), (os, "fsync"), (os, "ftruncate"), (os, "symlink")):
            watch(module, name)
        watch(files, "rename")
        work()
    return count


@pytest.mark.parametrize("rolls", [False, True], ids=["a release", "a rollback"])
def test_whatever_kills_it_current_is_the_old_or_the_new_one_and_the_same_again_ends_it(
    run: Path, monkeypatch: pytest.MonkeyPatch, rolls: bool
) -> None:
    for name in (A, B):
        put_out(run, name)
    new = A if rolls else C
    work: Callable[[], object] = (lambda: roll_back(run)) if rolls else (lambda: put_out(run, C))
    start = (run / "versions.jsonl").read_bytes()
    for die_at in range(20):
        try:
            list_steps(run, work, monkeypatch, die_at)
        except Died:
            assert current(run) in (B, new)
            if not (rolls and current(run) == new):  # it was done, and would be done once more
                work()
        else:
            assert die_at >= 4
            break
        finally:
            assert current(run) == new
            assert [each.adapter.id for each in read_versions(run)] == [A, B, new]
            assert sorted(path.name for path in run.iterdir()) == [
                "adapters",
                "adapters.jsonl",
                "card.json",
                "current",
                "versions.jsonl",
            ]
        (run / "versions.jsonl").write_bytes(start)
        files.replace_link(run / "current", f"adapters/{B}")
    else:
        pytest.fail("it never came to its end")
