"""A domain of one small file goes through all stages and edits no other, by its path or by a line in the table."""

import json
import shutil
from pathlib import Path

import pytest

from stages import plugins, tasks
from stages.records.jsonl import to_json
from stages.records.parser import RecordParser
from tests.cli.conftest import pipe, seal
from tests.domains import arithmetic

SOURCE = "sevens: 7+1 7+2\neights: 8+1 8+2\n"
NAME = "drills:Arithmetic"
STAGES = (
    f"tasks sums.txt --domain {NAME} -o tasks.jsonl",
    f"generate tasks.jsonl --domain {NAME} --model model -k 2 --temperature 0 --max-tokens 20 -o edits.jsonl",
    f"adapt edits.jsonl --domain {NAME} --rank 1 --target q_proj --epochs 1 -o adapters.jsonl",
    f"eval adapters.jsonl --domain {NAME} --judge exact --max-tokens 4 -o scores.jsonl",
    f"judge scores.jsonl --domain {NAME} -j lexical -o judged.jsonl",
    f"filter judged.jsonl --domain {NAME} -o sft.jsonl",
    "sft sft.jsonl --model model --out next --rank 1 --target q_proj --epochs 1 -o checkpoint.jsonl",
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A user's own folder: the domain in a file, and its source."""
    shutil.copy(arithmetic.__file__, tmp_path / "drills.py")
    (tmp_path / "sums.txt").write_text(SOURCE)
    return tmp_path


def test_a_domain_in_the_working_folder_goes_through_all_stages(folder: Path, model_dir: Path) -> None:
    (folder / "model").symlink_to(model_dir)
    done = pipe(" && ".join(f"seal {stage}" for stage in STAGES), cwd=folder)
    assert done.code == 0, done.err
    lines = [json.loads(line) for line in (folder / "judged.jsonl").read_text().splitlines()]
    assert {line["task"]["domain"] for line in lines} == {NAME}
    assert [line["task"]["sums"] for line in lines[::2]] == [[[7, 1], [7, 2]], [[8, 1], [8, 2]]]
    assert {answer["correct"] for line in lines for answer in line["score"]["answers"]} <= {True, False}
    assert (folder / "next" / "config.json").is_file()
    shown = pipe(f"seal report judged.jsonl --view --domain {NAME}", cwd=folder)
    assert (shown.code, "7+1\n  gold      8\n" in shown.out) == (0, True), shown.err
    assert "training sequences\n  1  7+" in shown.out
    data = pipe(f"seal adapt edits.jsonl --show-data --domain {NAME}", cwd=folder)
    assert data.lines[0]["sequences"][0] in ("7+1=8", "7+2=9")


def test_a_line_in_the_table_gives_it_a_name(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(plugins.DOMAINS, "sums", f"{arithmetic.__name__}:Arithmetic")
    plugins.make_domain.cache_clear()
    (line, _) = tasks.run(str(folder / "sums.txt"), domain="sums")
    assert (line.task.domain, line.task.name) == ("sums", "sevens")
    assert RecordParser().parse(to_json(line)) == line
    plugins.make_domain.cache_clear()


REFUSED = {
    "nowhere:Toy": "--domain nowhere:Toy: No module named 'nowhere'",
    "drills:Sums": "--domain drills:Sums: is no domain, it has no defaults; see Domain in stages/domains/base.py",
    "drills:Other": "--domain drills:Other: drills has no Other; it has ",
    "arc": "--domain arc: grids are known by what their files hold; leave it out",
    "qa": "--domain qa: passages are known by what their files hold; leave it out",
    "toy": "--domain toy: unknown; take one of qa, arc, or package.module:Class",
}


@pytest.mark.parametrize(("name", "words"), REFUSED.items())
def test_what_is_no_domain_is_refused_with_its_name(name: str, words: str, folder: Path) -> None:
    done = seal("tasks", "sums.txt", "--domain", name, cwd=folder)
    assert (done.code, done.out) == (78, ""), done.err
    assert words in done.err


def test_a_later_stage_that_cannot_find_the_domain_says_which(
    folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    lines = seal("tasks", "sums.txt", "--domain", NAME, cwd=folder).out
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    lost = seal("report", "-", "--view", "--domain", NAME, stdin=lines, cwd=elsewhere)
    assert (lost.code, lost.out) == (78, "")
    assert f"--domain {NAME}: No module named 'drills'" in lost.err


@pytest.mark.parametrize("stage", ["generate", "adapt", "eval", "judge", "filter", "report"])
def test_a_line_alone_runs_no_code(stage: str, folder: Path) -> None:
    (folder / "drills.py").write_text("raise SystemExit('ran')")
    line = {"v": 1, "task": {"id": "x", "domain": NAME, "sums": [[7, 1]]}, "edit": {"completion": "e"}}
    done = seal(stage, "-", stdin=json.dumps(line) + "\n", cwd=folder)
    assert (done.code, done.out) == (65, "")
    assert f"the domain {NAME} does not come with seal; give --domain {NAME} to run its code" in done.err
    assert "ran" not in done.err


def test_a_bad_task_of_a_domain_is_a_bad_line(folder: Path) -> None:
    bad = json.dumps({"v": 1, "task": {"id": "x", "domain": NAME, "sums": "7+1"}})
    done = seal("generate", "-", "--domain", NAME, "--model", "model", stdin=f"{bad}\n", cwd=folder)
    assert (done.code, "task: sums: input should be" in done.err) == (65, True), done.err


def test_its_refused_flags_are_told_with_its_reason(folder: Path) -> None:
    lines = seal("tasks", "sums.txt", "--domain", NAME, cwd=folder).out
    done = seal("generate", "-", "--domain", NAME, "--model", "model", "--unique", stdin=lines, cwd=folder)
    assert (done.code, "--unique: any drill may come twice" in done.err) == (78, True), done.err


OF_ITS_OWN = """
from collections.abc import Iterator
from dataclasses import replace

from drills import Arithmetic
from stages.domains.views import Panel, Row
from stages.records.record import Record


class Shown(Arithmetic):
    defaults = replace(Arithmetic.defaults, samples=3, fit=replace(Arithmetic.defaults.fit, rank=5))
    refused_flags = {"adapt": {"--rank": "five is enough"}}

    def make_view(self, line: Record) -> Iterator[Row]:
        yield Row("its sums", "heading")
        yield Row(panels=(Panel("carried", ((7, 1),)), Panel("sum", ((8,),), right=True)))
"""


def test_a_domain_has_its_own_defaults_refused_flags_and_view(folder: Path, model_dir: Path) -> None:
    (folder / "own.py").write_text(OF_ITS_OWN)
    (folder / "model").symlink_to(model_dir)
    name = ("--domain", "own:Shown")
    tasks = seal("tasks", "sums.txt", *name, cwd=folder).out
    asked = seal("generate", "-", *name, "--model", "model", "--dry-run", stdin=tasks, cwd=folder)
    assert (asked.code, "for 6 self-edits" in asked.err + asked.out) == (0, True), asked.err
    edits = [json.dumps({**json.loads(line), "edit": {"completion": "e"}}) for line in tasks.splitlines()]
    refused = seal("adapt", "-", *name, "--rank", "2", "--model", "model", stdin="\n".join(edits), cwd=folder)
    assert (refused.code, "--rank 2: five is enough" in refused.err) == (78, True), refused.err
    trained = seal("adapt", "-", *name, "--model", "model", "--dry-run", stdin="\n".join(edits), cwd=folder)
    assert (trained.code, '"rank": 5' in trained.err + trained.out) == (0, True), trained.err + trained.out
    shown = seal("report", "-", *name, "--view", stdin=tasks, cwd=folder)
    assert shown.out.startswith("sevens\nits sums\ncarried   sum ✓\n7 1"), shown.out + shown.err
    drawn = seal("report", "-", *name, "--arc", "sums.svg", stdin=tasks, cwd=folder)
    assert (drawn.code, "<!-- sevens -->" in (folder / "sums.svg").read_text()) == (0, True), drawn.err


def test_a_self_edit_that_it_cannot_use_has_no_training_data_and_is_seen_with_the_reason(folder: Path) -> None:
    lines = seal("tasks", "sums.txt", "--domain", NAME, cwd=folder).out
    unused = [json.dumps({**json.loads(line), "edit": {"completion": "x"}}) for line in lines.splitlines()]
    shown = seal("report", "-", "--view", "--domain", NAME, stdin="\n".join(unused), cwd=folder)
    assert (shown.code, "it cannot be used\nno drill is picked\n" in shown.out) == (0, True), shown.err
    data = seal("adapt", "-", "--show-data", "--domain", NAME, stdin="\n".join(unused), cwd=folder)
    assert (data.code, [line["sequences"] for line in data.lines]) == (0, [[], []]), data.err
