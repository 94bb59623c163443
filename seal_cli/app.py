"""The `seal` command: its subcommands, and how each of them ends."""

import atexit
import gc
import os
import sys
from collections.abc import Callable, Mapping
from functools import wraps
from inspect import Parameter, signature
from math import isfinite
from typing import Annotated

import typer

from seal_cli.commands.adapt import adapt
from seal_cli.commands.doctor import doctor
from seal_cli.commands.eval import evaluate
from seal_cli.commands.filter import filter_scores
from seal_cli.commands.gc import collect
from seal_cli.commands.generate import generate
from seal_cli.commands.judge import judge
from seal_cli.commands.merge import merge
from seal_cli.commands.report import report, schema
from seal_cli.commands.sft import sft
from seal_cli.commands.tasks import tasks
from seal_cli.flags.options import Quiet
from seal_cli.help import Command, Group, wrong_value
from seal_cli.terminal.console import be_quiet, clean

HELP = """Self-adapting language models from the shell (SEAL, arXiv 2506.10943).

Each stage reads a JSON object per line and writes it with one more section.

\b
One round on the tiny model:
  seal tasks examples/tiny/train.jsonl --sample 20 |
    seal generate --model examples/tiny/model -k 3 --max-tokens 170 |
    seal adapt --out run/adapters --rank 8 --alpha 16 --target all-linear
      --learning-rate 6e-3 --schedule constant --epochs 4 |
    seal eval --judge exact | seal filter -o run/sft.jsonl
  seal sft run/sft.jsonl --model examples/tiny/model --out run/model

After a crash, run the same command again: with -o FILE, or --journal DIR in a pipe, it goes on where it was.

Exit codes: 0 done, 2 usage, 3 some records failed, unscored or rejected, 65 bad input, 66 input missing, 69 service
unavailable, 70 bug, 73 output exists, 74 input/output error, 75 try again (out of memory, or output in use), 77 refused
by a service (no key, or a bad one), 78 bad configuration, 130 interrupted, 141 closed pipe.
"""

COMMANDS: dict[str, tuple[Callable[..., int], str]] = {
    "tasks": (tasks, "source → task lines"),
    "generate": (generate, "task → edit lines: the model writes its own training data"),
    "adapt": (adapt, "edit → adapter lines, and PEFT directories"),
    "eval": (evaluate, "adapter → score lines: answers without the passage"),
    "judge": (judge, "score → score lines: stored answers graded by another judge"),
    "filter": (filter_scores, "score → sft lines: the best self-edits"),
    "sft": (sft, "sft lines → a model directory, the next round's --model"),
    "report": (report, "score lines → a table and a plot"),
    "merge": (merge, "the shards of a run → its lines"),
    "gc": (collect, "a run → its adapters that no line names, listed or removed"),
    "doctor": (doctor, "what is wrong with this machine or model, and what to type"),
    "schema": (schema, "the JSON Schema of every line"),
}


def _guarded(name: str, command: Callable[..., int]) -> Callable[..., int]:
    """The command with `--quiet`, and with every way of ending turned into an exit code and a plain message."""

    @wraps(command)
    def run(*arguments: object, quiet: bool = False, **options: object) -> int:
        from seal_cli import exit_codes
        from seal_cli.runs.stdio import UsageError

        if quiet:
            be_quiet()
        exit_codes.exit_on_signals()
        try:
            _check_numbers(name, options)
            return command(*arguments, **options)
        except UsageError as error:
            sys.stderr.write(f"seal: {error}\n")
            return exit_codes.USAGE
        except (Exception, KeyboardInterrupt) as error:  # noqa: BLE001
            return exit_codes.report(error)

    asked = signature(command)
    more = Parameter("quiet", Parameter.KEYWORD_ONLY, default=False, annotation=Quiet)
    run.__signature__ = asked.replace(parameters=[*asked.parameters.values(), more])  # type: ignore[attr-defined]
    run.__annotations__ = {**command.__annotations__, "quiet": Quiet}
    return run


def _check_numbers(command: str, options: Mapping[str, object]) -> None:
    """Raises UsageError for infinity and nan: JSON lines, which say what was asked for, have no such number."""
    from seal_cli.runs.stdio import UsageError

    for name, value in options.items():
        if isinstance(value, float) and not isfinite(value):
            raise UsageError(
                f"--{name.replace('_', '-')} {value}: should be a finite number (see `seal {command} --help`)"
            )


def make_app() -> typer.Typer:
    settings = {"help_option_names": ["-h", "--help"]}
    app = typer.Typer(
        cls=Group,
        help=HELP,
        no_args_is_help=True,
        add_completion=True,
        rich_markup_mode=None,
        context_settings=settings,
    )
    for name, (command, does) in COMMANDS.items():
        bare = name in ("tasks", "report")
        app.command(name, cls=Command, short_help=does, no_args_is_help=bare)(_guarded(name, command))
    app.callback()(_start)
    return app


def _show_version(wanted: bool) -> None:
    """Prints the version of the installed package and ends."""
    if wanted:
        from seal_cli.runs.manifest import version_of

        sys.stdout.write(f"seal {version_of('seal-toolkit') or 'from a checkout that is not installed'}\n")
        raise typer.Exit


def _start(
    version: Annotated[
        bool, typer.Option("--version", is_eager=True, callback=_show_version, help="Print seal's version and end.")
    ] = False,
) -> None:
    """What comes before a command."""


def main() -> None:
    """The console script. A command's return value is the exit code."""
    _see_to_stderr()
    _spare_the_collector()
    _sum_alike()
    app = make_app()
    try:
        code = app(prog_name="seal", standalone_mode=False)
    except typer.Abort:
        code = 130
    except Exception as error:  # noqa: BLE001
        code = usage_error(error)
    sys.exit(code or 0)


def _see_to_stderr() -> None:
    """Who closed it (`2>&-`) wants to hear nothing. Records have a descriptor of their own; fd 1 is pointed there."""
    if sys.stderr is None:
        sys.stderr = open(os.devnull, "w")  # noqa: SIM115, PTH123
        os.dup2(sys.stderr.fileno(), 2)


def _spare_the_collector() -> None:
    """A second less for each stage: what torch and transformers make on import stays until the process ends anyway.

    Cycles are still collected, only less often, and what is left at the end is left to the system.
    """
    gc.set_threshold(100_000, 20, 20)
    atexit.register(gc.freeze)


def _sum_alike() -> None:
    """Makes MKL take each row of a matrix product the same way, however many rows there are (Intel's strict CNR).

    One of the things that make an adapter the same to the last bit in any company (stages/checks/invariance.py). It
    costs nothing that can be measured. Must be set before torch is imported.
    """
    os.environ.setdefault("MKL_CBWR", "AUTO,STRICT")


def usage_error(error: Exception) -> int:
    """A wrong command line, said in one line with the way to the help."""
    show = getattr(error, "format_message", None)
    if show is None:
        raise error
    context = getattr(error, "ctx", None)
    path = context.command_path if context else "seal"
    bare = type(error).__name__ == "NoArgsIsHelpError"  # its message is the whole help
    said = wrong_value(error) or show()
    sys.stderr.write(f"{said}\n" if bare else clean(f"seal: {said} (see `{path} --help`)\n"))
    return getattr(error, "exit_code", 2)
