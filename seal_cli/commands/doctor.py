"""`seal doctor`"""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from seal_cli.flags import options as opt

if TYPE_CHECKING:
    from stages.doctor import Finding

_WORDS = {True: "ok", False: "wrong", None: "unknown"}


def doctor(
    model: Annotated[
        str | None, typer.Option(metavar="DIR|NAME", help="Check this model; a hub name is looked up offline.")
    ] = None,
    adapter: Annotated[
        list[Path] | None, typer.Option(metavar="DIR", help="Check this adapter, and whether it fits --model; repeat.")
    ] = None,
    base_url: Annotated[
        str | None, typer.Option(metavar="URL", help="Ask this OpenAI-compatible server; key: OPENAI_API_KEY.")
    ] = None,
    judge: Annotated[
        str | None,
        typer.Option(
            "--judge",
            "-j",
            metavar="NAME",
            help="Let this judge grade two answers.",
            autocompletion=opt.offer(*opt.JUDGES),
        ),
    ] = None,
    device: opt.DeviceName = "auto",
    dtype: opt.Dtype = "auto",
    out: Annotated[Path, typer.Option(metavar="DIR", help="Where a run would write.")] = Path(),
    deep: Annotated[bool, typer.Option("--deep", help="Also load the model and let it say one token.")] = False,
    json_lines: Annotated[
        bool, typer.Option("--json", help="Also write the findings to stdout, one JSON line each.")
    ] = False,
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
    import time

    from seal_cli.flags.service import ENGINE_KEYS, key_from
    from seal_cli.runs.stdio import claim_stdout
    from stages import doctor as stage
    from stages.judges.factory import KEYS
    from stages.models.loading import Device

    stdout, started = claim_stdout(), time.monotonic()
    if model is not None:
        _quieten()
    wanted = stage.Wanted(model, tuple(adapter or ()), base_url, judge, Device(device, dtype), out, deep)
    findings = []
    for raw in stage.run(wanted, key=key_from(ENGINE_KEYS), judge_key=key_from(KEYS)):
        finding = _readable(raw)
        findings.append(finding)
        _show(finding, stdout if json_lines else None)
    return _close(findings, time.monotonic() - started)


def _quieten() -> None:
    """Libraries that cannot even be imported are for the checks to tell."""
    from contextlib import suppress

    from seal_cli.flags.model import quiet_libraries

    with suppress(Exception):
        quiet_libraries()


def _readable(finding: "Finding") -> "Finding":
    """Its texts, some of them from files and servers, on one line each and without control characters."""
    from dataclasses import replace

    advice = None if finding.advice is None else _one_line(finding.advice)
    return replace(finding, found=_one_line(finding.found), advice=advice)


def _one_line(text: str) -> str:
    from seal_cli.terminal.console import clean

    return " ".join(clean(text).split())


def _show(finding: "Finding", stdout: int | None) -> None:
    """A line on stderr, and one of JSON where there is a descriptor for it."""
    import json
    from dataclasses import asdict

    from seal_cli.runs.stdio import to_stdout
    from seal_cli.terminal.console import note, say

    advice = f" → {finding.advice}" if finding.advice else ""
    tell = say if finding.ok is False else note
    tell(f"{_WORDS[finding.ok]:<8}{finding.check}: {finding.found}{advice}")
    if stdout is not None:
        to_stdout(stdout, (json.dumps(asdict(finding), ensure_ascii=False) + "\n").encode("utf-8", "replace"))


def _close(findings: "list[Finding]", seconds: float) -> int:
    """The closing line, and the exit code: that of the worst finding."""
    from seal_cli import exit_codes
    from seal_cli.terminal.console import note
    from stages.doctor import SERVICES
    from stages.errors import BadConfig, Unavailable

    counts = [sum(finding.ok is state for finding in findings) for state in _WORDS]
    told = ", ".join(f"{count} {word}" for count, word in zip(counts, _WORDS.values(), strict=True))
    note(f"seal doctor: {told}, {seconds:.1f} s")
    bad = {finding.check for finding in findings if finding.ok is False}
    if not bad:
        return exit_codes.DONE
    return exit_codes.CODES[Unavailable if bad <= set(SERVICES) else BadConfig]
