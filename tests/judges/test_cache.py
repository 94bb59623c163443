"""The verdict cache: shared, durable, keyed by all that a verdict depends on, and never a traceback."""

import sqlite3
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stages.errors import BadConfig
from stages.judges.base import Case
from stages.judges.cache import Cache

HERE = "http://localhost:8000/v1"
CASE = Case("Where was Ada born?", "Velm", "in Velm")


def test_a_verdict_for_several_gold_answers_is_one_for_just_these(tmp_path: Path) -> None:
    cache = Cache(tmp_path / "verdicts.sqlite", "judge", "template", HERE, "several")
    several = replace(CASE, other_golds=("Vel", "Vell"))
    cache.put(several, "yes")
    assert cache.get(several) == "yes"
    others = [CASE, replace(several, other_golds=("Vel",)), replace(several, other_golds=("Vell", "Vel"))]
    assert [cache.get(case) for case in others] == [None] * 3
    assert Cache(cache.path, "judge", "template", HERE, "another").get(several) is None


def test_a_verdict_that_an_older_seal_kept_is_still_known(tmp_path: Path) -> None:
    cache = Cache(tmp_path / "verdicts.sqlite", "judge", "template", HERE)
    assert cache._get_key(CASE) == "704f13d0588ec3f01a371ad694ed51e89ca2ce26f38697a526f345a7ac80910a"


def test_what_was_kept_is_known_to_the_next_run(tmp_path: Path) -> None:
    file = tmp_path / "deep" / "verdicts.sqlite"
    assert Cache(file, "judge", "template", HERE).get(CASE) is None
    Cache(file, "judge", "template", HERE).put(CASE, "Yes.")
    assert Cache(file, "judge", "template", HERE).get(CASE) == "Yes."


@pytest.mark.parametrize(
    ("model", "template", "server", "case"),
    [
        ("other", "template", HERE, CASE),
        ("judge", "other", HERE, CASE),
        ("judge", "template", "http://localhost:8001/v1", CASE),
        ("judge", "template", HERE, Case("Where?", CASE.gold, CASE.prediction)),
        ("judge", "template", HERE, Case(CASE.question, "Vel", CASE.prediction)),
        ("judge", "template", HERE, Case(CASE.question, CASE.gold, "in Velm ")),
        ("judge", "template", HERE, Case(CASE.question + CASE.gold, "", CASE.prediction)),
        ("judge", "template", HERE, Case(CASE.question, CASE.gold, CASE.prediction, ("Vel",))),
        ("judge", "template", HERE, Case(CASE.question, '["Velm", "Vel"]', CASE.prediction)),
    ],
    ids=["model", "template", "server", "question", "gold", "answer", "divided otherwise", "more golds", "a list"],
)
def test_another_judge_template_server_question_gold_or_answer_is_not_the_same(
    tmp_path: Path, model: str, template: str, server: str, case: Case
) -> None:
    Cache(tmp_path / "v.sqlite", "judge", "template", HERE).put(CASE, "yes")
    assert Cache(tmp_path / "v.sqlite", model, template, server).get(case) is None


@given(st.text(), st.text(), st.text(), st.text())
@settings(deadline=None, max_examples=50)
def test_any_text_can_be_kept(question: str, gold: str, answer: str, raw: str) -> None:
    cache = Cache(Path(":memory:"), "judge", "template", HERE)
    cache.put(Case(question, gold, answer), raw)
    assert cache.get(Case(question, gold, answer)) == raw


def test_half_a_character_is_kept_too(tmp_path: Path) -> None:
    cache = Cache(tmp_path / "v.sqlite", "judge", "template", HERE)
    cache.put(Case("q", "g", "\ud800"), "yes \udfff")
    assert cache.get(Case("q", "g", "\ud800")) == "yes ?"


def write_many(file: str, start: int) -> None:
    cache = Cache(Path(file), "judge", "template", HERE)
    for number in range(start, start + 40):
        cache.put(Case("q", "g", str(number)), f"yes {number}")


def test_several_processes_write_at_once(tmp_path: Path) -> None:
    file = tmp_path / "v.sqlite"
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
        list(pool.map(write_many, [str(file)] * 2, (0, 20)))
    cache = Cache(file, "judge", "template", HERE)
    assert [cache.get(Case("q", "g", str(number))) for number in range(60)] == [f"yes {n}" for n in range(60)]


def test_a_file_that_is_no_cache_is_refused_with_the_way_out(tmp_path: Path) -> None:
    file = tmp_path / "v.sqlite"
    file.write_text("these are notes about something else\n" * 100)
    with pytest.raises(BadConfig, match=r"--cache .*v\.sqlite: file is not a database; give another file with --cache"):
        Cache(file, "judge", "template", HERE)
    assert file.read_text().startswith("these are notes")


def test_a_folder_that_cannot_be_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(BadConfig, match="or --cache none"):
        Cache(tmp_path / "file" / "v.sqlite", "judge", "template", HERE)


def test_the_cache_can_be_read_with_sqlite_itself(tmp_path: Path) -> None:
    Cache(tmp_path / "v.sqlite", "judge", "template", HERE).put(CASE, "No")
    columns = "server, model, question, gold, answer, raw"
    rows = sqlite3.connect(tmp_path / "v.sqlite").execute(f"SELECT {columns} FROM served_verdicts")  # noqa: S608
    assert rows.fetchall() == [(HERE, "judge", CASE.question, CASE.gold, CASE.prediction, "No")]
