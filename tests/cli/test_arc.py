"""The few-shot loop in the shell, with a random chat model: it solves nothing, but every stage does its work."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.cli.conftest import Finished, pipe, seal
from tests.conftest import make_model
from tests.invented_grids import a_choice

TASKS = {
    "mirror": {
        "train": [{"input": [[1, 2]], "output": [[2, 1]]}, {"input": [[3, 4]], "output": [[4, 3]]}],
        "test": [{"input": [[5, 6]]}, {"input": [[7, 0]]}],
    },
    "turn": {
        "train": [{"input": [[1], [2]], "output": [[2], [1]]}, {"input": [[3], [1]], "output": [[1], [3]]}],
        "test": [{"input": [[5], [6]]}],
    },
}
SOLUTIONS = {"mirror": [[[6, 5]], [[0, 7]]], "turn": [[[6], [5]]]}
SHORT = "--max-tokens 16"
EMPTY = (1,)  # parts of five into which neither task falls


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two tasks with their solutions, and a random chat model in whose context they have room."""
    found = tmp_path_factory.mktemp("arc")
    (found / "my_challenges.json").write_text(json.dumps(TASKS))
    (found / "my_solutions.json").write_text(json.dumps(SOLUTIONS))
    (found / "mine.json").write_text(a_choice("basic", learning_rate=1e-2, epochs=1))
    make_model(found / "model", "llama-chat")
    config = json.loads((found / "model" / "config.json").read_text())
    (found / "model" / "config.json").write_text(json.dumps({**config, "max_position_embeddings": 4096}))
    assert pipe("seal tasks my_challenges.json -o tasks.jsonl", cwd=found).code == 0
    return found


def settings(path: Path) -> dict[str, Any]:
    """What a file was made with, but for the part of the tasks."""
    found = json.loads(path.with_name(f"{path.name}.manifest.json").read_text())["settings"]
    return {key: value for key, value in found.items() if key != "shard"}


def rows(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().split("\n")[:-1]]


@pytest.fixture(scope="module")
def scored(folder: Path) -> Finished:
    """A self-edit by hand, trained on and measured, each stage with its file."""
    return pipe(
        "seal generate tasks.jsonl -t oracle:mine.json -o oracle.jsonl && "
        "seal adapt oracle.jsonl --model model --out adapters --rank 2 -o adapters.jsonl && "
        f"seal eval adapters.jsonl {SHORT} -o scores.jsonl",
        cwd=folder,
    )


def test_a_self_edit_by_hand_is_trained_on_and_measured(folder: Path, scored: Finished) -> None:
    assert scored.code == 0, scored.err
    lines = rows(folder / "scores.jsonl")
    assert [line["task"]["id"] for line in lines] == ["mirror", "turn"]
    for line in lines:
        assert line["edit"]["chosen"]["tools"] == ["basic"]
        fit = line["adapter"]["fit"]
        assert (fit["rank"], fit["alpha"], fit["batch_size"], fit["schedule"], fit["warmup_steps"]) == (
            2,
            16,
            2,
            "cosine",
            11,
        )
        assert (fit["learning_rate"], fit["epochs"]) == (1e-2, 1)
        assert fit["targets"] == ["q_proj", "v_proj", "gate_proj", "up_proj", "down_proj"]
        assert line["adapter"]["train"]["steps"] == -(-line["adapter"]["train"]["sequences"] // 2)
        assert (line["score"]["judge"], line["score"]["value"], line["score"]["baseline"]) == ("grids", 0, 0)
    answers = lines[0]["score"]["answers"]
    assert len(answers) == 2
    variants = [vote["variant"] for vote in answers[0]["votes"]]
    assert variants[:2] == ["identity", "identity"] and len(variants) == 7
    assert all(
        vote["prediction"] is not None and vote["grid"] is None and vote["error"] for vote in answers[0]["votes"]
    )


def test_the_training_tasks_are_shown_as_grids(folder: Path, scored: Finished) -> None:
    shown = pipe("seal adapt oracle.jsonl --show-data", cwd=folder)
    limited = pipe("seal adapt oracle.jsonl --model model --show-data", cwd=folder)
    assert shown.code == limited.code == 0, shown.err
    assert shown.lines == limited.lines
    (first, _) = shown.lines
    assert (first["task_id"], first["error"], first["chosen"]["epochs"]) == ("mirror", None, 1)
    assert len(first["tasks"]) == rows(folder / "adapters.jsonl")[0]["adapter"]["train"]["sequences"]
    assert {"tool", "permuted", "train", "test"} == first["tasks"][0].keys()
    assert {task["tool"] for task in first["tasks"]} >= {"none", "rotate_90"}


def test_a_models_self_edits_are_parsed_counted_and_worth_nothing_where_they_fail(folder: Path) -> None:
    asked = "seal generate tasks.jsonl --model model -k 2 --max-tokens 8 --retry-invalid 1 -o edits.jsonl"
    run = pipe(asked, cwd=folder)
    assert run.code == 0, run.err
    assert "seal generate: 4 self-edits are asked for again" in run.err
    assert "seal generate: 0 of 8 completions can be read (0.0 %)" in run.err
    lines = rows(folder / "edits.jsonl")
    assert all(line["edit"]["error"] == "there is no JSON object in the completion" for line in lines)
    assert lines[0]["edit"]["prompt"][1]["content"].startswith("Input:\n1 2\n\nOutput:\n2 1\n\n")
    again = pipe(asked, cwd=folder)
    assert (again.code, "nothing to do" in again.err) == (0, True)
    assert "4 self-edits worth 0" in again.err
    end = pipe(f"seal adapt edits.jsonl --out adapters | seal eval {SHORT} | seal filter --keep above:0.99", cwd=folder)
    assert (end.code, end.out) == (0, ""), end.err
    assert "4 self-edits worth 0" in end.err


def test_the_in_context_row_asks_once(folder: Path) -> None:
    run = pipe(f"seal eval tasks.jsonl --model model --in-context {SHORT}", cwd=folder)
    assert run.code == 0, run.err
    assert [len(answer["votes"]) for line in run.lines for answer in line["score"]["answers"]] == [1, 1, 1]


def test_unsolved_tests_have_predictions_and_no_verdict(folder: Path) -> None:
    (folder / "unsolved.json").write_text(json.dumps(TASKS))
    run = pipe(f"seal tasks unsolved.json --ids turn | seal eval --model model {SHORT}", cwd=folder)
    assert run.code == 3, run.err
    (line,) = run.lines
    (answer,) = line["score"]["answers"]
    assert (line["score"]["value"], line["score"]["bounds"]) == (None, [0, 1])
    assert (answer["correct"], answer["reason"]) == (None, "no solution is known")


@pytest.fixture(scope="module")
def strange(folder: Path, source: Path, scored: Finished) -> Path:
    """The folder with tasks of the other domain, alone and among the puzzles."""
    inns = seal("tasks", source, "--limit", 1)
    (folder / "inns.jsonl").write_text(inns.out)
    (folder / "inn-edits.jsonl").write_text(seal("generate", "-t", "none", stdin=inns.out).out)
    (folder / "empty.txt").write_text("\n \n")
    (folder / "both.jsonl").write_text(inns.out + (folder / "tasks.jsonl").read_text())
    return folder


REFUSED = """
78 | adapt oracle.jsonl --model model --learning-rate 1e-3 | --learning-rate 0.001: an ARC self-edit chooses it
78 | adapt oracle.jsonl --model model --epochs 3 | --epochs 3: an ARC self-edit chooses it; write one yourself
78 | adapt oracle.jsonl --model model --no-split-newlines | an ARC self-edit has no sequences to split
78 | adapt oracle.jsonl | which model? the lines name none: give --model DIR
78 | eval adapters.jsonl --judge exact | --judge exact: ARC's grids are compared cell by cell; leave it out
78 | generate tasks.jsonl --model model -t implications | --template implications: unknown; the templates of ARC
78 | generate tasks.jsonl --model model --structured | --engine hf cannot; give vllm or openai
65 | judge scores.jsonl | task mirror: its domain grades answers itself (grids); there is nothing to judge
78 | generate inns.jsonl --model model --unique | a self-edit about a passage is text
78 | generate inns.jsonl --model model --retry-invalid 2 | --retry-invalid 2: a self-edit about a passage is text
78 | adapt inn-edits.jsonl --model model --chat | --chat: passages are trained on as text
65 | generate both.jsonl --model model | the lines are of more than one domain, arc and qa; take them apart
78 | tasks my_challenges.json --ids nope | --ids nope: no task has this id
78 | tasks my_challenges.json --ids empty.txt | --ids empty.txt: there is no id in it
78 | tasks my_challenges.json --solutions mine.json | has no solution of mirror or any other task of my_chall
65 | tasks my_solutions.json | ARC's solutions; give the challenges: `seal tasks CHALLENGES.json --solution
78 | generate tasks.jsonl -t oracle -k 3 | -k 3: --template oracle asks no model; leave it out
78 | generate tasks.jsonl -t oracle --unique | --unique: --template oracle asks no model; leave it out
65 | generate tasks.jsonl -t oracle: | --template oracle:.: a folder, not a file
78 | eval adapters.jsonl --no-chat | --no-chat: the adapters were trained on chats; leave it out
"""


@pytest.mark.parametrize(
    "row", [*REFUSED.strip().splitlines(), f"78 | tasks my_challenges.json --ids {'x' * 5000} | : no task has this id"]
)
def test_what_makes_no_sense_is_refused(strange: Path, row: str) -> None:
    code, command, words = row.split(" | ")
    run = pipe(f"seal {command}", cwd=strange)
    assert (run.code, words in run.err) == (int(code), True), run.err


def test_ids_may_stand_in_a_file(folder: Path) -> None:
    (folder / "wanted.txt").write_text("turn\n")
    run = pipe("seal tasks my_challenges.json --ids wanted.txt", cwd=folder)
    assert [line["task"]["id"] for line in run.lines] == ["turn"]


@pytest.mark.parametrize(
    ("command", "whole"),
    [
        ("generate tasks.jsonl -t oracle:mine.json", "oracle"),
        ("generate tasks.jsonl --model model -k 1 --max-tokens 4 --unique --retry-invalid 1", ""),
        ("adapt oracle.jsonl --model model --out adapters --rank 2", "adapters"),
        (f"eval adapters.jsonl {SHORT}", "scores"),
    ],
)
def test_a_shard_without_a_task_is_made_with_the_settings_of_the_others(
    folder: Path, scored: Finished, command: str, whole: str
) -> None:
    """Or the shards could not be merged."""
    runs = [pipe(f"seal {command} --shard {part}/5 -o shard-{part}.jsonl --overwrite", cwd=folder) for part in EMPTY]
    assert [run.code for run in runs] == [0] * len(EMPTY), runs[0].err
    assert [rows(folder / f"shard-{part}.jsonl") for part in EMPTY] == [[]] * len(EMPTY)
    found = settings(folder / f"shard-{EMPTY[0]}.jsonl")
    assert not whole or found == settings(folder / f"{whole}.jsonl")


def test_a_model_trained_on_text_is_asked_in_text(folder: Path, scored: Finished) -> None:
    trained = pipe("seal adapt oracle.jsonl --model model --out adapters --rank 2 --no-chat -o plain.jsonl", cwd=folder)
    assert trained.code == 0, trained.err
    assert {line["adapter"]["fit"]["chat"] for line in rows(folder / "plain.jsonl")} == {False}
    assert {line["adapter"]["fit"]["chat"] for line in rows(folder / "adapters.jsonl")} == {True}
    asked = pipe(f"seal eval plain.jsonl {SHORT} -o plain-scores.jsonl", cwd=folder)
    assert asked.code == 0, asked.err
    settings = json.loads((folder / "plain-scores.jsonl.manifest.json").read_text())["settings"]
    assert settings["chat"] is False
    mixed = pipe(f"cat plain.jsonl adapters.jsonl | seal eval {SHORT}", cwd=folder)
    assert (mixed.code, "some adapters were trained on chats, others on text" in mixed.err) == (78, True)


def test_rows_that_a_model_has_no_room_for_are_left_out_and_told(tmp_path: Path) -> None:
    make_model(tmp_path / "small", "llama-chat")  # a context of 512 bytes
    pairs = [{"input": [[colour] * 7], "output": [[0] * 7]} for colour in (1, 2, 3)]
    (tmp_path / "row.json").write_text(json.dumps({"train": pairs, "test": pairs[:1]}))
    assert pipe("seal tasks row.json | seal generate -t oracle > oracle.jsonl", cwd=tmp_path).code == 0
    shown = [pipe(f"seal adapt oracle.jsonl {way} --show-data", cwd=tmp_path) for way in ("--model small", "")]
    few, every = (len(run.lines[0]["tasks"]) for run in shown)
    assert 0 < few < every
    told = pipe("seal adapt oracle.jsonl --model small --dry-run", cwd=tmp_path)
    assert "training tasks are longer than small's 512 tokens, and left out" in told.err
    assert "would train 1 adapters of small, each at the learning rate and for the epochs that its" in told.err
    none = pipe("seal adapt oracle.jsonl --model small --pad-mode full --pad-to 40 --out a", cwd=tmp_path)
    assert none.code == 3, none.err
    (line,) = none.lines
    assert line["adapter"]["error"] == "no training task of 'row' is short enough for the model"
    assert line["adapter"]["fault"] == "training"


def test_the_seed_draws_among_the_training_tasks_and_larger_steps_are_fewer(folder: Path, scored: Finished) -> None:
    shown = [
        pipe(f"seal adapt oracle.jsonl --show-data --seed {seed}", cwd=folder).lines[0]["tasks"] for seed in (0, 1)
    ]
    assert shown[0] != shown[1]
    (folder / "long.json").write_text(a_choice("basic", "size", "chain", "repeat", epochs=7))
    long = "seal generate tasks.jsonl -t oracle:long.json | seal adapt --show-data"
    assert {line["error"] is None for line in pipe(long, cwd=folder).lines} == {False}
    larger = pipe(f"{long} --batch-size 2 --accumulation 2", cwd=folder).lines
    assert {line["error"] is None for line in larger} == {True}


def test_a_prompt_without_room_leaves_its_own_answer_unscored(folder: Path, tmp_path: Path) -> None:
    make_model(tmp_path / "small", "llama-chat")
    wide = {"train": [{"input": [[1] * 30], "output": [[2] * 30]}] * 9, "test": [{"input": [[1]], "output": [[2]]}]}
    (tmp_path / "both.json").write_text(json.dumps({"wide": wide, "turn": TASKS["turn"]}))
    (tmp_path / "both_solutions.json").write_text(json.dumps(SOLUTIONS))
    run = pipe(
        "seal tasks both.json --solutions both_solutions.json | seal eval --model small --in-context --max-tokens 4",
        cwd=tmp_path,
    )
    assert run.code == 3, run.err
    values = {line["task"]["id"]: line["score"]["value"] for line in run.lines}
    assert values == {"wide": None, "turn": 0}
    reason = next(line for line in run.lines if line["task"]["id"] == "wide")["score"]["answers"][0]["reason"]
    assert reason.endswith("leaves no room in small's context of 512")
