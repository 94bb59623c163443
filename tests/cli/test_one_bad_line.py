"""One line that cannot be worked on costs no other: it is left out, told with its place, and kept with --rejects."""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import pytest

from stages.records.frozen import FrozenModel
from stages.records.jsonl import to_json
from stages.records.record import Record
from stages.records.task import QaTask
from tests.cli.inside import run_inside
from tests.invented import a_line, a_score, a_task, an_adapter, an_edit
from tests.invented_grids import a_choice, an_arc_edit, an_arc_task

ENGINE = ["--model", ".", "--engine", "tests.cli.workers:Echo"]
GENERATE = ["generate", *ENGINE, "-k", "1"]
ADAPT = ["adapt", "--model", ".", "--trainer", "tests.cli.workers:Pretend", "--out", "adapters"]
EVAL = ["eval", *ENGINE, "--judge", "exact"]


def task(name: str = "Ada") -> QaTask:
    made = a_task(name)
    assert isinstance(made, QaTask)
    return made


def changed(name: str = "Ada", **update: object) -> QaTask:
    return task(name).model_copy(update=update)


def twins(name: str = "Ada") -> tuple[object, ...]:
    return tuple(question.model_copy(update={"id": "x"}) for question in task(name).questions)


def edited(name: str, completion: str = "A line.", **update: object) -> Record:
    edit = an_edit(task(name), completion=completion).model_copy(update=update)
    return Record(task=task(name), edit=edit)


def adapted(name: str, path: str | None = "adapters/one") -> Record:
    line = edited(name)
    assert line.edit
    return line.grow(adapter=an_adapter(line.edit, path=path))


def scored(name: str, **update: object) -> Record:
    line = a_line(task(name), [True, False])
    assert line.score
    return line.grow(score=line.score.model_copy(update=update))


def puzzle(name: str, **update: object) -> Record:
    return Record(task=an_arc_task(name).model_copy(update=update))


def chosen(name: str, said: str, chose: str) -> Record:
    from stages.domains.arc.domain import Arc

    made = an_arc_task(name)
    edit = an_arc_edit(made, said).model_copy(update={"chosen": Arc().read_choice(chose)})
    return Record(task=made, edit=edit)


TWO = [Record(task=task("Ada")), Record(task=task("Bo"))]
EDITS = [edited("Ada"), edited("Bo")]
ADAPTERS = [adapted("Ada"), adapted("Bo")]
SCORES = [scored("Ada"), scored("Bo")]
PUZZLES = [puzzle("p"), puzzle("q")]
BASIC, SIZE = a_choice("basic"), a_choice("size")
TWO_TESTS = tuple(an_arc_task().test) * 2
UNSAID = a_score(task("Cy"), [True, False]).answers[0].model_copy(update={"prediction": None})


@dataclass(frozen=True)
class Case:
    """A stage, its good lines, a bad one, and what is said of that."""

    command: list[str]
    good: list[Record]
    bad: FrozenModel
    words: str


CASES = {
    "generate-other-task": Case(GENERATE, TWO, Record(task=changed(title="Other")), "two different tasks have the id"),
    "by-hand-other-task": Case(
        ["generate", "-t", "none"], TWO, Record(task=changed(title="Other")), "two different tasks have the id"
    ),
    "adapt-twice": Case(ADAPT, EDITS, EDITS[0], "occurs twice; each line must be another"),
    "adapt-other-task": Case(
        ADAPT, EDITS, edited("Ada", "More.").grow(task=changed(context="?")), "two different tasks have the id"
    ),
    "adapt-unwritten": Case(ADAPT, EDITS, Record(task=task("Cy")), "has a task but no edit (run `seal generate` first"),
    "adapt-contradiction": Case(
        [*ADAPT, "--no-chat"],
        [chosen("p", BASIC, BASIC), chosen("q", SIZE, SIZE)],
        chosen("r", BASIC, SIZE),
        "chosen is not what its completion says",
    ),
    "eval-no-questions": Case(EVAL, TWO, Record(task=changed("Cy", questions=())), "task 'Cy' has no questions"),
    "eval-twin-questions": Case(EVAL, TWO, Record(task=changed("Cy", questions=twins())), "two questions with one id"),
    "eval-no-adapter": Case(EVAL, ADAPTERS, edited("Cy"), "task 'Cy' has an edit but no adapter (run `seal adapt` f"),
    "eval-imported": Case(EVAL, ADAPTERS, adapted("Cy", path=None), "was imported without its weights (run `seal adap"),
    "eval-twice": Case(EVAL, ADAPTERS, ADAPTERS[0], "occurs twice; each line must be another"),
    "eval-task-twice": Case(EVAL, TWO, TWO[0], "occurs twice; each line must be another"),
    "eval-other-task": Case(EVAL, ADAPTERS, Record(task=changed(title="Other")), "two different tasks have the id"),
    "eval-no-test": Case(["eval", *ENGINE], PUZZLES, puzzle("r", test=()), "task r has no test; `seal eval` needs"),
    "eval-test-twice": Case(["eval", *ENGINE], PUZZLES, puzzle("r", test=TWO_TESTS), "two tests with one input"),
    "judge-grids": Case(["judge"], SCORES, puzzle("r").grow(score=scored("Cy").score), "answers itself (grids)"),
    "judge-mean": Case(["judge"], SCORES, scored("Cy", answers=()), "a mean without answers; there is nothing to gr"),
    "judge-strange": Case(["judge"], SCORES, scored("Cy").grow(task=changed("Cy", questions=())), "none of its quest"),
    "judge-twins": Case(
        ["judge"], SCORES, scored("Cy").grow(task=changed("Cy", questions=twins())), "two of its questions have one id"
    ),
    "judge-unsaid": Case(["judge"], SCORES, scored("Cy", value=1.0, answers=(UNSAID,), bounds=None), "never given is"),
    "judge-twice": Case(["judge"], SCORES, SCORES[0], "occurs twice; each line must be another"),
    "filter-twice": Case(["filter"], SCORES, SCORES[0], "scored twice; each line must be another"),
    "filter-no-prompt": Case(["filter"], SCORES, edited("Cy", prompt="").grow(score=SCORES[0].score), "has no prompt"),
    "filter-other-task": Case(
        ["filter"], SCORES, a_line(task("Ada"), [True, True], seed=3).grow(task=changed(context="?")), "have the id"
    ),
    "filter-no-value": Case(["filter"], SCORES, edited("Cy"), "has a task and an edit but no score (run `seal eval`"),
}  # fmt: skip


def text(lines: Iterable[FrozenModel]) -> str:
    return "".join(f"{to_json(line)}\n" for line in lines)


@pytest.fixture
def here(model_dir: Path, tmp_path: Path) -> Path:
    """A folder that is a model, too."""
    for file in model_dir.iterdir():
        (tmp_path / file.name).symlink_to(file)
    return tmp_path


@pytest.mark.parametrize("name", CASES)
def test_a_line_that_cannot_be_worked_on_is_left_out_and_told_and_the_others_are_as_without_it(
    name: str, here: Path
) -> None:
    case = CASES[name]
    first, *rest = case.good
    alone = run_inside(*case.command, stdin=text(case.good), cwd=here)
    assert alone.code == 0, alone.err
    place = 2 if "twice" not in name and "other" not in name else 1 + len(case.good)
    lines = [first, case.bad, *rest] if place == 2 else [*case.good, case.bad]
    mixed = run_inside(*case.command, "--rejects", "bad.jsonl", stdin=text(lines), cwd=here)
    assert (mixed.code, mixed.out) == (3, alone.out), mixed.err
    (kept,) = [json.loads(line) for line in (here / "bad.jsonl").read_text().splitlines()]
    assert (kept["source"], kept["line"], kept["text"]) == ("stdin", place, to_json(case.bad))
    assert case.words in kept["reason"]
    assert f"seal: stdin:{place}: {kept['reason']} (line rejected)\n" in mixed.err
    assert ", 1 rejected, " in mixed.err
    assert "Traceback" not in mixed.err


@pytest.mark.parametrize("name", ["eval-no-questions", "adapt-contradiction", "judge-mean", "filter-no-prompt"])
def test_strict_ends_at_such_a_line_and_nothing_but_such_lines_is_65(name: str, here: Path) -> None:
    case = CASES[name]
    strict = run_inside(*case.command, "--strict", "-o", "out.jsonl", stdin=text([*case.good, case.bad]), cwd=here)
    assert (strict.code, strict.err.count("\n")) == (65, 1)
    assert strict.err.startswith("seal: stdin:3: ")
    only = run_inside(*case.command, "-o", "out.jsonl", stdin=text([case.bad]), cwd=here)
    assert (only.code, only.err.count("\n")) == (65, 1)
    assert case.words in only.err
    few = run_inside(*case.command, "--max-rejects", "0", stdin=text([*case.good, case.bad]), cwd=here)
    assert (few.code, "more than --max-rejects 0" in few.err) == (65, True)
    assert [path.name for path in here.iterdir() if not path.is_symlink()] == []


def test_only_the_shard_of_a_bad_line_rejects_it(here: Path) -> None:
    lines = [*TWO, *(Record(task=task(f"Town {n}")) for n in range(4)), Record(task=changed("Cy", questions=()))]
    ended = [run_inside(*EVAL, "--shard", f"{part}/2", stdin=text(lines), cwd=here) for part in (1, 2)]
    assert sorted(each.code for each in ended) == [0, 3]
    whole = run_inside(*EVAL, stdin=text(lines), cwd=here)
    assert sorted(ended[0].out.splitlines() + ended[1].out.splitlines()) == sorted(whole.out.splitlines())


def test_a_report_leaves_out_a_bad_line_and_says_so(here: Path) -> None:
    (here / "a.jsonl").write_text(text(SCORES))
    (here / "b.jsonl").write_text(text([SCORES[0], edited("Cy"), SCORES[1]]))
    alone = run_inside("report", "self=a.jsonl", "--json", cwd=here)
    mixed = run_inside("report", "self=b.jsonl", "--json", "--rejects", "bad.jsonl", cwd=here)
    assert (mixed.code, mixed.out) == (3, alone.out)
    assert "seal: b.jsonl:2: has a task and an edit but no score (run `seal eval` first) (line rejected)\n" in mixed.err
    assert json.loads((here / "bad.jsonl").read_text())["line"] == 2
    (here / "b.jsonl").write_text(text([*SCORES, SCORES[0]]))
    twice = run_inside("report", "self=b.jsonl", "--json", cwd=here)
    assert (twice.code, twice.out) == (3, alone.out)
    assert f"b.jsonl:{len(SCORES) + 1}: " in twice.err and "occurs twice; each line must be another" in twice.err
    (here / "c.jsonl").write_text(text([edited("Cy"), edited("Di")]))
    for files, more in (("a.jsonl", "b.jsonl"), ("--strict",)), (("a.jsonl", "c.jsonl"), ()):
        refused = run_inside("report", *files, "--json", *more, cwd=here)
        assert (refused.code, refused.out) == (65, "")


def test_a_lost_adapter_among_lines_without_one_is_told_with_its_place_and_ends_nothing(here: Path) -> None:
    lines = text([Record(task=task("Bo")), adapted("Ada", path="./gone")])
    told = run_inside("eval", "--model", ".", "--dry-run", stdin=lines, cwd=here)
    assert (told.code, "would score 2 lines with ." in told.err) == (0, True)
    assert "seal eval: stdin:2: adapter gone: no such directory (run `seal adapt` again" in told.err
    only = run_inside("eval", "--model", ".", "--dry-run", stdin=text([adapted("Ada", path="./gone")]), cwd=here)
    assert (only.code, only.err.splitlines()[-1][:42]) == (66, "seal: adapter gone: no such directory (run")


def test_pairs_beyond_the_models_context_are_left_out_by_name(here: Path) -> None:
    pairs = [json.dumps({"prompt": "Read.", "completion": said}) for said in ("short", "long " * 200, "brief")]
    dry = ("sft", "--model", ".", "--out", "next", "--dry-run", "--rejects", "bad.jsonl")
    told = run_inside(*dry, stdin="\n".join(pairs), cwd=here)
    assert (told.code, "would train . on 2 examples" in told.err) == (3, True), told.err
    assert "seal: stdin:2: a training sequence of 1006 tokens ('long long" in told.err
    assert "is longer than the model's context of 512; shorten it, or take a model with a longer context" in told.err
    assert [json.loads(line)["text"] for line in (here / "bad.jsonl").read_text().splitlines()] == [pairs[1]]
    alone = run_inside(*dry, stdin=pairs[1], cwd=here)
    assert (alone.code, alone.err.startswith("seal: stdin:1: a training sequence of 1006")) == (65, True)


def test_a_chat_alone_is_rejected_where_the_model_has_no_chat_template(here: Path) -> None:
    chat = {"messages": [{"role": "user", "content": "Who?"}, {"role": "assistant", "content": "Ada."}]}
    lines = [json.dumps({"prompt": "Read.", "completion": "short"}), json.dumps(chat)]
    told = run_inside("sft", "--model", ".", "--out", "next", "--dry-run", stdin="\n".join(lines), cwd=here)
    assert (told.code, "would train . on 1 examples" in told.err) == (3, True), told.err
    words = "--model .: has no chat template; give a chat model, or text instead of messages"
    assert f"stdin:2: {words}" in told.err
    alone = run_inside("sft", "--model", ".", "--out", "next", "--dry-run", stdin=lines[1], cwd=here)
    assert (alone.code, alone.err) == (78, f"seal: stdin:1: {words}\n")
