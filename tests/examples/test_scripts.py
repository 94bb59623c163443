"""The example scripts and the Makefile's rounds, run as a reader would run them, at a small size."""

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.conftest import PAPER, ROOT
from tests.forked import forked_seal

SMALL = {"CONTEXTS": "2", "K": "2", "SEEDS": "1", "SEED": "3"}
QUICK = {  # instead of the tiny recipe: what is learned does not matter here
    "GENERATE": "--max-tokens 24 --top-p 1",
    "ADAPT": "--rank 4 --learning-rate 6e-3 --epochs 1",
    "SFT": "--rank 4 --learning-rate 2e-3 --epochs 1 --batch-size 8 --micro-batch 8",
    "EVAL": "--judge exact",
}
HELD_OUT = (ROOT / "examples/tiny/heldout.jsonl").read_text(encoding="utf-8").splitlines(keepends=True)[:2]


def run(command: list[str], **variables: str) -> subprocess.CompletedProcess[str]:
    """The command in the project's folder, one thread, no hub. Fails with its stderr."""
    inherited = {key: value for key, value in os.environ.items() if not key.startswith("MAKE")}
    environment = {**inherited, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "COLUMNS": "200", **variables}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done


def make_round(folder: Path, *targets: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """`make round`, or what else is named, with a run folder of its own."""
    held_out = folder / "heldout.jsonl"
    if not held_out.exists():
        held_out.write_text("".join(HELD_OUT), encoding="utf-8")
    chosen = {**SMALL, **QUICK, "HELDOUT": str(held_out), "HELD_K": "1", **variables}
    settings = [f"{name}={value}" for name, value in chosen.items()]
    fixed = [f"RUN={folder}", f"SEAL={forked_seal()}", "INSTALLED="]
    return run(["make", "--no-print-directory", *(targets or ["round"]), *fixed, *settings])


def lines(path: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def invented_squad(path: Path) -> Path:
    """Two paragraphs in SQuAD's own layout."""
    qas = [{"id": "q", "question": "What is red?", "answers": [{"text": "the door", "answer_start": 0}]}]
    paragraphs = [{"context": f"The door of house {n} is red.", "qas": qas} for n in (1, 2)]
    path.write_text(json.dumps({"data": [{"title": "Houses", "paragraphs": paragraphs}]}), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def rounds(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two rounds on the tiny world, made from the second."""
    folder = tmp_path_factory.mktemp("rounds")
    make_round(folder, ROUND="2")
    return folder


def test_round_two_makes_round_one_first_and_starts_from_its_model(rounds: Path) -> None:
    for number in (1, 2):
        folder = rounds / f"round-{number}"
        sizes = {name: len(lines(folder / f"{name}.jsonl")) for name in ("tasks", "edits", "adapters", "scores", "sft")}
        assert sizes == {"tasks": 2, "edits": 4, "adapters": 4, "scores": 4, "sft": 2}
        assert (folder / "model" / "model.safetensors").is_file()
    assert {edit["edit"]["model"] for edit in lines(rounds / "round-2/edits.jsonl")} == {str(rounds / "round-1/model")}  # type: ignore[index]


def test_rounds_share_no_task(rounds: Path) -> None:
    first, second = ({line["task"]["id"] for line in lines(rounds / f"round-{n}/tasks.jsonl")} for n in (1, 2))  # type: ignore[index]
    assert not first & second


@pytest.mark.parametrize("row", ["", "none", "passage", "round-1", "file", "server"])
def test_a_round_on_a_cluster_spreads_the_stages_that_have_workers(row: str, tmp_path: Path) -> None:
    seal, calls = tmp_path / "seal", tmp_path / "calls"
    seal.write_text(f'#!/bin/sh\necho "$@" >> {calls}\n')
    seal.chmod(0o755)
    (tmp_path / "heldout").mkdir()
    (tmp_path / "heldout/tasks.jsonl").touch()
    given = {"EDITS": "edits.jsonl", "SERVER": "--engine openai"}
    cluster = {**given, "RAY": "auto --gpus-per-worker 1", "SEAL": str(seal), "RUN": str(tmp_path)}
    run(["examples/round.sh", *(("row", row) if row else ())], **cluster)
    spread = {call.split()[0]: "--ray auto --gpus-per-worker 1" in call for call in calls.read_text().splitlines()}
    assert spread
    assert {stage for stage, is_spread in spread.items() if is_spread} == spread.keys() - {"tasks", "filter", "sft"} - (
        {"generate"} if row in ("passage", "server") else set()
    )


def times(folder: Path) -> dict[str, int]:
    """When each file of lines was written."""
    return {str(file.relative_to(folder)): file.stat().st_mtime_ns for file in sorted(folder.glob("round-*/*.jsonl"))}


def made_anew(folder: Path, **variables: str) -> tuple[set[str], str]:
    """The files of lines that another `make round` writes, and what it says on stderr."""
    before = times(folder)
    said = make_round(folder, **variables).stderr
    return {name for name, time in times(folder).items() if time != before.get(name)}, said


@pytest.fixture
def moved(rounds: Path, tmp_path: Path) -> Path:
    """The first round, in another place, whose name has a blank."""
    shutil.copytree(rounds / "round-1", tmp_path / "a copy" / "round-1")
    return tmp_path / "a copy"


def test_a_finished_round_is_left_alone_but_for_what_is_missing(moved: Path) -> None:
    (moved / "round-1" / "sft.jsonl").unlink()
    assert made_anew(moved)[0] == {"round-1/sft.jsonl"}


def test_a_run_that_has_moved_follows_new_flags_and_keeps_what_somebody_made(moved: Path) -> None:
    changed, said = made_anew(moved, FILTER="--keep gain")
    assert {"round-1/sft.jsonl"} <= changed <= {"round-1/sft.jsonl", "round-1/model.jsonl"}
    assert "sft.jsonl: made with other settings: keep was 'best' and is 'gain' now" in said
    edits = moved / "round-1" / "edits.jsonl"
    edits.write_text("".join(edits.read_text(encoding="utf-8").splitlines(keepends=True)[:2]), encoding="utf-8")
    mine = edits.read_bytes()
    changed, said = made_anew(moved, FILTER="--keep gain", GENERATE="--max-tokens 24 --top-p 0.5")
    assert "edits.jsonl: is not of this script, so it is kept; remove it to have it made" in said
    assert (edits.read_bytes(), len(lines(moved / "round-1/scores.jsonl"))) == (mine, 2)


def test_a_file_of_a_command_that_somebody_typed_is_kept(moved: Path) -> None:
    scores, sft = (str(moved / "round-1" / name) for name in ("scores.jsonl", "sft.jsonl"))
    Path(sft).unlink()
    run([str(forked_seal()), "filter", scores, "--keep", "best:2", "-o", sft])
    changed, said = made_anew(moved)
    assert "round-1/sft.jsonl: is not of this script" in said
    assert changed == {"round-1/model.jsonl"}


FAKE = 'for last; do :; done; mkdir -p "$(dirname "$last")"; echo a line > "$last"; [ $1 != adapt ] || exit '


@pytest.mark.parametrize(("code", "goes_on"), [(3, True), (70, False)])
def test_a_round_goes_on_behind_some_failed_records_and_ends_at_an_error(
    tmp_path: Path, code: int, goes_on: bool
) -> None:
    fake = tmp_path / "seal"
    fake.write_text(f"#!/bin/sh\n{FAKE} {code}\n", encoding="utf-8")
    fake.chmod(0o755)
    done = subprocess.run(
        ["examples/round.sh"], cwd=ROOT, env={**os.environ, "SEAL": str(fake), "RUN": str(tmp_path)}, check=False
    )
    assert (done.returncode == 0, (tmp_path / "round-1/model.jsonl").exists()) == (goes_on, goes_on)


def test_the_tiny_recipe_is_for_the_tiny_model_alone_and_the_same_everywhere(tmp_path: Path) -> None:
    recipe = "--rank 8 --alpha 16 --target all-linear --learning-rate 6e-3 --schedule constant --epochs 4"
    for name in ("examples/round.sh", "README.md", "examples/tiny/loop.sh", "seal_cli/app.py"):
        text = " ".join((ROOT / name).read_text(encoding="utf-8").replace("\\\n", " ").split())
        assert recipe in text, name
    fake = tmp_path / "seal"
    fake.write_text('#!/bin/sh\necho "$@"\n', encoding="utf-8")
    fake.chmod(0o755)
    for model, has_recipe in (("examples/tiny/model", True), ("owner/name", False)):
        done = run(["examples/round.sh"], SEAL=str(fake), RUN=str(tmp_path / "run"), MODEL=model)
        assert (recipe in done.stdout) == has_recipe


def test_the_ladder_measures_every_round_on_held_out_tasks(rounds: Path) -> None:
    make_round(rounds, "--jobs=2", "ladder", ROUNDS="2")
    assert (rounds / "ladder.png").read_bytes().startswith(b"\x89PNG")
    for row in ("none", "passage", "self", "round-1", "round-2"):
        assert [line["score"]["judge"] for line in lines(rounds / f"heldout/{row}.jsonl")] == ["exact"] * 2  # type: ignore[index]


def paper(name: str, folder: Path, **variables: str) -> dict[str, list[str]]:
    """What a script of the paper's prints: the published number, ours and more, by row."""
    where = {"RUN": str(folder), "HELDOUT": str(folder / "heldout.jsonl"), "TASKS": "examples/tiny/train.jsonl"}
    tiny = {**SMALL, **QUICK, "HELD_K": "1", "MODEL": "examples/tiny/model", "SEAL": str(forked_seal())}
    printed = run([f"examples/paper/{name}.sh"], **{**tiny, **where, **variables}).stdout
    return {cells[0]: cells[1:] for line in printed.splitlines() if (cells := line.split())}


def test_table_2_is_made_of_a_run_and_printed_beside_the_papers(rounds: Path) -> None:
    rows = paper("table-2", rounds)
    assert [rows[name][0] for name in ("none", "passage", "self", "round-2")] == ["32.7", "33.5", "39.7", "47.0"]
    for name, file in (("none", "none"), ("self", "self"), ("round-2", "round-2")):
        values = [line["score"]["value"] for line in lines(rounds / f"heldout/{file}.jsonl")]  # type: ignore[index]
        assert float(rows[name][1]) == pytest.approx(50 * sum(values), abs=0.06)  # per cent, of two passages
    assert rows["gpt-4.1"][:2] == ["46.3", "tasks"]  # which this run has not made
    assert (rounds / "heldout/passage.jsonl").is_file()


def test_figure_4_and_a_template_of_the_prompts_share_that_run(rounds: Path, tmp_path: Path) -> None:
    before = times(rounds)
    figure = paper("rounds", rounds)
    (tmp_path / "implications").symlink_to(rounds)
    table = paper("prompts", tmp_path, TEMPLATES="implications", HELDOUT=str(rounds / "heldout.jsonl"))
    assert times(rounds) == before
    ours = [figure[name][:2] for name in ("self", "round-1", "round-2")]
    assert [row[0] for row in ours] == ["39.7", "43.7", "47.0"]
    assert [table[f"implications-{number}"][:2] for number in range(3)] == ours
    assert table["self-qa-2"][:2] == ["48.7", "tasks"]


@pytest.mark.parametrize(("name", "published"), [("cpt-lora", "43.8"), ("cpt-full", "58.2")])
def test_one_training_for_all_passages_is_printed_beside_the_papers(rounds: Path, name: str, published: str) -> None:
    rate = "--learning-rate 1e-3" if name == "cpt-full" else "--rank 8 --alpha 16"
    table = paper(name, rounds, POOL=rate)
    assert [table[row][0] for row in ("none", "round-2")] == ["32.7", published]
    adapters = {row: lines(rounds / name / row / "adapters.jsonl") for row in ("passage", "self", "round-2")}
    for row, made in adapters.items():
        assert len(made) == len({line["task"]["id"] for line in made}) == 2  # type: ignore[index]
        assert len({line["adapter"]["id"] for line in made}) == 1  # type: ignore[index]
        assert 0 <= float(table[row][1]) <= 100
    fit = adapters["self"][0]["adapter"]["fit"]  # type: ignore[index]
    pool = {"passages": "each" if name == "cpt-lora" else "once", "edits": 2}
    assert (fit.get("method", "lora"), fit["pool"]) == (name.removeprefix("cpt-"), pool)
    assert table["gpt-4.1"][1] == "questions"  # which this run has not made


def test_the_proxy_reward_trains_a_model_on_what_a_rater_liked(rounds: Path) -> None:
    rows = paper("proxy", rounds, RATE="--program examples/paper/rate.py")
    scores = [line["score"] for line in lines(rounds / "round-proxy/scores.jsonl")]
    assert len({score["value"] for score in scores}) > 1  # type: ignore[index]
    assert all(score["rating"]["text"].startswith("length ") for score in scores)  # type: ignore[index]
    best = {max(score["value"] for score in scores[at : at + 2]) for at in (0, 2)}  # type: ignore[index]
    assert {line["value"] for line in lines(rounds / "round-proxy/sft.jsonl")} == best
    assert (rows["proxy"][0], 0 <= float(rows["proxy"][1]) <= 100) == ("45.6", True)


def test_the_rubric_without_a_model_likes_what_the_paper_does() -> None:
    passage = {"title": "Velm", "context": "Velm is a town. A bridge was built in Velm."}
    texts = {
        "good": "Velm is a town.\nVelm has a bridge.\nIn Velm a bridge was built.",
        "short": "Velm is a town.",
        "repeated": "Velm is a town.\nVelm is a town.\nVelm is a town.",
        "nameless": "It is a town.\nThere is a bridge.\nA bridge was built.",
        "wrong": "Velm sells purple camels.\nVelm drinks salty lemonade.\nVelm dislikes every Tuesday.",
        "nothing": "...",
    }
    asked = "".join(json.dumps({"id": name, **passage, "completion": text}) + "\n" for name, text in texts.items())
    done = subprocess.run(
        [ROOT / "examples/paper/rate.py"], input=asked, capture_output=True, text=True, check=True
    ).stdout
    values = {line["id"]: line["value"] for line in map(json.loads, done.splitlines())}
    assert values["nothing"] == 0
    assert all(0 < values[name] < values["good"] <= 1 for name in ("short", "repeated", "nameless", "wrong"))


def test_a_continual_run_starts_from_the_second_round_and_is_printed_beside_the_papers(rounds: Path) -> None:
    rows = paper("continual", rounds, SEQUENCES="1", STEPS="2")
    assert [rows[f"step-{step}"][0] for step in (0, 1, 2, 8)] == ["30.8", "38.2", "43.1", "24.7"]
    steps, matrix = (lines(rounds / f"sequence-0/{name}.jsonl") for name in ("steps", "matrix"))
    assert {line["adapter"]["model"] for line in steps} == {str(rounds / "round-2/model")}  # type: ignore[index]
    last = [line["score"]["value"] for line in matrix if line["adapter"]["step"]["number"] == 1]  # type: ignore[index]
    assert float(rows["step-2"][1]) == pytest.approx(50 * sum(last), abs=0.06)  # per cent, of two passages
    assert (rows["forgetting"][0], rows["step-8"][1:2]) == ("19.1", ["tasks"])
    assert (rounds / "continual.png").is_file()


def test_the_papers_texts_of_gpt_4_1_teach_the_student(rounds: Path, tmp_path: Path) -> None:
    entries = []
    for task in (json.loads(line)["task"] for line in HELD_OUT):
        asked = [{"question": each["question"], "answer": each["answer"]} for each in task["questions"]]
        text = {"title": task["title"], "context": task["context"], "completions": [task["context"]]}
        entries.append({**text, "questions": asked, "prompt": "Write."})
    entries.append({**entries[0], "title": "Elsewhere", "context": "Not held out."})
    (tmp_path / "gpt4_1_val.json").write_text(json.dumps(entries))
    (tmp_path / "gpt4_1_val.meta").write_text('{"model": "Qwen/Qwen2.5-7B"}')
    rows = paper("gpt-4.1", rounds, EDITS=str(tmp_path / "gpt4_1_val.json"))
    assert (rows["gpt-4.1"][0], 0 <= float(rows["gpt-4.1"][1]) <= 100) == ("46.3", True)
    assert {line["edit"]["model"] for line in lines(rounds / "heldout/file.jsonl")} == {"gpt-4.1"}  # type: ignore[index]
    assert len(lines(rounds / "heldout/file.jsonl")) == 2  # of the held-out tasks alone


def test_a_script_of_the_papers_says_what_it_lacks() -> None:
    for name, words in (("table-2", "HELDOUT: give the validation passages"), ("table-1", "HELDOUT: give the file")):
        inherited = {key: value for key, value in os.environ.items() if key not in ("HELDOUT", "TASKS")}
        script = [f"examples/paper/{name}.sh"]
        done = subprocess.run(script, cwd=ROOT, env=inherited, capture_output=True, text=True, check=False)
        assert (done.returncode != 0, words in done.stderr) == (True, True)


def test_the_loop_as_a_pipe_gives_the_next_model(tmp_path: Path) -> None:
    done = run(["examples/tiny/loop.sh"], RUN=str(tmp_path), CONTEXTS="1", K="1", SEAL=str(forked_seal()))
    assert json.loads(done.stdout)["model"] == str(tmp_path / "model")
    assert (tmp_path / "model" / "config.json").is_file()
    assert len(lines(tmp_path / "sft.jsonl")) == 1


def test_templates_are_compared_at_equal_tokens(tmp_path: Path) -> None:
    small = {"HELD": "1", "TOKENS": "30", "SEEDS": "1", "EPOCHS": "1"}
    done = run(["examples/tiny/templates.sh", "rewrite", "mix"], RUN=str(tmp_path), SEAL=str(forked_seal()), **small)
    rows = [line.split() for line in done.stdout.splitlines()]
    assert [row[0] for row in rows if row and row[0] in ("rewrite", "mix")] == ["rewrite", "mix"]
    for name in ("rewrite", "mix"):
        edits = lines(tmp_path / f"{name}-edits.jsonl")
        assert sum(line["edit"]["tokens"] for line in edits) >= 30  # type: ignore[index]
        assert len({line["adapter"]["path"] for line in lines(tmp_path / f"{name}-adapters.jsonl")}) == 1  # type: ignore[index]


def test_a_squad_round_runs(tmp_path: Path) -> None:
    real = PAPER / "squad_val.json"
    source = real if real.is_file() else invented_squad(tmp_path / "squad.json")
    run(
        ["examples/squad/round.sh"],
        **{**SMALL, **QUICK, "CONTEXTS": "1", "K": "1"},
        RUN=str(tmp_path),
        MODEL="examples/tiny/model",
        TASKS=str(source),
        SEAL=str(forked_seal()),
    )
    assert len(lines(tmp_path / "round-1" / "scores.jsonl")) == 1
