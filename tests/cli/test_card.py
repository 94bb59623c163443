"""`seal card` in the shell: a run's folder or named files in, a card out, and the gate's exit code."""

import json
import shutil
from pathlib import Path

import pytest

from seal_cli.exit_codes import DONE, INCOMPLETE, USAGE
from stages.fingerprints import fingerprint_folder
from stages.records.record import Record
from stages.records.score import AnchorAnswers, make_retention, make_score
from stages.versions import read_versions, release
from tests.cli.conftest import jsonl, seal
from tests.cli.inside import run_inside
from tests.invented import an_adapter, an_edit, numbered
from tests.stages.test_card import CHUNKS, FACT, NOTHING, SURE, answers
from tests.stages.test_versions import an_adapter as write_adapter

EXAM = [numbered(title, 4) for title in ("Ada", "Bo", "Cy")]
ADAPTER = an_adapter(an_edit(EXAM[0])).model_copy(update={"path": "../adapters/one"})
ANCHOR = numbered("Anchor", 2)
GATE = ("--gate", "learned>10 & lost<2")


def write_rows(run: Path, *, lost: bool = False) -> None:
    """A run: the adapter has learned half of the exam; `lost`: and forgotten half of the anchors."""
    files = fingerprint_folder(write_adapter(run / "adapters/one"))
    kept = answers(ANCHOR, [("x", True), ("z", not lost)], [("x", True), ("y", True)])
    retention = make_retention([AnchorAnswers(task_id=ANCHOR.id, answers=kept)], "exact")
    rows = {"none": [False] * 4, "rag": [True, True, True, False], "adapter": [True, True, False, False]}
    (run / "rows").mkdir(parents=True)
    for name, verdicts in rows.items():
        lines = []
        for task in EXAM:
            said = answers(task, [(SURE, each) for each in verdicts])
            said = tuple(each.model_copy(update={"chunks": CHUNKS if name == "rag" else ()}) for each in said)
            score = make_score(said, model="student", judge="exact")
            if name == "adapter":
                score = score.model_copy(update={"retention": retention, "fingerprint": files})
            lines.append(Record(task=task, adapter=ADAPTER if name == "adapter" else None, score=score))
        (run / f"rows/{name}.jsonl").write_text(jsonl(lines))


def write_probes(run: Path) -> None:
    (run / "probes").mkdir()
    files = fingerprint_folder(run / "adapters/one")
    said = {"none": [("fact", True), ("unanswerable", True)], "adapter": [(SURE, False), ("|<b>Dorn", False)]}
    for name, own in said.items():
        asked = {"adapter": (ADAPTER, files), "none": (None, None)}[name]
        lines = []
        for task, each in zip((FACT, NOTHING), own, strict=True):
            score = make_score(answers(task, [each] * 3), model="student", judge="exact")
            score = score.model_copy(update={"fingerprint": asked[1]})
            lines.append(Record(task=task, adapter=asked[0], score=score))
        (run / f"probes/{name}.jsonl").write_text(jsonl(lines))


@pytest.fixture
def run(tmp_path: Path) -> Path:
    write_rows(tmp_path / "mine")
    return tmp_path / "mine"


def test_a_run_that_passes_its_gate_is_released(run: Path) -> None:
    done = seal("card", "mine", *GATE, cwd=run.parent)
    assert done.code == DONE, done.err
    card = json.loads((run / "card.json").read_text())
    assert card["gate"] == {"expression": GATE[1], "passed": True, "reasons": []}
    assert card["adapter"]["path"] == "adapters/one"
    assert (run / card["adapter"]["path"]).is_dir()
    assert [row["name"] for row in card["rows"]] == ["none", "rag", "adapter"]
    assert (run / "current").resolve() == (run / "adapters/one").resolve()
    (version,) = read_versions(run)
    assert (version.adapter.id, version.gate) == (card["adapter"]["id"], GATE[1])
    before = (run / "card.json").read_bytes(), (run / "card.md").read_bytes()
    assert seal("card", "mine", *GATE, cwd=run.parent).code == DONE
    assert ((run / "card.json").read_bytes(), (run / "card.md").read_bytes()) == before
    assert len(read_versions(run)) == 1


def test_a_gate_that_passes_once_more_does_not_undo_a_rollback_and_says_so(run: Path) -> None:
    write_adapter(run / "adapters/before")
    (run / "old.json").write_text("{}")
    release(run, run / "adapters/before", adapter_id="before", gate="learned>1", card=run / "old.json")
    done = run_inside("card", "mine", *GATE, cwd=run.parent)
    own = read_versions(run)[-1].adapter.id
    assert f"seal card: mine/current is {own}\n" in done.err
    assert run_inside("rollback", "mine", cwd=run.parent).code == DONE
    told = f"current is before; {own} was given up by a rollback, take it again with: seal rollback mine --to {own}\n"
    for rule in (GATE[1], "learned>9"):
        again = run_inside("card", "mine", "--gate", rule, cwd=run.parent)
        assert (again.code, told in again.err) == (DONE, True), again.err
    assert (run / "current").resolve() == (run / "adapters/before").resolve()


def test_a_run_that_does_not_pass_exits_with_3_has_its_card_and_is_not_released(tmp_path: Path) -> None:
    run = tmp_path / "mine"
    write_rows(run, lost=True)
    write_probes(run)
    done = seal("card", "mine", *GATE, cwd=tmp_path)
    assert done.code == INCOMPLETE
    assert "seal card: gate: lost<2 does not hold: lost is 50" in done.err
    assert json.loads((run / "card.json").read_text())["gate"]["passed"] is False
    page = (run / "card.md").read_text()
    assert "Gate `learned>10 & lost<2`: failed: lost<2 does not hold: lost is 50" in page
    assert "| lost | 50.0 % | 1 of 2, 2 asked |" in page
    assert "| invented | 100.0 % | 6 of 6, 6 asked |" in page
    assert "\\|&lt;b&gt;Dorn" in page, "what a model wrote is text"
    assert not (run / "current").is_symlink()


def test_a_row_none_that_was_asked_otherwise_releases_nothing(run: Path) -> None:
    for name, most in (("none", 1), ("adapter", 64)):
        settings = {"sampling": {"max_tokens": most}}
        (run / f"rows/{name}.jsonl.manifest.json").write_text(json.dumps({"settings": settings}))
    done = run_inside("card", "mine", *GATE, cwd=run.parent)
    assert (done.code, "was asked with max_tokens 64, and mine/rows/none.jsonl with 1" in done.err) == (65, True)
    assert not (run / "card.json").exists()
    assert not (run / "current").is_symlink()


def test_a_report_of_rows_that_were_asked_otherwise_says_so(run: Path) -> None:
    rows = [run / f"rows/{name}.jsonl" for name in ("none", "adapter")]
    assert "different ways" not in run_inside("report", *rows, cwd=run).err
    for path, most, more in zip(rows, (1, 64), ({}, {"quantize": "nf4"}), strict=True):
        settings = {"stage": "eval", "weights": "1", "sampling": {"max_tokens": most}, **more}
        Path(f"{path}.manifest.json").write_text(json.dumps({"settings": settings}))
    done = run_inside("report", *rows, cwd=run)
    told = (
        "in different ways: max_tokens 1 (none), max_tokens 64 (adapter); quantize none (none), quantize nf4 (adapter)"
    )
    assert (done.code, told in done.err) == (DONE, True), done.err


@pytest.mark.parametrize(
    ("fault", "told"),
    [
        ("changed", "mine/adapters/one has other files ("),
        ("gone", "mine/adapters/one is not there: no such directory; copy it there, or run `seal adapt` again"),
        ("silent", "mine/rows/adapter.jsonl does not say which files of the adapter answered; rm mine/rows/adapter"),
        ("failed", "does not exist: the training failed"),
    ],
)
def test_an_adapter_that_is_not_known_to_be_the_one_that_answered_is_not_released(
    run: Path, fault: str, told: str
) -> None:
    rows = run / "rows/adapter.jsonl"
    if fault == "changed":
        with (run / "adapters/one/adapter_model.safetensors").open("r+b") as file:
            file.seek(-1, 2)
            file.write(b"!")
    elif fault == "gone":
        shutil.rmtree(run / "adapters/one")
    lines = [json.loads(line) for line in rows.read_text().splitlines()]
    for line in lines:
        if fault == "silent":
            del line["score"]["fingerprint"]
        if fault == "failed":
            line["adapter"] |= {"path": None, "fault": "training", "error": "the training failed"}
    rows.write_text("".join(json.dumps(line) + "\n" for line in lines))
    done = run_inside("card", "mine", *GATE, cwd=run.parent)
    card = json.loads((run / "card.json").read_text())
    assert (done.code, told in done.err, card["gate"]["passed"]) == (INCOMPLETE, True, False), done.err
    assert not (run / "current").is_symlink()
    plain = run_inside("card", "mine", cwd=run.parent)
    assert (plain.code, "seal card: not proven: " in plain.err, told in plain.err) == (DONE, True, True)


def test_what_was_not_measured_fails_the_gate_and_is_told(run: Path) -> None:
    done = seal("card", "mine", "--gate", "invented<5", cwd=run.parent)
    assert done.code == INCOMPLETE
    assert "gate: invented was not measured: no probes were asked" in done.err
    assert "not measured" in done.out


def test_a_rule_that_cannot_be_read_is_bad_configuration_and_writes_nothing(run: Path) -> None:
    for rule, told in (("lerned>1", "nothing is called 'lerned'; there are learned, kept"), ("lost<", "is wanted at")):
        done = seal("card", "mine", "--gate", rule, cwd=run.parent)
        assert done.code == 78
        assert told in done.err
    assert not (run / "card.json").exists()


@pytest.mark.parametrize(
    ("row", "command"),
    [
        ("none", "seal eval mine/exam.jsonl --model DIR -o mine/rows/none.jsonl"),
        ("adapter", "seal eval mine/adapters.jsonl --on mine/exam.jsonl --retain ANCHORS -o mine/rows/adapter.jsonl"),
    ],
)
def test_a_row_that_is_missing_is_named_with_the_command_that_makes_it(run: Path, row: str, command: str) -> None:
    (run / f"rows/{row}.jsonl").unlink()
    done = seal("card", "mine", cwd=run.parent)
    assert done.code == 66
    assert command in done.err
    write_probes(run)
    write_rows(run.parent / "other")
    (run / "probes/none.jsonl").rename(run.parent / "other/probes-none.jsonl")
    probes = ("--probe", "none=probes-none.jsonl")
    assert "probes/adapter" in seal("card", ".", *probes, cwd=run.parent / "other").err


def test_files_take_the_place_of_a_run_and_stdout_is_for_programs(run: Path) -> None:
    files = ("none=rows/none.jsonl", "adapter=rows/adapter.jsonl")
    done = seal("card", *files, "--json", "-o", "out/card.md", cwd=run)
    assert done.code == DONE, done.err
    (card,) = done.lines
    assert card["v"] == 1
    assert card["learned"]["points"] == 50.0
    assert (run / "out/card.md").read_text().startswith("# Card of the adapter ")
    assert not (run / "card.json").exists()
    assert not (run / "current").is_symlink()


def test_files_that_are_no_rows_are_refused(run: Path) -> None:
    for words, code, told in (
        (("rows/none.jsonl",), 66, "rows/none.jsonl: no such folder; give NAME=FILE, or the folder of a run"),
        (("none=rows/none.jsonl", "none=rows/rag.jsonl"), USAGE, "the row none is given twice"),
        ((".", "rows"), USAGE, "rows: a second run"),
        ((".", "-o", "card.txt"), 78, "the file must end in .json or .md"),
        (("none=rows/none.jsonl",), 66, "adapter.jsonl: a card needs this row"),
    ):
        done = seal("card", *words, cwd=run)
        assert (done.code, told in done.err) == (code, True), done.err


def test_an_unscored_answer_is_told_by_the_exit_code_where_no_gate_decides(run: Path) -> None:
    lines = [json.loads(line) for line in (run / "rows/rag.jsonl").read_text().splitlines()]
    for line in lines:
        line["score"]["answers"][0]["correct"] = line["score"]["value"] = line["score"]["bounds"] = None
    (run / "rows/rag.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert seal("card", "mine", cwd=run.parent).code == INCOMPLETE
    shutil.rmtree(run / "adapters/one")
    failed = seal("card", "mine", "--gate", "rag>=50", cwd=run.parent)
    assert (failed.code, failed.err.count("no such directory")) == (INCOMPLETE, 1)


def test_a_card_stands_in_the_page_of_the_report_as_text(run: Path) -> None:
    write_probes(run)
    assert seal("card", "mine", "--gate", "lost>=0", "-o", "card.json", cwd=run.parent).code == DONE
    page = ("--html", "report.html", "--card")
    done = seal("report", "mine/rows/none.jsonl", "mine/rows/rag.jsonl", *page, "card.json", cwd=run.parent)
    assert done.code == DONE, done.err
    text = (run.parent / "report.html").read_text()
    assert "Gate `lost&gt;=0`: passed" in text
    assert "+50.0 points" in text
    assert "|&lt;b&gt;Dorn" in text
    assert "<b>Dorn" not in text


@pytest.mark.parametrize(
    ("flags", "code", "told"),
    [
        (("--card", "mine/card.json"), 78, "it stands in the page; give --html FILE.html, too"),
        (("--html", "a.html", "--card", "none.json"), 66, "--card none.json: no such file; `seal card RUN` writes it"),
        (("--html", "a.html", "--card", "mine/rows/none.jsonl"), 65, "not a card; `seal card RUN` writes"),
        (("--html", "a.html", "--card", "list.json"), 65, "not a card; `seal card RUN` writes"),
    ],
)
def test_what_is_no_card_is_refused_before_anything_is_written(
    run: Path, flags: tuple[str, ...], code: int, told: str
) -> None:
    (run.parent / "list.json").write_text("[1]")
    done = seal("report", "mine/rows/none.jsonl", *flags, cwd=run.parent)
    assert (done.code, done.out, told in done.err) == (code, "", True), done.err
    assert not (run.parent / "a.html").exists()
