"""How a program that judges ends, and how long that and its verdicts may take."""

import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import pytest

from stages.errors import Unavailable
from stages.judges import program as talking
from stages.judges.base import Case, Verdict
from stages.judges.command import CommandJudge
from tests.judges.programs import EQUAL, RIGHT, WRONG, Program, is_gone, judges_in, pid_in, within

LONG = Case("q" * 1000, "Velm", "Velm")  # some 70 of them fill a pipe


@pytest.fixture
def program(tmp_path: Path) -> Program:
    """Makes a judge of Python code."""
    return judges_in(tmp_path)


# ---- how it ends


CHILD = "import subprocess\nchild = subprocess.Popen(['sleep', '25'])\nopen('child', 'w').write(f'{child.pid}\\n')\n"


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where programs run, for those that leave files."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_child_that_holds_the_output_open_is_not_waited_for() -> None:
    with within(20), pytest.raises(Unavailable, match="ended with code 0 before it had graded all answers"):
        list(CommandJudge("sh -c 'sleep 25 & exit 0'").grade([RIGHT]))


def test_all_verdicts_are_taken_where_a_child_holds_the_output_open(program: Program, place: Path) -> None:
    judge = program(CHILD + "for c in list(cases):\n    say(id=c['id'], correct=True)\n")
    with within(20):
        assert list(judge.grade([RIGHT] * 5000)) == [Verdict(True)] * 5000
    assert is_gone(pid_in(place / "child"))


def test_a_program_may_write_its_summary_after_its_last_verdict(program: Program, place: Path) -> None:
    end = "import time, pathlib\ntime.sleep(0.5)\npathlib.Path('summary').write_text('one graded')\n"
    assert list(program(EQUAL + end).grade([RIGHT])) == [Verdict(True)]
    assert (place / "summary").read_text() == "one graded"


def test_a_bad_code_after_the_last_verdict_does_not_go_unnoticed(program: Program) -> None:
    verdicts = program(EQUAL + "sys.exit(3)\n").grade([RIGHT, WRONG])
    assert [next(verdicts), next(verdicts)] == [Verdict(True), Verdict(False)]
    with pytest.raises(Unavailable, match=r"grade\.py: ended with code 3 after its last verdict; see what it says"):
        next(verdicts)


def test_a_signal_after_the_last_verdict_does_not_go_unnoticed(program: Program) -> None:
    with pytest.raises(Unavailable, match="was killed by SIGSEGV after its last verdict"):
        list(program(EQUAL + "import os\nos.kill(os.getpid(), 11)\n").grade([RIGHT]))
    with pytest.raises(Unavailable, match="was killed by signal 40 after its last verdict"):
        list(program(EQUAL + "import os\nos.kill(os.getpid(), 40)\n").grade([RIGHT]))


def test_a_program_that_does_not_end_is_asked_to_and_then_made_to(
    program: Program, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(talking, "GRACE_S", 0.5)
    asked = "import signal, time\nsignal.signal(signal.SIGTERM, lambda *_: open('asked', 'w').close())\n"
    me = "import os\nopen('me', 'w').write(f'{os.getpid()}\\n')\n"
    stays = "while True:\n    time.sleep(1)\n"
    with within(20):
        assert list(program(asked + me + EQUAL + stays).grade([RIGHT])) == [Verdict(True)]
    assert (place / "asked").exists()
    assert is_gone(pid_in(place / "me"))


def test_the_program_and_its_children_end_with_whoever_asks(program: Program, place: Path) -> None:
    me = "import os\nopen('me', 'w').write(f'{os.getpid()}\\n')\n"
    verdicts = program(CHILD + me + EQUAL + "import time\ntime.sleep(60)\n").grade(RIGHT for _ in count())
    next(verdicts)
    with within(20):
        verdicts.close()  # type: ignore[attr-defined]
        assert is_gone(pid_in(place / "me"))
        assert is_gone(pid_in(place / "child"))


def test_the_program_ends_where_no_case_can_be_made(program: Program, place: Path) -> None:
    def cases() -> Iterator[Case]:
        yield RIGHT
        pid_in(place / "child")
        raise RuntimeError("no more cases")

    with within(20), pytest.raises(RuntimeError, match="no more cases"):
        list(program(CHILD + "import time\ntime.sleep(60)\n").grade(cases()))
    assert is_gone(pid_in(place / "child"))


def test_no_pipe_is_left_open(program: Program) -> None:
    def cases() -> Iterator[Case]:
        yield RIGHT
        raise RuntimeError("no more cases")

    before = sorted(Path("/dev/fd").iterdir())
    list(program(EQUAL).grade([RIGHT]))
    with pytest.raises(RuntimeError, match="no more cases"):
        list(program(EQUAL).grade(cases()))
    for code in ("import time\ntime.sleep(60)\n", "sys.exit(3)\n"):
        with pytest.raises(Unavailable):
            list(program(code, timeout_s=0.3).grade([LONG] * 3000))
    assert sorted(Path("/dev/fd").iterdir()) == before


def test_ctrl_c_ends_both_at_once(program: Program, place: Path) -> None:
    line = program(CHILD + "import time\ntime.sleep(60)\n").name.removeprefix("command:")
    code = f"""
        from stages.judges.base import Case
        from stages.judges.command import CommandJudge
        try:
            list(CommandJudge({line!r}).grade([Case("q", "g", "p")]))
        except KeyboardInterrupt:
            raise SystemExit(130)
    """
    here = {**os.environ, "PYTHONPATH": str(Path(talking.__file__).parents[2])}
    asker = subprocess.Popen([sys.executable, "-c", textwrap.dedent(code)], env=here, process_group=0)
    child = pid_in(place / "child")
    with within(20):
        os.killpg(asker.pid, signal.SIGINT)
        assert asker.wait(10) == 130
    assert is_gone(child)


# ---- how long it may take


def test_a_case_is_with_the_program_before_the_next_is_made(program: Program, place: Path) -> None:
    def cases() -> Iterator[Case]:
        yield RIGHT
        assert pid_in(place / "read") == 0
        yield WRONG

    tells = "for c in cases:\n    open('read', 'w').write(c['id'] + '\\n')\n    say(id=c['id'], correct=True)\n"
    assert list(program(tells).grade(cases())) == [Verdict(True)] * 2


def test_a_program_that_reads_nothing_is_given_up_in_time(program: Program) -> None:
    judge = program("import time\ntime.sleep(60)\n", timeout_s=1)
    with within(20), pytest.raises(Unavailable, match=r"grade\.py: gave no verdict for 1 s while answers waited"):
        list(judge.grade([LONG] * 3000))


def test_a_program_that_closes_its_input_is_given_up_in_time_and_not_asked_over_and_over(program: Program) -> None:
    code = "import os, time\nsay(id=next(cases)['id'], correct=True)\nos.close(0)\ntime.sleep(60)\n"
    verdicts = program(code, timeout_s=1.5).grade([LONG] * 3000)
    used = time.process_time()
    assert next(verdicts) == Verdict(True)
    with within(20), pytest.raises(Unavailable, match=r"no verdict for 1\.5 s"):
        next(verdicts)
    assert time.process_time() - used < 1


def test_a_program_that_reads_all_and_says_nothing_is_given_up_in_time(program: Program) -> None:
    judge = program("list(cases)\nimport time\ntime.sleep(60)\n", timeout_s=1)
    with within(20), pytest.raises(Unavailable, match="no verdict for 1 s"):
        list(judge.grade([RIGHT] * 3))


@pytest.mark.parametrize("more", ["", "c = next(cases)\n"], ids=["while it is written to", "at the end"])
def test_a_program_that_says_the_same_for_ever_is_given_up_in_time(program: Program, more: str) -> None:
    judge = program(f"c = next(cases)\n{more}while True:\n    say(id='0', correct=True)\n", timeout_s=1)
    with within(20), pytest.raises(Unavailable, match="gave no verdict for 1 s while answers waited"):
        list(judge.grade([LONG] * 3000 if not more else [RIGHT] * 2))


def test_a_program_that_ends_while_it_is_written_to_is_noticed(program: Program) -> None:
    with within(20), pytest.raises(Unavailable, match="ended with code 3 before it had graded all answers"):
        list(program("import time\ntime.sleep(0.5)\nsys.exit(3)\n").grade([LONG] * 3000))


def test_a_program_that_closes_its_output_is_noticed_though_it_stays(
    program: Program, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(talking, "GRACE_S", 0.5)
    with within(20), pytest.raises(Unavailable, match="closed its output before it had graded all answers"):
        list(program("import os, time\nos.close(1)\ntime.sleep(60)\n").grade([RIGHT]))


@pytest.mark.parametrize("order", ["cases", "reversed(list(cases))"], ids=["in order", "in another"])
def test_each_verdict_gives_it_time_anew(program: Program, order: str) -> None:
    slow = f"import time\nfor c in {order}:\n    time.sleep(0.5)\n    say(id=c['id'], correct=True)\n"
    assert list(program(slow, timeout_s=2.5).grade([RIGHT] * 7)) == [Verdict(True)] * 7


def test_time_that_the_cases_take_is_not_the_programs(program: Program) -> None:
    def late() -> Iterator[Case]:
        for _ in range(3):
            time.sleep(1.2)
            yield RIGHT

    at_the_end = "import time\nfor c in list(cases):\n    time.sleep(0.4)\n    say(id=c['id'], correct=True)\n"
    assert list(program(at_the_end, timeout_s=1).grade(late())) == [Verdict(True)] * 3


def test_time_that_a_verdicts_taker_takes_is_not_the_programs(program: Program) -> None:
    slow = "import time\nfor c in list(cases):\n    say(id=c['id'], correct=True)\n    time.sleep(2.5)\n"
    verdicts = program(slow, timeout_s=1.5).grade([RIGHT] * 2)
    assert next(verdicts) == Verdict(True)
    time.sleep(1.7)
    assert next(verdicts) == Verdict(True)


def test_it_has_ten_minutes_unless_told_otherwise() -> None:
    assert (CommandJudge("cat").timeout_s, CommandJudge("cat", timeout_s=7).timeout_s) == (600, 7)


@pytest.mark.parametrize("order", ["cases", "reversed(list(cases))"], ids=["one by one", "all at the end"])
def test_many_more_cases_than_a_pipe_holds_are_graded(program: Program, order: str) -> None:
    judge = program(f"for c in {order}:\n    say(id=c['id'], correct=int(c['id']) % 3 == 0, reason='r' * 100)\n")
    found = [verdict.correct for verdict in judge.grade(Case("q" * 500, "g", str(n)) for n in range(20_000))]
    assert found == [n % 3 == 0 for n in range(20_000)]
