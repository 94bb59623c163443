"""--dtype bfloat16 on a CPU that only emulates it: every command that takes the flag refuses, in the same words."""

import platform
from pathlib import Path

import pytest

from stages.models.device import has_fast_bfloat16
from stages.records.record import Record
from tests.cli.conftest import jsonl, seal
from tests.cli.test_sft import PAIRS
from tests.invented import a_task, an_edit

WORDS = "--dtype bfloat16: this CPU has no bfloat16 products and only emulates them, several times slower than float32"
TASK = Record(task=a_task())
GIVEN = {"sft": PAIRS, "adapt": jsonl([TASK.model_copy(update={"edit": an_edit(a_task())})])}
X86 = platform.machine() in ("x86_64", "AMD64")  # elsewhere oneDNN cannot be told to do without


@pytest.mark.parametrize("command", ["generate", "adapt", "eval", "sft", "doctor"])
def test_a_cpu_without_bfloat16_is_said_and_the_ways_out_named(model_dir: Path, tmp_path: Path, command: str) -> None:
    source = () if command == "doctor" else ("-", "--model", model_dir)
    out = ("--out", tmp_path / "out") if command in ("adapt", "sft") else ()
    flags = ("--device", "cpu", "--dtype", "bfloat16")
    given = GIVEN.get(command, jsonl([TASK]))
    done = seal(command, *source, *out, *flags, stdin=given, cwd=tmp_path, ONEDNN_MAX_CPU_ISA="AVX2")
    if not X86 and has_fast_bfloat16():
        assert WORDS not in done.err
        return
    assert done.code == 78, done.err
    assert WORDS in done.err
    assert "take --dtype float32 or auto" in done.err
    assert not (tmp_path / "out").exists()
