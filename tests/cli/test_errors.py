"""How commands fail: the exit code, and one plain line that names the value and the next move."""

import os
import pty
import signal
import subprocess
import time
from pathlib import Path

import pytest

from seal_cli import exit_codes
from stages.records.record import Record
from tests.cli.conftest import jsonl, passages, pipe, seal, surroundings
from tests.conftest import ROOT
from tests.forked import forked_seal
from tests.invented import a_line, a_task, an_adapter, an_edit

TASK = a_task()
EDIT = an_edit(TASK)
TASKS, EDITS = jsonl([Record(task=TASK)]), jsonl([Record(task=TASK, edit=EDIT)])
ADAPTERS = jsonl([Record(task=TASK, edit=EDIT, adapter=an_adapter(EDIT))])
SCORES = jsonl([a_line(TASK, [True, False])])
NO_EDIT = "has a task but no edit (run `seal generate` first)"

USAGE = [
    (["generate", "--modell", "x"], "seal: No such option: --modell"),
    (["sft", "x.jsonl"], "Missing option"),
    (["generate", "-k", "0"], "seal: -k 0: should be greater than or equal to 1 "),
    (["adapt", "--epochs", "many"], "seal: --epochs many: should be a valid integer "),
    (["adapt", "--out", "x", "--learning-rate", "inf"], "seal: --learning-rate inf: should be a finite number"),
    (["sft", "--out", "x", "--model", "y", "--alpha", "nan"], "seal: --alpha nan: should be a finite number"),
    (["polish"], "No such command 'polish'"),
    (["generate", "--top-p", "1.5"], "seal: --top-p 1.5: should be less than or equal to 1 "),
]
FAILURES = [
    # code, arguments, stdin, words
    (66, ["tasks", "absent.json"], "", "seal: absent.json: no such file or folder"),
    (66, ["filter", "absent.jsonl"], "", "seal: absent.jsonl: no such file"),
    (66, ["report", "absent.jsonl"], "", "seal: absent.jsonl: no such file"),
    (65, ["filter", "."], "", "seal: .: a folder; give a file of JSON lines"),
    (65, ["filter", "--strict"], SCORES + SCORES[:-40], "seal: stdin:2: not JSON: "),
    (65, ["filter"], TASKS, f"seal: stdin:1: {NO_EDIT}"),
    (65, ["adapt"], TASKS, f"seal: stdin:1: {NO_EDIT}"),
    (65, ["filter"], EDITS, "seal: stdin:1: has a task and an edit but no score (run `seal eval` first)"),
    (65, ["report", "-"], ADAPTERS, "stdin:1: has a task and an edit and an adapter but no score (run `seal eval`"),
    (65, ["eval", "--model", "."], EDITS, "seal: stdin:1: task 'Ada' has an edit but no adapter (run `seal adapt` f"),
    (
        65,
        ["sft", "--model", "x/y", "--out", "z"],
        SCORES,
        "stdin:1: a record, but `seal sft` reads training pairs (r",
    ),
    (65, ["adapt"], passages(1), "stdin:1: an object with title, context, questions, not a record (run `seal tasks`"),
    (65, ["generate", "--model", "."], TASKS, "--model .: not a model directory (it has no config.json)"),
    (66, ["generate", "--model", "./absent"], TASKS, "--model ./absent: no such directory (hub names look like owner/"),
    (66, ["adapt", "--model", "absent"], EDITS, "--model absent: no such directory (hub names look like owner/name)"),
    (78, ["generate"], TASKS, "which model? the lines name none: give --model DIR"),
    (78, ["generate", "-t", "poem"], TASKS, "--template poem: unknown; take one of implications, implications-long"),
    (66, ["generate", "-t", "poem.txt"], TASKS, "--template poem.txt: no such file (the named templates are impl"),
    (78, ["adapt", "--tokens-per-step", "lots"], EDITS, "--tokens-per-step lots: take auto or a number of tokens, f"),
    (78, ["adapt", "--tokens-per-step", "0"], EDITS, "--tokens-per-step 0: take auto or a number of tokens, for ex"),
    (78, ["adapt", "--pad-mode", "some"], EDITS, "--pad-mode some: take none, eos, full or sampled:M, for example sam"),
    (
        78,
        ["adapt", "--trainer", "peft", "--model", "x/y", "--slots", "3"],
        EDITS,
        "--slots 3: peft trains one sequence",
    ),
    (
        78,
        ["adapt", "--trainer", "peft", "--model", "x/y", "--tokens-per-step", "9"],
        EDITS,
        "--tokens-per-step 9: peft trains one sequence of one adapter at a time; use --trainer batched",
    ),
    (78, ["filter", "--keep", "worst"], SCORES, "--keep worst: take best, best:N (N ≥ 1), above:X (0 ≤ X < 1), gain"),
    (78, ["filter", "--keep", "best:0"], SCORES, "--keep best:0: take best, best:N"),
    (
        78,
        ["eval", "--judge", "kind"],
        ADAPTERS,
        "--judge kind: unknown; take one of exact, lexical, openai:MODEL[@URL], command:PROGRAM, or package.module:Cl",
    ),
    (78, ["generate", "--shard", "3/2"], TASKS, "--shard 3/2: take i/n with 1 ≤ i ≤ n, for example 1/4"),
    (78, ["generate", "--shard", "1/" + "9" * 5000], TASKS, "take i/n with 1 ≤ i ≤ n, for example 1/4"),
    (78, ["generate", "--shard", "²/3"], TASKS, "--shard ²/3: take i/n with 1 ≤ i ≤ n, for example 1/4"),
    (78, ["schema", "poem"], "", "schema poem: unknown; take one of record, sft, checkpoint, training_data"),
    (78, ["report", "-", "--against", "b"], SCORES, "--against b: no such row; there are "),
]


@pytest.mark.parametrize(("arguments", "words"), USAGE)
def test_a_wrong_command_line_is_usage_error_2_with_the_way_to_the_help(arguments: list[str], words: str) -> None:
    failed = seal(*arguments)
    assert (failed.code, failed.out) == (2, "")
    assert words in failed.err
    assert "--help`)" in failed.err
    assert failed.err.count("\n") == 1


@pytest.mark.parametrize(("code", "arguments", "stdin", "words"), FAILURES)
def test_a_failure_is_one_line_and_the_code_of_its_kind(
    code: int, arguments: list[str], stdin: str, words: str, tmp_path: Path
) -> None:
    failed = seal(*arguments, stdin=stdin, cwd=tmp_path)
    assert words in failed.err
    assert (failed.code, failed.out) == (code, "")
    assert failed.err.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_a_file_that_was_cut_off_is_named_with_its_line(tmp_path: Path) -> None:
    (tmp_path / "edits.jsonl").write_text(EDITS + EDITS[: len(EDITS) // 2])
    failed = seal("adapt", "edits.jsonl", "--model", "x/y", "--strict", cwd=tmp_path)
    assert failed.code == 65
    assert failed.err.startswith("seal: edits.jsonl:2: not JSON: ")


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        type("OutOfMemoryError", (RuntimeError,), {})("as torch calls it"),
        RuntimeError("[enforce fail at alloc_cpu.cpp:127] DefaultCPUAllocator: can't allocate memory: you tried to"),
        RuntimeError("CUBLAS_STATUS_ALLOC_FAILED when calling cublasCreate(handle)"),
    ],
)
def test_memory_that_runs_out_wherever_is_no_bug(error: Exception, capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_codes.report_error(error) == exit_codes.TRY_AGAIN
    assert capsys.readouterr().err.startswith("seal: out of memory: lower --slots or --tokens-per-step (adapt), ")
    assert exit_codes.code_of(RuntimeError("shapes do not match")) == exit_codes.BUG


# ---- stdin


@pytest.mark.parametrize("command", ["generate", "filter"])
def test_a_terminal_as_stdin_gives_one_line_of_help_and_does_not_hang(command: str) -> None:
    ours, theirs = pty.openpty()
    try:
        run = subprocess.run(
            [forked_seal(), command], stdin=theirs, capture_output=True, text=True, env=surroundings(), timeout=30
        )
    finally:
        os.close(ours)
        os.close(theirs)
    assert (run.returncode, run.stdout) == (2, "")
    assert run.stderr == "seal: reads JSON lines: give a file, or pipe them in (`seal tasks FILE | seal generate …`)\n"


def test_a_closed_stdin_is_said() -> None:
    closed = pipe("seal filter <&-", cwd=ROOT)
    assert closed.code == 2
    assert closed.err.startswith("seal: reads JSON lines: give a file")


# ---- signals

LONG_WORK = ("-k", "500", "--max-tokens", "100", "--batch", "1")
SLOW = """
import time
from stages.interfaces import Completion


class Engine:
    def __init__(self, model, *, device, batch_size):
        self.model = model

    def sample(self, requests, progress):
        for number, request in enumerate(requests):
            yield Completion(request.id, f"text {number}", "stop", 3)
            time.sleep(0.2)
"""


def started(*arguments: object, cwd: Path) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [forked_seal(), *map(str, arguments)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=cwd,
        env=surroundings(),
    )


def wait_for_text(path: Path, seconds: float = 120.0) -> None:
    until = time.monotonic() + seconds
    while not (path.is_file() and path.stat().st_size):
        assert time.monotonic() < until, f"nothing in {path}"
        time.sleep(0.05)


def test_ctrl_c_while_a_model_works_ends_with_130_and_keeps_what_was_done_in_the_part_file(
    model_dir: Path, tmp_path: Path
) -> None:
    (tmp_path / "tasks.jsonl").write_text(TASKS)
    run = started("generate", "tasks.jsonl", "--model", model_dir, *LONG_WORK, "-o", "edits.jsonl", cwd=tmp_path)
    wait_for_text(tmp_path / "edits.jsonl.part")
    run.send_signal(signal.SIGINT)
    out, err = run.communicate(timeout=60)
    assert (run.returncode, out) == (130, b"")
    done = len((tmp_path / "edits.jsonl.part").read_bytes().splitlines())
    kept = f"{done} of 500 lines done and kept in edits.jsonl.part; the same command goes on"
    assert err.decode().splitlines()[-2:] == [f"seal generate: interrupted: {kept}", "seal: interrupted"]
    left = sorted(path.name for path in tmp_path.iterdir())
    assert left == ["edits.jsonl.part", "edits.jsonl.part.json", "tasks.jsonl"]


def test_sigterm_while_an_engine_works_ends_with_143_after_whole_lines(tmp_path: Path) -> None:
    (tmp_path / "tasks.jsonl").write_text(TASKS)
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "slow.py").write_text(SLOW)
    run = started("generate", "tasks.jsonl", "--model", ".", "--engine", "slow:Engine", "-k", "100", cwd=tmp_path)
    assert run.stdout is not None
    first = run.stdout.readline() + run.stdout.readline()  # the first is counted before the second is written
    run.send_signal(signal.SIGTERM)
    out, err = run.communicate(timeout=60)
    assert run.returncode == 143
    assert b"Traceback" not in err
    lines = (first + out).decode().split("\n")
    assert lines.pop() == ""
    written = len([Record.model_validate_json(line) for line in lines])
    assert 2 <= written < 100
    told = [
        f"{done} of 100 lines done, none kept; with -o FILE or --journal DIR it could go on" for done in range(1, 100)
    ]
    assert err.decode().splitlines()[-1] in [
        f"seal generate: interrupted: {text}" for text in told[written - 2 : written]
    ]


STUCK = """
from pathlib import Path


class Engine:
    def __init__(self, model, *, device, batch_size):
        Path("loading").write_text("now")
        sum(range(10**13))  # in C, deaf to signals: as a model that is read for minutes
"""


@pytest.mark.parametrize(("first", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_a_model_that_loads_and_hears_no_signal_is_ended_all_the_same(
    tmp_path: Path, first: signal.Signals, code: int
) -> None:
    (tmp_path / "tasks.jsonl").write_text(TASKS)
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "stuck.py").write_text(STUCK)
    options = ("--model", ".", "--engine", "stuck:Engine", "-o", "edits.jsonl")
    run = started("generate", "tasks.jsonl", *options, cwd=tmp_path)
    wait_for_text(tmp_path / "loading")
    run.send_signal(first)
    time.sleep(0.3)
    run.send_signal(signal.SIGINT)  # the impatient do it twice; without it five seconds pass
    out, err = run.communicate(timeout=60)
    assert run.returncode in (code, 130)  # the second's, where a busy machine shows both at once
    assert out == b""
    assert b"Traceback" not in err
    assert not list(tmp_path.glob("*.part"))


FAULTY = """
import os
from stages.interfaces import Completion
from stages.judges.base import Verdict


class Judge:
    name = "mine"

    def grade(self, cases):
        for case in cases:
            if "Town 2" in case.question and not os.path.exists("mended"):
                raise KeyError(case.gold)
            yield Verdict(True)


class Engine:
    def __init__(self, model, *, device, batch_size):
        self.model = model

    def sample(self, requests, progress):
        for request in requests:
            if "Town 2" in request.prompt and not os.path.exists("mended"):
                yield "nonsense"
            yield Completion(request.id, "an answer", "stop", 2)
"""


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (
            ["eval", "--engine", "tests.cli.workers:Echo", "--judge", "faulty:Judge"],
            "seal: --judge faulty:Judge: KeyError: 'Velm' (faulty.py:13, in grade: raise KeyError(case.gold)); mend",
        ),
        (
            ["generate", "-k", "1", "--engine", "faulty:Engine"],
            "seal: --engine faulty:Engine: gave 'nonsense', which is no Completion(id, text, finish, tokens, error) (f",
        ),
    ],
)
def test_a_class_of_the_users_that_fails_is_no_bug_of_ours_and_what_was_done_stays(
    arguments: list[str], words: str, tmp_path: Path
) -> None:
    pairs = [[(f"What is in {name}?", "Velm")] for name in ("Town 0", "Town 1", "Town 2", "Town 3")]
    tasks = [a_task(f"Town {n}", own) for n, own in enumerate(pairs)]
    (tmp_path / "tasks.jsonl").write_text(jsonl(Record(task=task) for task in tasks))
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "faulty.py").write_text(FAULTY)
    command = (arguments[0], "tasks.jsonl", *arguments[1:], "--model", ".", "-o", "out.jsonl")
    failed = seal(*command, cwd=tmp_path)
    assert (failed.code, "bug in seal" in failed.err, "Traceback" in failed.err) == (78, False, False)
    assert words in failed.err
    assert (tmp_path / "out.jsonl.part").read_text().count("\n") == 2
    (tmp_path / "mended").touch()
    again = seal(*command, cwd=tmp_path)
    assert (again.code, "goes on: 2 of 4 lines are in" in again.err) == (0, True)
