"""The torture as a whole, very small, and its points and tables. Its disk and its faults are tested beside them."""

import subprocess
import sys

from tests.conftest import ROOT
from tests.fault_injection import tables
from tests.fault_injection.cases import CASES, FEEDING, with_makers
from tests.fault_injection.faults import FAULTS
from tests.fault_injection.points import Point, Verdict, choose


def test_points_are_those_that_the_fault_can_come_to() -> None:
    operations = [(1, "open"), (2, "write"), (3, "fsync"), (4, "write")]
    case = CASES["tasks"]
    every = choose(case, FAULTS["torn"], operations, every=1, most=None, seed=0)
    some = choose(case, FAULTS["kill"], operations, every=1, most=3, seed=0)
    assert every == [2, 4]
    assert len(some) == 3
    assert some == choose(case, FAULTS["kill"], operations, every=1, most=3, seed=0)


def test_a_case_comes_behind_those_that_make_what_it_reads() -> None:
    assert [case.name for case in with_makers(["eval in a pipe"])] == ["tasks", "generate", "adapt", "eval in a pipe"]
    assert [case.name for case in with_makers(["merge"])] == ["piece 1", "piece 2", "merge"]
    assert with_makers(list(CASES)) == [*FEEDING, *CASES.values()]


def test_a_failure_is_printed_with_the_command_that_shows_it_again() -> None:
    point = Point("eval in a pipe", "kill", 7)
    lines = list(tables.failures([Verdict(point, ("gone",), "write x"), Verdict(point, (), "write x")], []))
    assert lines[0] == "FAILED eval in a pipe × kill at 7 (write x): gone"
    assert "python -m tests.fault_injection --stage 'eval in a pipe' --fault kill --point 7" in lines[1]
    assert len(lines) == 2


def test_a_point_that_the_fault_did_not_come_to_counts_neither_way() -> None:
    point = Point("tasks", "kill", 7)
    verdicts = [Verdict(point, (), None), Verdict(point, (), "write x"), Verdict(point, ("gone",), "write x")]
    assert tables.points_table(verdicts).splitlines()[1].split() == ["tasks", "1/2", "0", "0", "0"]


# ---- the whole, very small


def test_stages_survive_and_a_broken_product_does_not() -> None:
    faults = [part for name in ("kill-after", "worker", "torn", "power") for part in ("--fault", name)]
    stages = [part for name in ("generate", "adapt", "eval in a pipe") for part in ("--stage", name)]
    few = ("--most", "1", "--every", "2")  # points of the control: each second
    command = ["-m", "tests.fault_injection", *stages, *faults, *few, "--control", "no-repair"]
    ended = subprocess.run([sys.executable, *command], cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert ended.returncode == 0, ended.stdout
    rows = {line.split("  ")[0]: line.split() for line in ended.stdout.splitlines()}
    for name in ("generate", "adapt", "eval in a pipe"):
        tried = [cell.split("/") for cell in rows[name] if "/" in cell]
        assert len(tried) >= 3  # a run may end before its worker comes to a point
        assert all(survived == count for survived, count in tried)
    assert "points show it\n" in ended.stdout
