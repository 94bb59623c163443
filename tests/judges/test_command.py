"""A program as a judge: real ones, in Python and shell, that behave and misbehave."""

import json
from itertools import count, islice
from pathlib import Path

import pytest

from stages.errors import BadConfig, Unavailable
from stages.judges.base import Case, Verdict
from stages.judges.command import CommandJudge
from tests.judges.programs import EQUAL, RIGHT, WRONG, Program, judges_in


@pytest.fixture
def program(tmp_path: Path) -> Program:
    """Makes a judge of Python code."""
    return judges_in(tmp_path)


def test_it_is_given_all_of_a_case_and_its_verdicts_are_taken(program: Program) -> None:
    judge = program(
        "for c in cases:\n    say(id=c['id'], correct=len(c) == 5 and c['golds'] == [c['gold']], reason='r')\n"
    )
    assert list(judge.grade([RIGHT, Case("q", "a", "b", ("c",))])) == [Verdict(True, "r"), Verdict(False, "r")]


def test_verdicts_come_while_cases_still_go_in(program: Program) -> None:
    endless = (RIGHT if n % 2 else WRONG for n in count())
    found = islice(program(EQUAL).grade(endless), 6)
    assert [verdict.correct for verdict in found] == [False, True] * 3


def test_a_program_may_answer_all_at_the_end_and_in_any_order(program: Program) -> None:
    code = "for c in reversed(list(cases)):\n    say(id=c['id'], correct=c['prediction'] == 'Velm')\n"
    cases = [RIGHT if n % 3 else WRONG for n in range(3000)]
    assert [verdict.correct for verdict in program(code).grade(cases)] == [bool(n % 3) for n in range(3000)]


def test_null_is_unscored_with_its_reason_and_anything_else_is_unparsable(program: Program) -> None:
    code = (
        "for c, given in zip(cases, [None, 'yes', 1, None]):\n"
        "    say(id=c['id'], correct=given, reason='no idea' if c['id'] == '0' else None)\n"
    )
    found = list(program(code).grade([RIGHT] * 4))
    assert [verdict.correct for verdict in found] == [None] * 4
    assert found[0].reason == "no idea"
    assert found[1].reason == "unparsable: correct is 'yes'"
    assert found[2].reason == "unparsable: correct is '1'"
    assert found[3].reason


def test_a_line_without_correct_is_unscored(program: Program) -> None:
    (verdict,) = program("for c in cases:\n    say(id=c['id'])\n").grade([RIGHT])
    assert verdict == Verdict(None, "unparsable: correct is ''")


def test_a_program_that_ends_too_soon_is_an_error_and_no_verdict(program: Program) -> None:
    judge = program("c = next(cases)\nsay(id=c['id'], correct=True)\nsys.exit(7)\n")
    verdicts = judge.grade([RIGHT] * 3)
    with pytest.raises(Unavailable, match=r"ended with code 7 before it had graded all answers; the same command"):
        list(verdicts)


def test_a_program_that_is_killed_is_named_with_its_signal(program: Program) -> None:
    with pytest.raises(Unavailable, match="was killed by SIGKILL"):
        list(program("import os\nos.kill(os.getpid(), 9)\n").grade([RIGHT] * 3))


def test_what_is_no_verdict_is_quoted(program: Program) -> None:
    for code, shown in (("print('loading model…', flush=True)\n", "loading model"), ("say(correct=True)\n", "correct")):
        with pytest.raises(BadConfig, match=rf'wrote .*{shown}.*, which is no {{"id", "correct"}}'):
            list(program(code + EQUAL).grade([RIGHT]))


def test_a_program_that_is_not_there_is_told_at_once() -> None:
    with pytest.raises(BadConfig, match=r"no program ./nowhere.py that can be run"):
        CommandJudge("./nowhere.py --strict")
    with pytest.raises(BadConfig, match="names no program"):
        CommandJudge("  ")
    with pytest.raises(BadConfig, match="No closing quotation"):
        CommandJudge("grade 'x")


def test_nobody_is_asked_where_there_is_nothing_to_grade(program: Program) -> None:
    assert list(program(EQUAL).grade([])) == []


# ---- whose verdicts


def test_verdicts_that_contradict_each_other_are_refused(program: Program) -> None:
    for second in ("False", "None"):
        judge = program(f"for c in cases:\n    for g in (True, {second}):\n        say(id=c['id'], correct=g)\n")
        with pytest.raises(BadConfig, match='gave two verdicts for the id "0" that contradict each other'):
            list(judge.grade([RIGHT] * 2))


def test_a_contradiction_after_the_last_verdict_is_refused_too(program: Program) -> None:
    late = "import time\ntime.sleep(0.3)\nsay(id='1', correct=True)\n"
    with pytest.raises(BadConfig, match='the id "1" that contradict'):
        list(program(EQUAL + late).grade([RIGHT, WRONG]))


def test_the_same_verdict_may_come_twice(program: Program) -> None:
    twice = "for c in cases:\n    for _ in 'ab':\n        say(id=c['id'], correct=c['gold'] == c['prediction'])\n"
    assert [each.correct for each in program(twice).grade([RIGHT, WRONG] * 50)] == [True, False] * 50


@pytest.mark.parametrize(
    "name",
    [3.9, 0, 0.0, True, None, "00", "-0", " 0", "0\n", "+0", "٠", "²", "", "1", "2", "9" * 5000, ["0"], {"0": 0}],
)
def test_a_verdict_needs_exactly_an_id_that_was_sent(program: Program, name: object) -> None:
    judge = program(f"next(cases)\nsay(id={name!r}, correct=True)\n" + EQUAL)
    shown = json.dumps(name, ensure_ascii=False)[:100]
    with pytest.raises(BadConfig, match="which no case has; write each id as it came, a string") as caught:
        list(judge.grade([RIGHT]))
    assert f"gave a verdict for the id {shown}" in str(caught.value)
