"""A program as a judge: real ones, in Python and shell, that behave and misbehave."""

import sys
from collections.abc import Callable, Iterator
from itertools import count, islice
from pathlib import Path

import pytest

from stages.failures import BadConfig, Unavailable
from stages.judges.base import Case, Verdict
from stages.judges.command import Command

START = "import sys, json\ncases = (json.loads(line) for line in sys.stdin)\n"
SAY = "def say(**line):\n    print(json.dumps(line), flush=True)\n"
RIGHT, WRONG = Case("q", "Velm", "Velm"), Case("q", "Velm", "Ada")


Program = Callable[[str], Command]


@pytest.fixture
def program(tmp_path: Path) -> Iterator[Program]:
    """Makes a judge of Python code."""

    def make(code: str) -> Command:
        file = tmp_path / "grade.py"
        file.write_text(START + SAY + code)
        return Command(f"{sys.executable} {file}")

    yield make


EQUAL = "for case in cases:\n    say(id=case['id'], correct=case['gold'] == case['prediction'])\n"


def test_it_is_given_all_of_a_case_and_its_verdicts_are_taken(program: Program) -> None:
    judge = program("for c in cases:\n    say(id=c['id'], correct=len(c) == 4 and c['question'] == 'q', reason='r')\n")
    assert list(judge.grade([RIGHT, Case("other", "a", "b")])) == [Verdict(True, "r"), Verdict(False, "r")]


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
        Command("./nowhere.py --strict")
    with pytest.raises(BadConfig, match="names no program"):
        Command("  ")
    with pytest.raises(BadConfig, match="No closing quotation"):
        Command("grade 'x")


def test_no_program_is_left_behind(program: Program) -> None:
    verdicts = program(EQUAL + "import time\ntime.sleep(60)\n").grade(RIGHT for _ in count())
    next(verdicts)
    verdicts.close()


def test_nobody_is_asked_where_there_is_nothing_to_grade(program: Program) -> None:
    assert list(program(EQUAL).grade([])) == []
