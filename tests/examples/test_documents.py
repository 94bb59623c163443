"""`make docs` and its curve over ranks, run as a reader would run them, at a small size."""

import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.examples.test_scripts import lines, run
from tests.forked import forked_seal

WORLD = ROOT / "examples/documents/tiny"
SMALL = {  # what is learned does not matter here
    "SEED": "3",
    "K": "2",
    "BUDGET": "60",
    "RANK": "2",
    "KEEP": "best:1",
    "ROWS": "none rag adapter",
    "QUIZ": "--template implications -k 4 --max-tokens 80 --top-p 1 --unchecked",
    "GENERATE": "--max-tokens 32 --top-p 1",
    "TRIAL": "--rank 2 --epochs 1",
    "ADAPT": "--learning-rate 1e-3 --epochs 1 --batch-size 8",
    "GATE": "learned>-101",
}


def make_world(folder: Path) -> Path:
    """Two documents, and a little of what else is known of their world."""
    (folder / "documents").mkdir()
    for name in ("coast.md", "road.md"):
        shutil.copy(WORLD / "documents" / name, folder / "documents")
    for name in ("anchors", "probes", "known"):
        text = (WORLD / f"{name}.jsonl").read_text(encoding="utf-8").splitlines(keepends=True)
        (folder / f"{name}.jsonl").write_text("".join(text[:2]), encoding="utf-8")
    return folder


def make_docs(in_run: Path, world: Path, *targets: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """`make docs`, or what else is named, of this world."""
    own = {name.upper(): str(world / f"{name}.jsonl") for name in ("anchors", "probes")}
    own |= {"DOCS": str(world / "documents"), "REPLAY": f"{world / 'known.jsonl'}:0.1"}
    settings = [f"{name}={value}" for name, value in {**SMALL, **own, **variables}.items()]
    fixed = [f"RUN={in_run}", f"SEAL={forked_seal()}", "INSTALLED="]
    return run(["make", "--no-print-directory", *(targets or ["docs"]), *fixed, *settings])


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A world with its run."""
    folder = make_world(tmp_path_factory.mktemp("world"))
    make_docs(folder / "run", folder)
    return folder


def times(folder: Path) -> dict[str, int]:
    """When each file of lines was written."""
    found = folder.rglob("*.jsonl")
    return {str(file.relative_to(folder)): file.stat().st_mtime_ns for file in sorted(found)}


def test_a_folder_becomes_one_adapter_with_a_card_and_is_released(made: Path) -> None:
    in_run = made / "run"
    titles = [line["task"]["title"] for line in lines(in_run / "tasks.jsonl")]  # type: ignore[index]
    assert titles == ["coast › Darolros", "coast › Droerpol", "road › Selonzil", "road › Falaslith"]
    kept, edits = lines(in_run / "kept.jsonl"), lines(in_run / "edits.jsonl")
    assert [line for line in edits if line in kept] == sorted(kept, key=edits.index)
    assert {line["task"]["id"] for line in kept} == {line["task"]["id"] for line in edits}  # type: ignore[index]
    adapters = lines(in_run / "adapters.jsonl")
    assert len({line["adapter"]["id"] for line in adapters}) == 1  # type: ignore[index]
    assert adapters[0]["adapter"]["fit"]["replayed"] > 0  # type: ignore[index]
    exam = [line["task"] for line in lines(in_run / "exam.jsonl")]
    for name in ("none", "rag", "adapter"):
        assert [line["task"] for line in lines(in_run / f"rows/{name}.jsonl")] == exam
    assert all(line["score"]["retention"] for line in lines(in_run / "rows/adapter.jsonl"))  # type: ignore[index]
    card = json.loads((in_run / "card.json").read_text())
    assert {row["name"] for row in card["rows"]} == {"none", "rag", "adapter"}
    assert (in_run / "current").resolve().name == adapters[0]["adapter"]["id"]  # type: ignore[index]


def test_what_is_finished_is_left_alone_and_what_depends_on_a_flag_is_made_anew(made: Path, tmp_path: Path) -> None:
    before = times(made / "run")
    make_docs(made / "run", made)
    assert times(made / "run") == before
    copy = tmp_path / "a copy"  # it has moved, so its kept.jsonl is of other files, and the same
    shutil.copytree(made / "run", copy, symlinks=True)
    make_docs(copy, made, RANK="3", ROWS="none adapter")
    changed = {name for name, time in times(copy).items() if time != before.get(name)}
    depend = {"adapters.jsonl", "rows/adapter.jsonl", "probes/adapter.jsonl", "versions.jsonl"}
    assert depend <= changed <= {*depend, "kept.jsonl"}


def test_chunks_without_a_question_that_rewards_keep_their_self_edits(made: Path, tmp_path: Path) -> None:
    (tmp_path / "documents").mkdir()
    (tmp_path / "run").mkdir()
    edits = lines(made / "run/edits.jsonl")
    bare = edits[0]["task"]["id"]  # type: ignore[index]
    for line in edits:
        if line["task"]["id"] == bare:  # type: ignore[index]
            line["task"]["questions"] = []  # type: ignore[index]
    text = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in edits)
    (tmp_path / "run/edits.jsonl").write_text(text, encoding="utf-8")
    script = ["examples/documents/run.sh", "kept"]
    run(script, **{**SMALL, "RUN": str(tmp_path / "run"), "SEAL": str(forked_seal())})
    kept = lines(tmp_path / "run/kept.jsonl")
    assert [line for line in kept if line["task"]["id"] == bare] == [  # type: ignore[index]
        line
        for line in edits
        if line["task"]["id"] == bare  # type: ignore[index]
    ]
    assert len({line["task"]["id"] for line in kept}) == 4  # type: ignore[index]


def test_an_exam_of_ones_own_takes_the_place_of_the_models(made: Path, tmp_path: Path) -> None:
    exam = tmp_path / "mine.jsonl"
    asked = {"title": "coast › Darolros", "context": "Mine.", "questions": [{"question": "Who?", "answer": "Ada"}]}
    exam.write_text(json.dumps(asked) + "\n")
    shutil.copytree(made / "run", tmp_path / "run", symlinks=True)
    script = ["examples/documents/run.sh", "quiz"]
    variables = {**SMALL, "DOCS": str(made / "documents"), "EXAM": str(exam), "SEAL": str(forked_seal())}
    run(script, **{**variables, "RUN": str(tmp_path / "run")})
    (line,) = lines(tmp_path / "run/exam.jsonl")
    assert [each["question"] for each in line["task"]["questions"]] == ["Who?"]  # type: ignore[index]


def test_no_question_left_ends_with_3_and_a_way_out(tmp_path: Path) -> None:
    (tmp_path / "exam.jsonl").touch()
    script = ["examples/documents/run.sh", "rows"]
    done = subprocess.run(
        script, cwd=ROOT, env={**os.environ, "RUN": str(tmp_path)}, capture_output=True, text=True, check=False
    )
    assert (done.returncode, "write some (EXAM=FILE)" in done.stderr) == (3, True)


def commands(tmp_path: Path, **variables: str) -> list[str]:
    """What the script asks of seal, all of it, with a seal that only writes its file."""
    seal, calls = tmp_path / "seal", tmp_path / "calls"
    write = 'for last; do :; done; case $1 in card) exit;; esac; mkdir -p "$(dirname "$last")"; echo a line > "$last"'
    seal.write_text(f'#!/bin/sh\necho "$@" >> {calls}\n{write}\n')
    seal.chmod(0o755)
    run(["examples/documents/run.sh"], SEAL=str(seal), RUN=str(tmp_path / "run"), **variables)
    return calls.read_text().splitlines()


def test_every_row_answers_the_same_exam_and_the_tiny_recipe_is_for_the_tiny_model_alone(tmp_path: Path) -> None:
    for model, has_recipe in (("examples/tiny/model", True), ("owner/name", False)):
        (tmp_path / model.replace("/", "-")).mkdir()
        called = commands(tmp_path / model.replace("/", "-"), MODEL=model)
        rows = {found[1]: call for call in called if (found := re.search(r"rows/([a-z-]+)\.jsonl$", call))}
        assert set(rows) == {"none", "passage", "in-context", "rag", "adapter", "adapter-rag"}
        assert all("/exam.jsonl" in call for call in rows.values())
        (trained,) = [call for call in called if call.startswith("adapt") and "kept.jsonl" in call]
        assert ("--schedule cosine" in trained, "--pool" in trained) == (has_recipe, True)


def test_a_cluster_spreads_the_stages_that_have_workers(tmp_path: Path) -> None:
    called = commands(tmp_path, RAY="local --workers 2", MODEL="owner/name")
    spread = {call.split()[0] for call in called if "--ray local --workers 2" in call}
    assert spread == {"generate", "eval"}


def test_the_curve_over_ranks_asks_what_the_model_does_not_know(made: Path, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    copy = tmp_path / "run"
    shutil.copytree(made / "run", copy, symlinks=True)
    told = make_docs(copy, made, "capacity", RANKS="1 2", SEEDS="2")
    assert (copy / "capacity.png").read_bytes().startswith(b"\x89PNG")
    assert "is the smallest within the 95 % interval of the best" in told.stderr
    wrong = {
        (line["task"]["id"], answer["id"])  # type: ignore[index]
        for line in lines(copy / "rows/none.jsonl")
        for answer in line["score"]["answers"]  # type: ignore[index]
        if not answer["correct"]
    }
    for rank in (1, 2):
        scores = lines(copy / f"capacity/rank-{rank}.jsonl")
        assert {(line["task"]["id"], each["id"]) for line in scores for each in line["score"]["answers"]} == wrong  # type: ignore[index]
        assert {line["adapter"]["fit"]["rank"] for line in scores} == {rank}  # type: ignore[index]
        assert len({line["adapter"]["id"] for line in scores}) == 2  # type: ignore[index]
