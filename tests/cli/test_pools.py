"""Pools from the shell: one adapter on many lines, through all stages, and what a run that died left of it."""

import json
import shutil
import signal
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from stages.interfaces import Request
from stages.records.parser import parse_record
from stages.records.record import Record
from stages.work import Work
from tests.bits import assert_same
from tests.cli.conftest import SMALL_LORA, Finished, jsonl, seal
from tests.cli.inside import run_inside
from tests.invented import a_task, an_edit
from tests.invented_grids import an_arc_edit, an_arc_task

TITLES = ("Ada", "Bo", "Cy")
ADAPT = ("adapt", "edits.jsonl", "--model", "model", "--out", "ad", *SMALL_LORA, "--pool", "--batch-size", "4")
TRAIN = (*ADAPT, "--device", "cpu", "-o", "adapters.jsonl")
EVAL = ("eval", "adapters.jsonl", "--max-tokens", "6", "--device", "cpu", "--judge", "exact", "-o", "scores.jsonl")


def edited(*titles: str) -> list[Record]:
    """Two self-edits of each task."""
    tasks = [a_task(title) for title in titles]
    return [Record(task=task, edit=an_edit(task, n, f"{task.name} is {n}.")) for task in tasks for n in range(2)]


def make_scores(folder: Path, model: Path, titles: Iterable[str], train: Iterable[str]) -> Path:
    """Train on the self-edits of these tasks, and score them, in the folder."""
    (folder / "model").symlink_to(model)
    (folder / "edits.jsonl").write_text(jsonl(edited(*titles)))
    for command in (train, EVAL):
        made = seal(*command, cwd=folder)
        assert made.code == 0, made.err
    return folder


@pytest.fixture(scope="module")
def done(model_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the self-edits of three tasks, the adapter of their pool, and scores."""
    return make_scores(tmp_path_factory.mktemp("pool"), model_dir, TITLES, TRAIN)


@pytest.fixture
def place(done: Path, tmp_path: Path) -> Path:
    shutil.copytree(done, tmp_path / "run", symlinks=True)
    return tmp_path / "run"


def lines_of(place: Path, name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (place / name).read_text().splitlines()]


def contents(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_every_line_names_the_one_adapter_and_has_its_score(done: Path) -> None:
    lines = lines_of(done, "adapters.jsonl")
    (adapter,) = {json.dumps(line["adapter"]): line["adapter"] for line in lines}.values()
    assert [path.name for path in (done / "ad").iterdir()] == [adapter["id"]] == [Path(adapter["path"]).name]
    assert (adapter["train"]["sequences"], adapter["train"]["steps"]) == (12, 2 * 3)
    assert adapter["fit"]["pool"] == {"passages": "each", "edits": 6}
    assert [line["edit"]["completion"] for line in lines] == [
        line.edit and line.edit.completion for line in edited(*TITLES)
    ]
    scores = lines_of(done, "scores.jsonl")
    assert [line["adapter"]["id"] for line in scores] == [adapter["id"]] * 6
    assert all(len(line["score"]["answers"]) == 2 for line in scores)
    for first, second in zip(scores[::2], scores[1::2], strict=True):  # two self-edits of one task
        assert first["score"] == second["score"]


def test_an_evaluation_reads_the_adapter_once_and_asks_each_question_once(
    done: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from stages.engines import hf
    from stages.engines.local import LocalEngine
    from stages.eval import Eval
    from stages.judges.factory import LocalJudge
    from stages.models.device import Device

    read, asked, plain, sample = list[Path](), list[str](), hf.read_plain_lora, hf.HFEngine.sample

    def read_and_note(path: Path, layers: Any) -> Any:
        read.append(path)
        return plain(path, layers)

    def sample_and_note(engine: Any, requests: Iterable[Request], progress: Any) -> Any:
        every = list(requests)
        asked.extend(request.id for request in every)
        return sample(engine, every, progress)

    monkeypatch.chdir(done)
    monkeypatch.setattr(hf, "read_plain_lora", read_and_note)
    monkeypatch.setattr(hf.HFEngine, "sample", sample_and_note)
    records = [parse_record(line) for line in lines_of(done, "adapters.jsonl")]
    stage = Eval(LocalEngine("model", device=Device("cpu")), LocalJudge("exact"), max_tokens=6)
    work = stage.prepare(records)
    assert isinstance(work, Work)
    assert len(list(work.open(()).make(work.plan.wanted))) == 6
    assert len(read) == 1
    assert len(asked) == len(set(asked)) == 3 * 2 * 2  # questions of three tasks, without the adapter and with it


def test_the_stages_behind_take_the_lines_of_a_pool(place: Path) -> None:
    for command, count in ((("judge", "-j", "lexical"), 6), (("filter", "--keep", "best:2"), 6)):
        made = run_inside(*command, "scores.jsonl", cwd=place)
        assert (made.code, len(made.lines)) == (0, count), made.err
    (row,) = run_inside("report", "scores.jsonl", "--format", "jsonl", cwd=place).lines
    assert (row["tasks"], row["answers"]) == (3, 12)
    assert next((place / "ad").iterdir()).name not in run_inside("gc", ".", cwd=place).out
    text = (place / "scores.jsonl").read_text()
    (place / "scores.jsonl").write_text(text + text.splitlines(keepends=True)[0])
    assert "scores.jsonl:7: adapter " in run_inside("judge", "-j", "exact", "scores.jsonl", cwd=place).err


# ---- a run that died


def interrupt(place: Path, kept: int) -> None:
    """As if the command had been killed after so many lines, the last of them torn."""
    path, manifest = place / "adapters.jsonl", place / "adapters.jsonl.manifest.json"
    lines = path.read_text().splitlines(keepends=True)
    (place / "adapters.jsonl.part.json").write_text(json.dumps(json.loads(manifest.read_text())["settings"]))
    (place / "adapters.jsonl.part").write_text("".join(lines[:kept]) + lines[kept][:100])
    path.unlink()
    manifest.unlink()


def train_again(place: Path, done: Path) -> Finished:
    made = seal(*TRAIN, cwd=place)
    assert made.code == 0, made.err
    assert_same(contents(place / "ad"), contents(done / "ad"))
    name = "adapters.jsonl"
    assert_same({name: (place / name).read_bytes()}, {name: (done / name).read_bytes()})
    return made


def test_a_pool_whose_adapter_is_whole_is_not_trained_again(place: Path, done: Path) -> None:
    interrupt(place, 2)
    (weights,) = place.glob("ad/*/adapter_model.safetensors")
    before = weights.stat()
    assert "goes on: 2 of 6 lines" in train_again(place, done).err
    assert (weights.stat().st_mtime_ns, weights.stat().st_ino) == (before.st_mtime_ns, before.st_ino)
    assert "is complete already; nothing to do" in train_again(place, done).err


def test_a_pool_whose_adapter_is_gone_or_torn_is_made_again_to_the_same_bytes(place: Path, done: Path) -> None:
    interrupt(place, 2)
    (weights,) = place.glob("ad/*/adapter_model.safetensors")
    weights.write_bytes(weights.read_bytes()[:900])
    assert "goes on" not in train_again(place, done).err


def test_a_pool_with_a_budget_goes_on_with_the_same_sequences(place: Path) -> None:
    command = (*TRAIN, "--max-tokens-budget", "150", "--overwrite")
    made = seal(*command, cwd=place)
    assert made.code == 0, made.err
    whole = contents(place / "ad"), (place / "adapters.jsonl").read_bytes()
    assert 0 < lines_of(place, "adapters.jsonl")[0]["adapter"]["train"]["sequences"] < 12
    interrupt(place, 2)
    again = run_inside(*command[:-1], cwd=place)  # without a worker: nothing is left to be trained
    assert "goes on: 2 of 6 lines" in again.err
    assert (contents(place / "ad"), (place / "adapters.jsonl").read_bytes()) == whole


DEADLY = """
import os, signal
from pathlib import Path
from stages.interfaces import FitResult


class Trainer:
    def __init__(self, model, *, device):
        self.model = model

    def fit(self, jobs, progress):
        for job in jobs:
            progress.begin_work([job.id])
            with open("trained", "a") as file:
                file.write(f"{job.id}\\n")
            if any("Bo is 1" in example.completion for example in job.lesson.examples):
                os.kill(os.getpid(), signal.SIGKILL)
            yield FitResult(job.id, Path(job.out), 1, 10, 1, 2.0, 1.0)
"""


def test_a_pool_that_kills_its_worker_twice_is_rejected_whole_and_the_others_are_trained(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "deadly.py").write_text(DEADLY)
    (tmp_path / "edits.jsonl").write_text(jsonl(edited(*TITLES)))
    way = ("--model", ".", "--trainer", "deadly:Trainer", "--pool-by", "task.title", "--rejects", "bad.jsonl")
    made = seal("adapt", "edits.jsonl", *way, "-o", "adapters.jsonl", cwd=tmp_path)
    assert made.code == 3, made.err
    assert {line["task"]["title"] for line in lines_of(tmp_path, "adapters.jsonl")} == {"Ada", "Cy"}
    assert [json.loads(line["text"])["task"]["title"] for line in lines_of(tmp_path, "bad.jsonl")] == ["Bo", "Bo"]
    trained = (tmp_path / "trained").read_text().split()
    assert sorted(map(trained.count, set(trained))) == [1, 1, 2]


DYING = """
import os, signal
from pathlib import Path
from stages.interfaces import MappedProgress
from stages.trainers.batched.trainer import BatchedLoraTrainer


class Trainer(BatchedLoraTrainer):
    def fit(self, jobs, progress):
        jobs, steps = list(jobs), progress.advance

        def die(amount):
            steps(amount)
            if Path("stop").exists():
                Path("stop").unlink()
                os.kill(os.getppid() if Path("all").exists() else os.getpid(), signal.SIGKILL)
                signal.pause()

        progress.advance = die
        yield from super().fit(jobs, progress)
"""


@pytest.mark.parametrize("victims", ["the worker", "all"])
def test_a_pool_that_was_killed_goes_on_behind_its_last_checkpoint(victims: str, done: Path, tmp_path: Path) -> None:
    for name in ("model", "edits.jsonl"):
        (tmp_path / name).symlink_to((done / name).resolve())
    (tmp_path / "dying.py").write_text(DYING)
    (tmp_path / "stop").touch()
    command = (*TRAIN, "--trainer", "dying:Trainer", "--checkpoint-every", "1")
    died = seal(*command, cwd=tmp_path) if victims == "the worker" else None
    if victims == "all":
        (tmp_path / "all").touch()
        assert seal(*command, cwd=tmp_path).code == -signal.SIGKILL
        died = seal(*command, cwd=tmp_path)
    assert died is not None
    assert died.code == 0, died.err
    assert "goes on behind step 1 of 6" in died.err
    (theirs,), (ours,) = (tmp_path / "ad").iterdir(), (done / "ad").iterdir()  # their trainer's name is in the id
    assert_same(contents(theirs), contents(ours))


# ---- what is refused


REFUSED = {
    "a shard": (edited("Ada"), ["--pool", "--shard", "1/2"], 78, "--shard 1/2: a pool is trained on all of its lines"),
    "a budget of nothing": (
        edited("Ada"),
        ["--pool", "--max-tokens-budget", "0"],
        2,
        "should be greater than or equal to 1",
    ),
    "a flag without a pool": (edited("Ada"), ["--pool-passages", "once"], 78, "--pool-passages once: it is for a pool"),
    "an unknown way": (edited("Ada"), ["--pool", "--pool-passages", "twice"], 2, "'twice' is not one of"),
    "checkpoints of peft": (
        edited("Ada"),
        ["--pool", "--checkpoint-every", "5", "--trainer", "peft"],
        78,
        "--checkpoint-every 5: peft keeps no checkpoints; use --trainer batched",
    ),
    "grids": (
        [Record(task=an_arc_task(), edit=an_arc_edit(an_arc_task(), "{}"))],
        ["--pool"],
        78,
        "--pool: arc self-edits are trained each at the learning rate and for the epochs that its self-edit says, so",
    ),
    "mixed domains": (
        [*edited("Ada"), Record(task=an_arc_task(), edit=an_arc_edit(an_arc_task(), "{}"))],
        ["--pool"],
        65,
        "the lines are of more than one domain, arc and qa",
    ),
    "a key that no line has": (edited("Ada"), ["--pool-by", "meta.topic"], 65, "no text or number at meta.topic"),
    "a pool of nothing": (
        [line.grow(edit=line.edit and line.edit.model_copy(update={"error": "refused"})) for line in edited("Ada")],
        ["--pool"],
        65,
        "a pool of nothing: none of 2 self-edits can be trained on (refused)",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_a_pool_is_refused_and_nothing_is_written(name: str, tmp_path: Path) -> None:
    records, flags, code, told = REFUSED[name]
    (tmp_path / "config.json").write_text("{}")
    way = ("--model", ".", "--trainer", "tests.cli.workers:Pretend", "-o", "adapters.jsonl")
    made = run_inside("adapt", *way, *flags, stdin=jsonl(records), cwd=tmp_path)
    assert (made.code, told in " ".join(made.err.split())) == (code, True), made.err
    assert not (tmp_path / "adapters.jsonl").exists()


def test_a_pool_that_every_shard_would_ask_the_same_is_not_shared_out(place: Path) -> None:
    exam = (*EVAL[:-1], "exam.jsonl", "--on", "edits.jsonl", "--dry-run")
    for part in ("1/3", "3/3"):
        made = run_inside(*exam, "--shard", part, cwd=place)
        assert (made.code, "--on with --shard: lines of other shards share the adapter" in made.err) == (78, True)
    assert run_inside(*exam, "--limit", "1", cwd=place).code == 0


def test_what_a_pool_trains_on_is_shown_and_foretold(place: Path) -> None:
    shown = run_inside("adapt", "edits.jsonl", "--pool", "--pool-passages", "once", "--show-data", cwd=place)
    assert [len(line["sequences"]) for line in shown.lines] == [2, 1] * 3
    dry = run_inside(*ADAPT, "--dry-run", cwd=place)
    assert "would train 1 adapters of model, on 12 sequences of 6 self-edits in one pool;" in dry.err
    small = run_inside(*ADAPT, "--dry-run", "--max-tokens-budget", "60", cwd=place)
    assert "note: --max-tokens-budget 60: 10 of 12 sequences are left out, " in small.err
    assert "tasks of which nothing is learned: 2" in small.err


def test_the_self_edits_that_a_filter_keeps_are_pooled(done: Path, tmp_path: Path) -> None:
    kept = seal("filter", str(done / "scores.jsonl"), "--edits", "--keep", "best", "-o", "kept.jsonl", cwd=tmp_path)
    assert (kept.code, "6 self-edits, 3 kept (best)" in kept.err) == (0, True)
    written = (done / "edits.jsonl").read_text().splitlines()
    assert (tmp_path / "kept.jsonl").read_text().splitlines() == [
        json.dumps(json.loads(line), ensure_ascii=False) for line in written[::2]
    ]
    shown = seal("adapt", "kept.jsonl", "--pool", "--show-data", cwd=tmp_path)
    assert [line["edit_id"] for line in map(json.loads, shown.out.splitlines())]
    again = seal("filter", str(done / "scores.jsonl"), "--keep", "best", "-o", "kept.jsonl", cwd=tmp_path)
    assert (again.code, "form was 'edits'" in again.err) == (73, True)
    both = seal("filter", str(done / "scores.jsonl"), "--edits", "--pairs", cwd=tmp_path)
    assert (both.code, "--edits --pairs: each wants all lines in a form of its own" in both.err) == (78, True)
