"""`seal accept`"""

import json
import time
from pathlib import Path
from typing import Annotated

import typer

from seal_cli.exit_codes import DONE, INCOMPLETE
from seal_cli.flags.engine import EngineFlags
from seal_cli.flags.expand import Without
from seal_cli.flags.judge import JudgeFlags
from seal_cli.terminal.console import note, say, strip_control
from stages import accept as stage
from stages.settings import Doc


def accept(
    adapter: Annotated[
        Path, typer.Argument(metavar="ADAPTER", help="A PEFT directory, or a file of adapter or score lines.")
    ],
    wanted: stage.AcceptanceTest,
    *,
    student: Annotated[EngineFlags, Without("max_loras", "quantize")],
    grader: JudgeFlags,
    json_lines: Annotated[
        bool, Doc("Also write what was found to stdout, a JSON line an adapter.", flag="--json")
    ] = False,
) -> int:
    """Check that an engine answers with the adapter that was trained, after it was converted, quantised and loaded.

    The reference is transformers with peft, here. Engine and reference measure the same tokens, with the adapter and
    without; how far they are apart without it is the noise. One line a check: passed, failed or not tried.

    \b
    tokenizer  llama.cpp divides the texts into the same tokens
    base       twice the noise is less than what a halved alpha would change
    applied    with the adapter the engine says something else than without
    right one  it is nearer to this adapter than to --among, or to other lines'
    trained    with the adapter both are at most twice the noise apart
    accuracy   an exam's answers are as often right as before (exact test)

    Exit code 0: base, applied and trained passed, nothing failed. 3: not accepted; what cannot be tried is not
    passed. Score lines are asked again as the manifest beside them says, else as `seal eval` asks without flags.

    --engine openai asks a vLLM or llama.cpp server, or one that repeats prompts with log-probabilities (echo).
    Without --served it takes the server's adapter of the directory's name; vLLM else loads the directory itself.

    \b
    Examples:
      seal accept run/adapters/ID
      seal accept adapters.jsonl --engine vllm --json
      seal accept run/adapters/ID --engine openai --base-url http://localhost:8000/v1 --served NAME
      seal accept scores.jsonl --engine openai --base-url http://localhost:8080/v1
      seal accept run/adapters/ID --served run/merged --exam exam.jsonl -j exact
    """
    from seal_cli.runs.stdio import claim_stdout, write_stdout  # late: help does without
    from seal_cli.runs.testing import make_acceptance, read_subjects

    stdout, started, count, good = claim_stdout(), time.monotonic(), 0, 0
    work = make_acceptance(wanted, student, grader, adapter)
    for found in work.run(read_subjects(adapter)):
        note(f"{strip_control(found.adapter)}: {'accepted' if found.is_accepted else 'not accepted'}")
        for each in found.findings:
            told = " ".join(strip_control(f"{each.found}{f' → {each.advice}' if each.advice else ''}").split())
            (say if each.ok is False else note)(f"  {stage.VERDICTS[each.ok]:<11}{each.check}: {told}")
        if json_lines:
            row = json.dumps(found.describe(), ensure_ascii=False)
            write_stdout(stdout, f"{row}\n".encode("utf-8", "replace"))
        count, good = count + 1, good + found.is_accepted
    note(f"seal accept: {good} of {count} accepted, {time.monotonic() - started:.1f} s")
    return DONE if good == count else INCOMPLETE
