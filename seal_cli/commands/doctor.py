"""`seal doctor`"""

import json
import time
from contextlib import suppress
from dataclasses import asdict, replace
from typing import Annotated

from seal_cli import exit_codes
from seal_cli.flags.expand import Without
from seal_cli.flags.service import ENGINE_KEYS, key_from
from seal_cli.terminal.console import note, say, strip_control
from stages import doctor as stage
from stages.checks.finding import Finding
from stages.errors import BadConfig, Unavailable
from stages.settings import Doc

_WORDS = {True: "ok", False: "wrong", None: "unknown"}


def doctor(
    wanted: Annotated[stage.Wanted, Without("quantize")],
    json_lines: Annotated[bool, Doc("Also write the findings to stdout, one JSON line each.", flag="--json")] = False,
) -> int:
    """Check what a run needs: packages, device, memory, disk, and what the flags name. Nothing is downloaded.

    One line per check on stderr: ok, wrong (and what to do) or unknown. Code that comes with a model is never run;
    --judge imports the class it names. Exit code 0: nothing is wrong. 69: only a service is, which cannot be reached.
    78: something here is.

    \b
    Examples:
      seal doctor
      seal doctor --model examples/tiny/model --deep --out run
      seal doctor --model DIR --adapter run/adapters/a --adapter run/adapters/b
      seal doctor --base-url http://localhost:8000/v1 --json
    """
    from seal_cli.runs.stdio import claim_stdout, write_stdout  # late: help does without
    from stages.judges.factory import JUDGE_KEYS

    stdout, started = claim_stdout(), time.monotonic()
    if wanted.model is not None:
        with suppress(Exception):  # libraries that cannot even be imported are for the checks to tell
            from stages.models.libraries import quiet_libraries

            quiet_libraries()
    findings = []
    for finding in stage.run(wanted, key=key_from(ENGINE_KEYS), judge_key=key_from(JUDGE_KEYS)):
        findings.append(_print_finding(finding))
        if json_lines:
            row = json.dumps(asdict(findings[-1]), ensure_ascii=False)
            write_stdout(stdout, f"{row}\n".encode("utf-8", "replace"))
    counts = [sum(finding.ok is state for finding in findings) for state in _WORDS]
    told = ", ".join(f"{count} {word}" for count, word in zip(counts, _WORDS.values(), strict=True))
    note(f"seal doctor: {told}, {time.monotonic() - started:.1f} s")
    bad = {finding.check for finding in findings if finding.ok is False}
    if not bad:
        return exit_codes.DONE
    return exit_codes.CODES[Unavailable if bad <= set(stage.SERVICES) else BadConfig]


def _print_finding(finding: Finding) -> Finding:
    """Write it as a line on stderr. Texts, some of them from files and servers, are put on one line each."""
    advice = None if finding.advice is None else _join_lines(finding.advice)
    finding = replace(finding, found=_join_lines(finding.found), advice=advice)
    write = say if finding.ok is False else note
    write(f"{_WORDS[finding.ok]:<8}{finding.check}: {finding.found}{f' → {advice}' if advice else ''}")
    return finding


def _join_lines(text: str) -> str:
    """Put a text on one line, without control characters."""
    return " ".join(strip_control(text).split())
