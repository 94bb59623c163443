"""The page of a report: it is whole, shows what records say as text, and keeps to its size."""

import base64
import hashlib
import pickle
import re
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path

import pytest

from stages import report
from stages.errors import BadConfig
from stages.records.record import Gate, Origin, Record, Step, TrainStats
from stages.records.score import AnchorAnswers, Answer, Likelihood, make_likelihood_score, make_retention
from stages.reporting import page as pages
from stages.reporting.page import check_page, group_rounds, write_page
from stages.reporting.page_lines import PageLines, RowCost
from tests.cli.conftest import jsonl, seal
from tests.conftest import ROOT
from tests.invented import a_line, a_task, an_adapter, an_edit
from tests.reporting.browser import CHROMIUM, opened

EVIL = '<script>document.title="owned"</script><img src=x onerror="document.title=1">{{7*7}}</div>\x00\ud800&#x202e;'


def lines(tasks: int, seeds: int = 1, text: str = "A line.") -> Iterator[Record]:
    for number in range(tasks):
        for sample in range(2):
            for seed in range(seeds):
                right = [(number + sample) % 2 == 0, (number + seed) % 3 == 0]
                yield a_line(a_task(f"Ada {number}"), right, sample=sample, seed=seed, completion=text)


def a_sequence() -> Iterator[Record]:
    """Two steps, each asked about both tasks; the second breaks half of the first."""
    tasks = [a_task("Ada"), a_task("Bo")]
    train = TrainStats(sequences=3, tokens=100, steps=30, loss_first=3.0, loss_last=1.0)
    for number, learned in enumerate(tasks):
        for task in tasks:
            line = a_line(task, [learned is tasks[0] or task is learned, task is tasks[0]])
            assert line.adapter
            step, origin = Step(sequence=0, number=number, before=None), Origin(task_id=learned.id, edit_id=None)
            own = {"id": f"step-{number}", "step": step, "origin": origin, "train": train}
            yield line.grow(edit=None, adapter=line.adapter.model_copy(update=own))


def make_page(folder: Path, *files: tuple[str, list[Record]], against: str | None = None) -> tuple[str, str]:
    """Return (the page, what it says it leaves out)."""
    seen = PageLines(pages.MOST_BYTES)
    rows = report.run([(label, seen.watch(label, records)) for label, records in files], against=against)
    left_out = write_page(folder / "report.html", rows, seen, against)
    return (folder / "report.html").read_text(encoding="utf-8"), left_out


class Tags(HTMLParser):
    """The tags and attributes of a page, and its text."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.text = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attributes

    def handle_data(self, data: str) -> None:
        self.text += data


def test_a_page_shows_rows_tasks_and_every_line_down_to_its_answers(tmp_path: Path) -> None:
    page, left_out = make_page(tmp_path, ("self", list(lines(2))), ("round 1", list(lines(2))), against="self")
    text = Tags(page).text
    assert left_out == ""
    for told in ("self", "round 1", "gain on self", "Ada 0", "Ada 0 was born in Velm", "A line.", "✓ answer  Velm"):
        assert told in text
    assert Tags(page).tags.count("details") == 2 + 2 * 2 * 2  # a task, and each of its lines


def test_what_seeds_and_self_edits_share_is_told_once(tmp_path: Path) -> None:
    page, _ = make_page(tmp_path, ("self", list(lines(1, seeds=2, text="Ada moved to Rome."))))
    text = Tags(page).text
    assert text.count("\npassage") == 1
    assert text.count("2 training sequences") == 2  # of two self-edits with two seeds each
    folds = re.findall(r"<summary><bdi>(.*?)</bdi>", page)
    assert folds == [
        "self: self-edit 0: 0.0 → 75.0 % over 2 seeds",
        *("self-edit 0, seed 0: 0.0 → 100.0 %", "self-edit 0, seed 1: 0.0 → 50.0 %"),
        "self: self-edit 1: 0.0 → 25.0 % over 2 seeds",
        *("self-edit 1, seed 0: 0.0 → 50.0 %", "self-edit 1, seed 1: 0.0 → 0.0 %"),
    ]


def test_rounds_are_a_curve_for_each_loop(tmp_path: Path) -> None:
    labels = ("self", "round 1", "Round-2", "dpo round 1", "dpo_round_2", "random round 1", "background 7", "ground_8")
    page, _ = make_page(tmp_path, *((label, list(lines(2))) for label in labels))
    loops = group_rounds(report.run([(label, lines(2)) for label in labels]))
    assert [(each.name, [round for round, _ in each.rows]) for each in loops] == [("", [1, 2]), ("dpo", [1, 2])]
    assert Tags(page).tags.count("polyline") == 2
    alone, _ = make_page(tmp_path, ("round 1", list(lines(2))))
    assert ("Rounds" in Tags(page).text, "Rounds" in Tags(alone).text) == (True, False)


def test_the_matrix_of_a_sequence_is_on_the_page_or_why_there_is_none(tmp_path: Path) -> None:
    steps = list(a_sequence())
    page, _ = make_page(tmp_path, ("steps", steps))
    cells = re.findall(r'<td class="n" style="--share: (.*?)">([\d.]+)', page)
    assert [float(share) for share, _ in cells] == [0, 0, 1, 0.5, 0.5]  # before, after Ada, after Bo
    assert [told for _, told in cells] == ["0.0", "0.0", "100.0", "50.0", "50.0"]
    assert "forgetting 50.0 %, backward transfer -50.0 %, of 1 sequence." in Tags(page).text
    assert "step 1, seed 0: 0.0 → 50.0 %" in Tags(page).text
    page, left_out = make_page(tmp_path, ("steps", steps[1:]))
    assert (left_out, "No matrix: steps: a step was not asked about task" in Tags(page).text) == ("", True)


def test_steps_whose_update_was_refused_are_marked(tmp_path: Path) -> None:
    def gated(line: Record) -> Record:
        assert line.adapter and line.adapter.step
        answers = [
            Answer(id=str(n), prediction="", correct=n < 1, reason=None, baseline_prediction="", baseline_correct=True)
            for n in range(2)
        ]
        kept = make_retention([AnchorAnswers(task_id="t", answers=tuple(answers))], "exact")
        gate = Gate(limit=0.3, fall=0.5, refused=True, retention=kept)
        step = line.adapter.step.model_copy(update={"gate": gate if line.adapter.step.number else None})
        return line.grow(adapter=line.adapter.model_copy(update={"step": step}))

    page, _ = make_page(tmp_path, ("steps", list(map(gated, a_sequence()))))
    assert re.findall("<tr><td>(before|[12].*?)<td", page) == ["before", "1", "2 (refused)"]
    assert "of 1 sequence; updates refused: 1 of 2." in Tags(page).text


def test_a_page_and_a_plot_say_what_their_values_are(tmp_path: Path) -> None:
    known = Likelihood(id="q", gold="Velm", value=0.5, baseline=0.2, error=None)
    score = make_likelihood_score((known,), model="student", measure="likelihood:answers")
    page, _ = make_page(tmp_path, ("self", [Record(task=a_task(), score=score)]))
    assert "Mean likelihood:answers over tasks in per cent" in Tags(page).text
    assert "ccurac" not in Tags(page).text
    page, _ = make_page(tmp_path, ("self", list(lines(1))))
    assert "Mean accuracy over tasks in per cent" in Tags(page).text


def test_of_a_sequence_the_page_holds_its_cells_alone() -> None:
    seen = PageLines(0)
    for line in seen.watch("steps", (each.grow(meta={"log": "step " * 10_000}) for each in a_sequence())):
        assert line.meta
    assert len(pickle.dumps(seen.steps)) < 2_000


def test_a_row_of_baselines_has_its_values_at_each_task(tmp_path: Path) -> None:
    (tmp_path / "scores.jsonl").write_text(jsonl(list(lines(2))))
    told = seal("report", "scores.jsonl", "--before", "none", "--html", "report.html", cwd=tmp_path)
    page = (tmp_path / "report.html").read_text()
    assert told.code == 0
    assert re.findall(r'data-value="(.*?)"', page) == ["0.0", "0.75", "0.0", "0.25"]


def test_what_records_say_is_text_and_no_markup(tmp_path: Path) -> None:
    task = a_task(EVIL, [(EVIL, EVIL)])
    hostile = [a_line(task, [True], completion=EVIL).grow(meta={EVIL: EVIL})]
    page, _ = make_page(tmp_path, (EVIL, hostile), against=EVIL)
    plain, _ = make_page(tmp_path, ("x", [a_line(a_task("x", [("x", "x")]), [True], completion="x")]), against="x")
    assert sorted(set(Tags(page).tags)) == sorted(set(Tags(plain).tags))
    assert Tags(page).tags.count("script") == 1
    assert not [name for name, _ in Tags(page).attributes if name.startswith("on") or name in ("src", "href")]
    assert "{{7*7}}" in page
    assert not re.search("[\x00-\x08]", page)


def test_nothing_is_loaded_and_only_the_pages_own_script_may_run(tmp_path: Path) -> None:
    page, _ = make_page(tmp_path, ("self", list(lines(1))))
    (policy,) = re.findall(r'Content-Security-Policy" content="([^"]*)"', page)
    (script,) = re.findall(r"<script>(.*?)</script>", page, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert policy == f"default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-{digest}'"
    assert not re.search(r"https?://|@import|url\(", page)


def test_a_page_keeps_to_its_size_and_says_what_it_leaves_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pages, "MOST_BYTES", 90_000)
    page, left_out = make_page(tmp_path, ("self", list(lines(30, text="word " * 300))))
    assert len(page.encode()) <= 90_000
    assert re.fullmatch(r"\d+ of 30 tasks are without their lines: a page has at most 0 MB", left_out)
    assert left_out in Tags(page).text
    assert all(f"Ada {number}" in page for number in range(30))
    monkeypatch.setattr(pages, "MOST_BYTES", 60_000)
    page, left_out = make_page(tmp_path, ("self", list(lines(60))))
    assert len(page.encode()) <= 60_000
    assert "of 60 tasks do not appear" in left_out


def test_200_passages_fit(tmp_path: Path) -> None:
    page, left_out = make_page(tmp_path, ("self", list(lines(200, text="An implication of some length.\n" * 12))))
    assert left_out == ""
    assert len(page.encode()) < pages.MOST_BYTES


def test_a_self_edit_with_several_adapters_was_written_once() -> None:
    cost = RowCost()
    for line in lines(1, seeds=3):
        cost.add(line)
    assert (cost.lines, len(cost.edits), cost.written) == (6, 2, 10)
    shared = RowCost()
    for line in a_sequence():  # two adapters, each asked about two tasks
        shared.add(line)
    assert (shared.lines, len(shared.adapters), shared.steps, shared.trained) == (4, 2, 60, 200)
    task = a_task("Ada")
    edit = an_edit(task)
    cost.add(Record(task=task, edit=edit, adapter=an_adapter(edit, fault="training")))
    assert cost.failed == 1


def test_a_page_is_called_html_and_written_by_the_command(tmp_path: Path) -> None:
    with pytest.raises(BadConfig, match=r"--html rows.txt: the file must end in \.html"):
        check_page(Path("rows.txt"))
    (tmp_path / "scores.jsonl").write_text(jsonl(list(lines(2))))
    told = seal("report", "scores.jsonl", "--html", "report.html", cwd=tmp_path)
    assert (told.code, "seal report: page in report.html" in told.err) == (0, True)
    arc = seal("report", ROOT / "tests/cli/golden/arc/scores.jsonl", "--html", "arc.html", cwd=tmp_path)
    assert arc.code == 0, arc.err
    assert (tmp_path / "arc.html").read_text().count('class="grid"') > 8


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium")
def test_tasks_are_searched_and_sorted_in_a_browser_and_nothing_hostile_runs(tmp_path: Path) -> None:
    evil = a_line(a_task("Zoe", [(EVIL, EVIL)]), [True], completion=EVIL)
    make_page(tmp_path, ("self", [*lines(3), evil]))
    with opened(tmp_path / "report.html", tmp_path / "profile") as browser:
        names = "[...document.querySelectorAll('.task:not([hidden]) > summary bdi')].map(e => e.textContent)"
        assert browser.run("document.title") == "seal report"
        assert browser.run(names) == ["Ada 0", "Ada 1", "Ada 2", "Zoe"]
        browser.run("document.querySelector('[data-column=\"1\"]').click()")
        assert browser.run(names)[0] == "Zoe"
        browser.run("document.querySelector('[data-column=\"0\"]').click()")
        assert browser.run(names) == ["Ada 0", "Ada 1", "Ada 2", "Zoe"]
        browser.run("search.value = 'owned'; search.dispatchEvent(new Event('input'))")
        assert (browser.run(names), browser.run("count.textContent")) == (["Zoe"], "1 of 4 tasks")
        assert browser.run("document.images.length + document.scripts.length") == 1
        assert browser.run("document.title") == "seal report"
