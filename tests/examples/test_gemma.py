"""`make demo-real`, run as a reader would, on the tiny model and passages of its world, and as commands alone."""

import hashlib
import json
import os
import re
import subprocess
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from examples.gemma.costs import COLUMNS, GAINS, list_files_of, total_row
from examples.gemma.show import format_sample, list_samples
from examples.gemma.tokens import count_tokens
from stages.records.parser import read_records
from stages.records.record import Record
from stages.reporting.cards.cost import list_costs
from tests.conftest import ROOT
from tests.examples.test_scripts import QUICK, lines, run
from tests.forked import forked_seal

SMALL = {**QUICK, "HELD": "2", "TRAIN": "1", "TUNE": "1", "K": "2", "MODEL": "examples/tiny/model"}
SMALL |= {"ADAPT": QUICK["ADAPT"].replace("--epochs 1", "--epochs 2")}  # so that an epoch more is less than a self-edit
ROWS = "none passage cloze qwen taught-again taught-passage round-1 passage-equal"


def official(path: Path, source: str, most: int) -> Path:
    """Passages of the tiny world as in the paper's files, each with two self-edits."""
    entries = []
    for line in (ROOT / source).read_text(encoding="utf-8").splitlines()[:most]:
        task = json.loads(line)["task"]
        asked = [{"question": each["question"], "answer": each["answer"]} for each in task["questions"][:2]]
        texts = [f"{task['context']} {number}" for number in (1, 2)]
        told = {"title": task["title"], "context": task["context"], "questions": asked}
        entries.append({**told, "completions": texts, "prompt": "Write."})
    path.write_text(json.dumps(entries), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All parts of the script, at a small size."""
    folder = tmp_path_factory.mktemp("real")
    official(folder / "base_val.json", "examples/tiny/heldout.jsonl", 3)
    official(folder / "iter0_train.json", "examples/tiny/train.jsonl", 2)
    where = {"RUN": str(folder / "run"), "SEAL_DATA": str(folder), "SEAL": str(forked_seal()), "ROWS": ROWS}
    done = run(["examples/gemma/run.sh"], **SMALL, **where)
    (folder / "stdout").write_text(done.stdout, encoding="utf-8")
    return folder


def read(path: Path) -> list[Record]:
    return list(read_records(path.read_bytes().splitlines(), str(path)))


def test_rows_answer_the_same_questions_and_no_passage_of_the_round_is_held_out(made: Path) -> None:
    held = [line["task"] for line in lines(made / "run/held.jsonl")]
    for name in ROWS.split():
        assert [line["task"] for line in lines(made / f"run/rows/{name}.jsonl")] == held
    assert {line["edit"]["sample"] for line in lines(made / "run/rows/qwen.jsonl")} == {0}  # type: ignore[index]
    searched, learned = (read(made / f"run/{name}.jsonl") for name in ("passages", "round-1/edits"))
    assert len(searched) == 3
    assert not {line.task.id for line in learned} & {line.task.id for line in searched}
    assert {line.adapter.model for line in read(made / "run/rows/round-1.jsonl") if line.adapter} == {
        str(made / "run/round-1/model")
    }


def test_the_control_is_trained_on_as_many_tokens_as_the_round(made: Path) -> None:
    _, epoch, plain = count_tokens(read(made / "run/rows/passage/adapters.jsonl"))
    _, _, more = count_tokens(read(made / "run/rows/passage-equal/adapters.jsonl"))
    _, _, wanted = count_tokens(read(made / "run/rows/round-1/adapters.jsonl"))
    assert plain < more
    assert abs(more - wanted) <= epoch / 2 + 1


def test_the_tables_compare_with_both_baselines_and_say_what_rows_took(made: Path) -> None:
    told, costs = (made / "stdout").read_text(), (made / "run/costs.md").read_text()
    assert ("gain on none" in told, "gain on passage" in told, costs in told) == (True, True, True)
    assert (made / "run/report.html").is_file()
    table = [[cell.strip() for cell in line.strip("|").split("|")] for line in costs.splitlines() if "|" in line]
    assert table[0] == [*COLUMNS, *GAINS]
    rows = {row[0]: row for row in table[2:]}
    assert list(rows) == [name.replace("round-1", "round 1") for name in ROWS.split()]
    trained = [line.adapter for line in read(made / "run/rows/qwen.jsonl") if line.adapter and line.adapter.train]
    mean = sum(each.train.tokens * each.fit["epochs"] for each in trained if each.train) / len(trained)
    assert rows["qwen"][2:5] == ["2", "0", f"{mean:.0f}"]
    assert (rows["none"][2:7], rows["none"][-2:]) == ([""] * 5, ["", ""])
    for model in ("round-1", "taught", "taught-again"):
        assert f"The model {model} itself took" in costs


def test_a_stage_that_went_on_behind_an_earlier_try_has_no_seconds(made: Path) -> None:
    files = list_files_of(list_costs(made / "run"), "qwen")
    whole = total_row("qwen", read(made / "run/rows/qwen.jsonl"), files)
    assert {"adapt", "eval"} <= whole.seconds.keys() and whole.list_cells(0.0)[-1]
    manifest = made / "run/rows/qwen/adapters.jsonl.manifest.json"
    told = json.loads(manifest.read_bytes())
    told["actual"]["lines_before"] = 1
    try:
        kept = manifest.read_bytes()
        manifest.write_text(json.dumps(told))
        found = total_row("qwen", [], list_files_of(list_costs(made / "run"), "qwen"))
    finally:
        manifest.write_bytes(kept)
    assert (found.seconds.keys(), found.continued) == (whole.seconds.keys() - {"adapt"}, {"adapt"})
    assert replace(whole, seconds=found.seconds, continued=found.continued).list_cells(0.0)[-1] == ""


def test_self_edits_are_shown_with_the_answers_before_and_after(made: Path) -> None:
    page = (made / "run/self-edits.md").read_text()
    files = [read(made / f"run/rows/{name}.jsonl") for name in ("cloze", "taught-again", "qwen", "round-1")]
    assert page.count("\n## ") + page.startswith("## ") == sum(map(len, files))
    line = list_samples(files, 2)[1]
    assert line == files[1][0]
    assert line.score
    text = "\n".join(format_sample(line, 2, 1))
    assert text.count("\n| ") == 1 + len(line.score.answers)
    assert text in page


def commands(tmp_path: Path, *parts: str, **variables: str) -> tuple[list[str], subprocess.CompletedProcess[str]]:
    """What the script asks of seal, with a seal that only writes its file."""
    seal, calls = tmp_path / "seal", tmp_path / "calls"
    write = 'for last; do :; done; case $1 in report) exit;; esac; mkdir -p "$(dirname "$last")"; echo a line > "$last"'
    seal.write_text(f'#!/bin/sh\nprintf "%s\\n" "$*" >> {calls}\n{write}\n')
    seal.chmod(0o755)
    python = tmp_path / "python"
    python.write_text("#!/bin/sh\necho 120 50 500\n")
    python.chmod(0o755)
    where = {"SEAL": str(seal), "PYTHON": str(python), "RUN": str(tmp_path / "run"), "SEAL_DATA": str(tmp_path)}
    environment: Mapping[str, str] = {**os.environ, "MODEL": "examples/tiny/model", **where, **variables}
    script = ["examples/gemma/run.sh", *parts]
    done = subprocess.run(script, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    return calls.read_text().splitlines() if calls.exists() else [], done


def test_without_the_papers_files_the_passages_are_squads_and_rows_without_texts_are_left_out(tmp_path: Path) -> None:
    called, done = commands(tmp_path, BEST="rewrite", GPT=str(tmp_path / "none.json"))
    assert done.returncode == 0, done.stderr
    assert [call.split(" --seed")[0] for call in called if "rajpurkar/squad" in call] == [
        "tasks rajpurkar/squad --split validation --sample 200",
        "tasks rajpurkar/squad --sample 100",
    ]
    assert ("qwen: left out" in done.stderr, "gpt-4.1: left out; GPT=FILE" in done.stderr) == (True, True)
    rows = {found[1]: call for call in called if (found := re.search(r"^eval.*rows/([a-z0-9-]+)\.jsonl$", call))}
    others = {"self", "self-best", "cloze", "mix", "rag", "in-context", "round-1", "passage-equal"}
    assert set(rows) == {"none", "passage", *others}
    assert all(r"--max-tokens 32 --stop \n " in call for call in called if call.startswith("eval"))
    (mixed,) = [call for call in called if "mix:" in call]
    assert "--budget-tokens 120" in mixed
    (more,) = [call for call in called if call.startswith("adapt") and "rows/passage-equal/" in call]
    assert "--epochs 10 " in more
    (generated,) = [call for call in called if call.startswith("generate") and "rows/self-best/" in call]
    assert "--template rewrite" in generated


def test_the_round_on_questions_is_rewarded_by_the_exact_judge_and_made_by_the_model_that_learned_to_ask(
    tmp_path: Path,
) -> None:
    called, done = commands(tmp_path, ROWS="taught-again")
    assert done.returncode == 0, done.stderr
    taught, again = (str(tmp_path / f"run/{name}/model") for name in ("taught", "taught-again"))
    scored, answered = (call for call in called if call.startswith("eval"))
    assert ("--judge exact" in scored, "--judge" in answered) == (True, False)
    asks = [call.split(" --model ")[1].split()[0] for call in called if call.startswith("generate")]
    assert asks == [taught, again]
    adapts = [call for call in called if call.startswith("adapt")]
    assert len(adapts) == 2 and all("--no-split-newlines --epochs 5" in call for call in adapts)


def test_each_rate_number_of_epochs_and_rank_is_tried_on_passages_of_no_row(tmp_path: Path) -> None:
    (tmp_path / "own.gguf").touch()
    model = f"{tmp_path}/run/model-{hashlib.sha256().hexdigest()[:12]}"
    where = {"MODEL": str(tmp_path / "own.gguf"), "RATES": "1e-3 5e-3", "EPOCHS": "3", "RANKS": "8 32"}
    called, done = commands(tmp_path, "tune", TUNED="passage cloze", **where)
    assert done.returncode == 0, done.stderr
    assert called[0] == f"import {tmp_path}/own.gguf --out {model}"
    assert all(f"--model {model} " in call for call in called if call.startswith(("adapt", "eval")))
    tried = [call for call in called if call.startswith("adapt")]
    ways = [
        f"3 --learning-rate {rate} --rank {rank} --alpha {2 * rank}" for rate in ("1e-3", "5e-3") for rank in (8, 32)
    ]
    asked = [call.split("--epochs ")[1].split(" --overwrite")[0] for call in tried]
    assert asked == [*ways, *(f"{way} --no-split-newlines" for way in ways)]
    assert len({call.split()[-1] for call in tried}) == 8
    assert sum("--likelihood answers" in call for call in called) == 8
    (tuning,) = [call for call in called if call.startswith("tasks") and "/tune/tasks.jsonl" in call]
    (training,) = [call for call in called if call.startswith("tasks") and "/train.jsonl" in call]
    assert ("--skip" in tuning, "--skip 6" in training) == (False, True)


def test_a_plan_foresees_every_row_and_makes_no_file_but_its_own(tmp_path: Path) -> None:
    official(tmp_path / "base_val.json", "examples/tiny/heldout.jsonl", 3)
    official(tmp_path / "iter0_train.json", "examples/tiny/train.jsonl", 2)
    where = {"RUN": str(tmp_path / "run"), "SEAL_DATA": str(tmp_path), "SEAL": str(forked_seal()), "PLAN": "1"}
    done = run(["examples/gemma/run.sh"], **{**SMALL, **where, "ROWS": "none cloze taught-again"})
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["plan"]
    told = [json.loads(line) for line in (tmp_path / "run/plan/plan.jsonl").read_text().splitlines()]
    stages = ["eval", "adapt", "eval", "sft", "generate", "adapt", "eval", "sft", "generate", "adapt", "eval"]
    assert [each["stage"] for each in told] == stages
    assert all(each["calibrated"] for each in told)
    assert done.stdout.count("\n") > len(stages)


def test_another_file_is_another_model_and_a_plan_imports_it_where_the_run_does(tmp_path: Path) -> None:
    places = []
    for content, plan in ((b"a", ""), (b"b", ""), (b"b", "1")):
        (tmp_path / "own.gguf").write_bytes(content)
        called, done = commands(tmp_path, "find_model", MODEL=str(tmp_path / "own.gguf"), PLAN=plan)
        assert done.returncode == 0, done.stderr
        places.append([call.split("--out ")[1] for call in called if call.startswith("import")][-1])
    assert places[0] != places[1] == places[2]
    assert {Path(place).parent for place in places} == {tmp_path / "run"}


@pytest.mark.parametrize(
    ("variables", "parts", "words"),
    [
        ({"MODEL": "runs/no-model"}, (), "examples/gemma/get.sh, or name another one: MODEL=DIR"),
        ({}, ("row", "oracle"), "oracle: no such row; there are none passage self"),
        ({"TUNED": "oracle"}, ("tune",), "TUNED: oracle: there are passage, qwen and cloze"),
    ],
)
def test_what_is_lacking_is_said_with_a_way_out(
    variables: dict[str, str], parts: tuple[str, ...], words: str, tmp_path: Path
) -> None:
    _, done = commands(tmp_path, *parts, **variables)
    assert (done.returncode, words in done.stderr) == (2, True)


def test_a_command_that_fails_leaves_the_file_as_it_was_and_ends_the_script(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("whole\n")
    halve = 'halve() { echo half; (exit "$1"); echo; }'  # what fails need not be the last of several commands
    script = f'set -euo pipefail; source examples/ensure.sh; {halve}; put "$0" halve "$1"; echo went on'
    for code, text, said in ((3, "whole\n", ""), (0, "half\n\n", "went on\n")):
        command = ["bash", "-c", script, str(tmp_path / "file"), str(code)]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
        assert (done.returncode, (tmp_path / "file").read_text(), done.stdout) == (code, text, said)
