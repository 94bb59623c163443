"""Adapters and scores that a crash left: what is whole is kept, what is not is made again, to the same bytes.

The same to the last digits where no more is promised (tests/bits.py).
"""

import hashlib
import json
import shutil
from pathlib import Path

import pytest

from stages.models.directories import read_header
from stages.records.record import Record
from tests.bits import assert_same
from tests.cli.conftest import SMALL_LORA, Finished, jsonl, passages, seal
from tests.cli.inside import run_inside
from tests.invented import a_task, an_edit

ADAPT = ("adapt", "edits.jsonl", "--out", "ad", *SMALL_LORA, "--seeds", "2", "-o", "adapters.jsonl")
EVAL = ("eval", "adapters.jsonl", "--max-tokens", "6", "-o", "scores.jsonl")


@pytest.fixture(scope="module")
def done(model_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with edits of three tasks, their adapters and scores."""
    folder = tmp_path_factory.mktemp("done")
    (folder / "model").symlink_to(model_dir)
    (folder / "own.jsonl").write_text(passages(3))
    made = (
        seal("tasks", "own.jsonl", "-o", "tasks.jsonl", cwd=folder),
        seal(
            "generate",
            "tasks.jsonl",
            "--model",
            "model",
            "-k",
            "2",
            "--max-tokens",
            "8",
            "-o",
            "edits.jsonl",
            cwd=folder,
        ),
        seal(*ADAPT, cwd=folder),
        seal(*EVAL, cwd=folder),
    )
    assert [each.code for each in made] == [0] * 4, made
    return folder


@pytest.fixture
def place(done: Path, tmp_path: Path) -> Path:
    shutil.copytree(done, tmp_path / "run", symlinks=True)
    return tmp_path / "run"


def interrupt(folder: Path, name: str, *, kept: int) -> list[str]:
    """As if the command had been killed after so many lines, the last of them torn; returns the lines kept."""
    path = folder / name
    lines = path.read_text().splitlines(keepends=True)
    manifest = path.with_name(f"{name}.manifest.json")
    settings = json.loads(manifest.read_text())["settings"]
    path.with_name(f"{name}.part.json").write_text(json.dumps(settings))
    path.with_name(f"{name}.part").write_text("".join(lines[:kept]) + lines[kept][:100])
    path.unlink()
    manifest.unlink()
    return lines[:kept]


def contents(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def stored(folder: Path, name: str) -> dict[str, bytes]:
    return {name: (folder / name).read_bytes()}


def adapter_of(line: str) -> Path:
    return Path(json.loads(line)["adapter"]["path"])


def again(place: Path, *command: str) -> Finished:
    finished = seal(*command, cwd=place)
    assert finished.code == 0, finished.err
    return finished


def test_adapters_that_are_whole_are_kept_and_the_others_are_trained_to_the_same_bytes(place: Path, done: Path) -> None:
    lines = interrupt(place, "adapters.jsonl", kept=6)
    vanished, cut, other_rank, *kept = [place / adapter_of(line) for line in lines]
    shutil.rmtree(vanished)
    with (cut / "adapter_model.safetensors").open("r+b") as file:
        file.truncate(900)
    config = json.loads((other_rank / "adapter_config.json").read_text())
    (other_rank / "adapter_config.json").write_text(json.dumps({**config, "r": 3}))
    before = [(path / "adapter_model.safetensors").stat().st_mtime_ns for path in kept]
    finished = again(place, *ADAPT)
    assert "goes on: 3 of 12 lines are in adapters.jsonl.part" in finished.err
    assert_same(stored(place, "adapters.jsonl"), stored(done, "adapters.jsonl"))
    assert_same(contents(place / "ad"), contents(done / "ad"))
    assert [(path / "adapter_model.safetensors").stat().st_mtime_ns for path in kept] == before


def test_adapters_that_vanished_after_the_run_are_trained_again_by_the_same_command(place: Path, done: Path) -> None:
    shutil.rmtree(place / adapter_of((place / "adapters.jsonl").read_text().splitlines()[4]))
    finished = again(place, *ADAPT)
    assert "goes on: 11 of 12 lines are in adapters.jsonl.part" in finished.err
    assert_same(contents(place / "ad"), contents(done / "ad"))
    assert_same(stored(place, "adapters.jsonl"), stored(done, "adapters.jsonl"))
    assert "complete already" in again(place, *ADAPT).err


def test_directories_that_a_killed_process_was_building_are_removed_and_those_of_others_left_alone(
    place: Path, done: Path
) -> None:
    interrupt(place, "adapters.jsonl", kept=6)
    orphan = adapter_of((done / "adapters.jsonl").read_text().splitlines()[8])
    (place / f"{orphan}.x3k_9abc.part").mkdir()
    (place / f"{orphan}.x3k_9abc.old.part").mkdir()
    (place / "ad" / "another.yyyyyyyy.part").mkdir()
    again(place, *ADAPT)
    assert sorted(path.name for path in (place / "ad").glob("*.part")) == ["another.yyyyyyyy.part"]
    assert_same(contents(place / "ad"), contents(done / "ad"))


@pytest.mark.parametrize("kept", [1, 5, 11])
def test_scores_go_on_and_ask_for_no_baseline_twice(place: Path, done: Path, kept: int) -> None:
    interrupt(place, "scores.jsonl", kept=kept)
    again(place, *EVAL)
    assert_same(stored(place, "scores.jsonl"), stored(done, "scores.jsonl"))


def test_lines_in_another_order_and_in_shards_give_the_same_adapters_and_scores(place: Path, done: Path) -> None:
    edits = (place / "edits.jsonl").read_text().splitlines(keepends=True)
    (place / "edits.jsonl").write_text("".join(edits[::-1]))
    shutil.rmtree(place / "ad")
    found: list[str] = []
    for part in (2, 1):
        adapted = ("adapt", "edits.jsonl", *ADAPT[2:-1], f"a{part}.jsonl", "--shard", f"{part}/2")
        again(place, *adapted)
        again(place, "eval", f"a{part}.jsonl", *EVAL[2:-1], f"s{part}.jsonl")
        found += (place / f"s{part}.jsonl").read_text().splitlines()
    scores = {"scores.jsonl": ("\n".join(sorted(found)) + "\n").encode()}
    assert_same(scores, {"scores.jsonl": b"".join(sorted((done / "scores.jsonl").read_bytes().splitlines(True)))})
    assert_same(contents(place / "ad"), contents(done / "ad"))


# ---- adapters are looked at before they are used


def refusal(place: Path) -> str:
    (place / "scores.jsonl").unlink()
    refused = seal(*EVAL, cwd=place)
    assert refused.code in (65, 66)
    assert refused.err.count("\n") == 1
    return refused.err


def test_an_adapter_of_another_shape_is_refused_before_a_model_is_loaded(place: Path) -> None:
    config = json.loads((place / "model" / "config.json").read_text())
    shutil.copytree(place / "model", place / "other")
    (place / "model").unlink()
    (place / "other").rename(place / "model")
    weights = place / "model" / "model.safetensors"
    assert read_header(weights)["model.layers.0.self_attn.q_proj.weight"].shape == (32, 32)
    data = weights.read_bytes()
    weights.write_bytes(data.replace(b'"shape":[32,32]', b'"shape":[16,64]'))
    assert config["hidden_size"] == 32
    assert "does not fit model: " in refusal(place)


def test_an_adapter_that_was_trained_on_other_weights_of_the_same_name_is_refused(place: Path) -> None:
    shutil.copytree(place / "model", place / "other")
    (place / "model").unlink()
    (place / "other").rename(place / "model")
    weights = place / "model" / "model.safetensors"
    data = bytearray(weights.read_bytes())
    data[-7] ^= 1
    weights.write_bytes(data)
    assert "was trained on other weights than model has now; run `seal adapt` again, or give the mod" in refusal(place)


def test_of_a_damaged_or_lost_adapter_the_answers_stay_unscored_until_it_is_there_again(place: Path) -> None:
    lines = (place / "adapters.jsonl").read_text().splitlines()
    damaged, lost = adapter_of(lines[3]), adapter_of(lines[5])
    (place / "adapters.jsonl").write_text(
        (place / "adapters.jsonl").read_text().replace(f'"path": "{lost}"', f'"path": "./{lost}"')
    )
    whole = (place / "scores.jsonl").read_text().splitlines()
    (place / "scores.jsonl").unlink()
    weights = place / damaged / "adapter_model.safetensors"
    data = weights.read_bytes()
    weights.write_bytes(data[:-1])
    (place / lost).rename(place / "elsewhere")
    partly = seal(*EVAL, "--rejects", "bad.jsonl", cwd=place)
    assert partly.code == 3
    assert f"seal eval: adapters.jsonl:4: {damaged / 'adapter_model.safetensors'}: " in partly.err
    assert f"seal eval: adapters.jsonl:6: adapter {lost}: no such directory (run `seal adapt` again" in partly.err
    found = (place / "scores.jsonl").read_text().splitlines()
    assert [line for line in found if adapter_of(line) not in (damaged, lost)] == [
        line for line in whole if adapter_of(line) not in (damaged, lost)
    ]
    unscored = [json.loads(line)["score"] for line in found if adapter_of(line) == lost]
    assert [score["value"] for score in unscored] == [None]
    assert "no such directory" in unscored[0]["answers"][0]["reason"]
    weights.write_bytes(data)
    (place / "elsewhere").rename(place / lost)
    assert "goes on: 10 of 12 lines are in" in again(place, *EVAL).err
    assert (place / "scores.jsonl").read_text().splitlines() == whole


def test_an_adapter_without_safetensors_is_named(place: Path) -> None:
    for line in (place / "adapters.jsonl").read_text().splitlines():
        weights = place / adapter_of(line) / "adapter_model.safetensors"
        weights.unlink(missing_ok=True)
        (weights.parent / "adapter_model.bin").write_bytes(b"pickle")
    assert "only a .bin, which is not read" in refusal(place)


# ---- a run that has moved


@pytest.fixture
def moved(place: Path, tmp_path: Path) -> Path:
    """The run at another place, its model at a third; the adapters of the first are gone with it."""
    shutil.copytree(place / "model", tmp_path / "weights")
    (place / "model").unlink()
    return place.rename(tmp_path / "elsewhere")


def at(folder: Path, command: tuple[str, ...], model: Path) -> list[str]:
    """The same command with absolute paths, as it is typed in any other folder."""
    own = [str(folder / word) if word == "ad" or word.endswith(".jsonl") else word for word in command]
    return [*own, "--model", str(model)]


def test_a_run_that_has_moved_with_its_model_elsewhere_is_complete(moved: Path, tmp_path: Path) -> None:
    for command in (ADAPT, EVAL):
        again_ = run_inside(*at(moved, command, tmp_path / "weights"), cwd=tmp_path)
        assert (again_.code, "is complete already; nothing to do" in again_.err) == (0, True), again_.err
        assert "adapters were trained on" not in again_.err and "`seal adapt`" not in again_.err


def test_an_interrupted_run_goes_on_where_it_has_moved(moved: Path, done: Path, tmp_path: Path) -> None:
    for name, command in (("adapters.jsonl", ADAPT), ("scores.jsonl", EVAL)):
        interrupt(moved, name, kept=11)
        with (moved / f"{name}.part").open("r+") as part:
            part.truncate(0)
            part.write((done / name).read_text())
        finished = run_inside(*at(moved, command, tmp_path / "weights"), cwd=tmp_path)
        assert finished.code == 0, finished.err
        assert f"goes on: 12 of 12 lines are in {moved}/{name}.part" in finished.err
        assert (moved / name).read_bytes() == (done / name).read_bytes()


def test_a_model_that_has_moved_with_the_run_is_known_by_its_weights(place: Path, tmp_path: Path) -> None:
    """The lines name `/…/run/model`, which is gone; beside them is one of that name, and one with other weights."""
    lines = (place / "adapters.jsonl").read_text().replace('"model": "model"', f'"model": "{tmp_path}/gone/model"')
    (place / "adapters.jsonl").write_text(lines)
    found = run_inside("eval", place / "adapters.jsonl", "--dry-run", cwd=tmp_path)
    assert (found.code, f"would score 12 lines with {place}/model" in found.err) == (0, True), found.err
    real = (place / "model").resolve()
    (place / "model").unlink()
    shutil.copytree(real, place / "model")
    (place / "model" / "generation_config.json").unlink()
    other = run_inside("eval", place / "adapters.jsonl", "--dry-run", cwd=tmp_path)
    assert other.code == 66
    assert f"the lines name {tmp_path}/gone/model, which is no model here: give --model DIR" in other.err


def test_lines_that_left_their_adapters_behind_say_where_these_were_looked_for(place: Path, tmp_path: Path) -> None:
    (tmp_path / "part.jsonl").write_text((place / "adapters.jsonl").read_text().splitlines(keepends=True)[0])
    refused = run_inside("eval", "part.jsonl", "--model", place / "model", cwd=tmp_path)
    name = adapter_of((tmp_path / "part.jsonl").read_text())
    assert (refused.code, f"looked for at {tmp_path}/{name};" in refused.err) == (66, True), refused.err
    inside = run_inside("eval", tmp_path / "part.jsonl", "--dry-run", cwd=place)
    assert inside.code == 0, inside.err
    piped = run_inside("eval", "--dry-run", stdin=(tmp_path / "part.jsonl").read_text(), cwd=place)
    assert piped.code == 0, piped.err


def test_the_lines_of_shards_in_several_folders_still_find_their_adapters(place: Path, tmp_path: Path) -> None:
    whole = (place / "adapters.jsonl").read_text().splitlines(keepends=True)
    manifest = json.loads((place / "adapters.jsonl.manifest.json").read_text())
    for part in (1, 2):
        folder = tmp_path / f"machine-{part}"
        folder.mkdir()
        (place / "ad").rename(folder / "ad") if part == 2 else shutil.copytree(place / "ad", folder / "ad")
        text = "".join(whole[part - 1 :: 2])
        (folder / "a.jsonl").write_text(text)
        settings = {**manifest["settings"], "shard": f"{part}/2", "model": f"/home/{part}/model"}
        made = {**manifest, "settings": settings, "sha256": hashlib.sha256(text.encode()).hexdigest()}
        (folder / "a.jsonl.manifest.json").write_text(json.dumps(made))
    done = run_inside("merge", "machine-1/a.jsonl", "machine-2/a.jsonl", "-o", "all.jsonl", cwd=tmp_path)
    assert done.code == 0, done.err
    for line in (tmp_path / "all.jsonl").read_text().splitlines():
        assert (tmp_path / adapter_of(line) / "adapter_config.json").is_file()


def test_lines_name_their_adapters_from_the_folder_that_keeps_them(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    edits = jsonl([Record(task=a_task(), edit=an_edit(a_task()))])
    way = ("adapt", "--model", ".", "--trainer", "tests.cli.workers:Pretend", "--out", "run/ad")
    assert seal(*way, "-o", "run/lines/adapters.jsonl", stdin=edits, cwd=tmp_path).code == 0
    (piped,) = seal(*way, "--journal", "run/journal", stdin=edits, cwd=tmp_path).lines
    assert Path(piped["adapter"]["path"]).parent == Path("run/ad")
    for name in ("run/lines/adapters.jsonl", "run/journal/adapt.jsonl"):
        assert adapter_of((tmp_path / name).read_text()).parent == Path("../ad")


def test_a_journal_tells_from_its_folder_and_stdout_from_here_and_the_adapter_names_its_model_absolutely(
    place: Path,
) -> None:
    edits = (place / "edits.jsonl").read_text().splitlines(keepends=True)
    command = ("adapt", "--out", "ad", *SMALL_LORA, "--seeds", "2", "--model", "model", "--journal", "journal")
    (place / "journal").mkdir()
    lines = [json.loads(line) for line in (place / "adapters.jsonl").read_text().splitlines()]
    for line in lines:
        line["adapter"]["path"] = f"../{line['adapter']['path']}"
    (place / "journal/adapt.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    settings = json.loads((place / "adapters.jsonl.manifest.json").read_text())["settings"]
    (place / "journal/adapt.json").write_text(json.dumps({**settings, "out": "../ad"}))
    finished = run_inside(*command, stdin="".join(edits), cwd=place)
    assert finished.code == 0, finished.err
    assert [line["adapter"]["path"] for line in finished.lines] == [f"ad/{line['adapter']['id']}" for line in lines]
    for line in finished.lines:
        config = json.loads((place / line["adapter"]["path"] / "adapter_config.json").read_text())
        assert config["base_model_name_or_path"] == str((place / "model").resolve())
