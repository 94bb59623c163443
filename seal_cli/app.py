"""The `seal` command: its subcommands, each imported when first used, and how their errors become exit codes."""

import atexit
import gc
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache, wraps
from importlib import import_module
from inspect import Parameter, Signature, signature
from math import isfinite
from typing import Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup

from seal_cli.exit_codes import CLOSED_PIPE, INTERRUPTED, USAGE, UsageError, exit_on_signals, report_error
from seal_cli.flags.expand import expand
from seal_cli.flags.options import LINES_PANEL, OWN_PANEL, Domains, Quiet
from seal_cli.terminal.console import be_quiet, strip_control, write_stderr
from stages.plugins import allow_domain

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

COMMANDS = {  # name: (where it is, what it does)
    "tasks": ("seal_cli.commands.tasks:tasks", "source → task lines"),
    "quiz": ("seal_cli.commands.quiz:quiz", "task → task lines: the model writes the questions"),
    "generate": ("seal_cli.commands.generate:generate", "task → edit lines: the model writes its own training data"),
    "adapt": ("seal_cli.commands.adapt:adapt", "edit → adapter lines, and PEFT directories"),
    "eval": ("seal_cli.commands.eval:evaluate", "adapter → score lines: answers without the passage"),
    "ask": ("seal_cli.commands.ask:ask", "questions of your own → answers, with adapters and without"),
    "judge": ("seal_cli.commands.judge:judge", "score → score lines: stored answers graded by another judge"),
    "rate": ("seal_cli.commands.rate:rate", "edit → score lines: rated by a rubric, without training"),
    "filter": ("seal_cli.commands.filter:filter_scores", "score → sft lines: the best self-edits"),
    "sft": ("seal_cli.commands.sft:sft", "sft lines → a model directory, the next round's --model"),
    "report": ("seal_cli.commands.report:report", "score lines → a table and a plot"),
    "export": ("seal_cli.commands.export:export", "an adapter → a merged model, PEFT, GGUF, Ollama, vLLM"),
    "import": ("seal_cli.commands.import_gguf:import_gguf", "a GGUF file → a model directory"),
    "card": ("seal_cli.commands.card:make_card", "a run → what its update taught, cost and broke, and a gate"),
    "merge": ("seal_cli.commands.merge:merge", "the shards of a run → its lines"),
    "gc": ("seal_cli.commands.gc:collect_waste", "a run → its adapters that no line names, listed or removed"),
    "rollback": ("seal_cli.commands.rollback:roll_back", "a run → its `current` adapter is the one before"),
    "accept": ("seal_cli.commands.accept:accept", "adapter → whether an engine answers with it, as it was trained"),
    "doctor": ("seal_cli.commands.doctor:doctor", "what is wrong with this machine or model, and what to type"),
    "plan": ("seal_cli.commands.plan:plan", "forecasts or manifests → what a chain of stages costs"),
    "schema": ("seal_cli.commands.schema:schema", "the JSON Schema of every line"),
}
# which read tasks, of any domain
_READS_TASKS = ("quiz", "generate", "adapt", "eval", "judge", "rate", "filter", "report", "merge")
_NEEDS_ARGUMENTS = ("tasks", "report", "card")  # without any, they show their help
_SETTINGS = {"help_option_names": ["-h", "--help"]}
_ARGUMENTS = "Arguments"
PANELS = (
    _ARGUMENTS,
    OWN_PANEL,
    "Retrieval",
    "Pools",
    "Training",
    "Sampling",
    "Judge",
    "Engine and device",
    "Cluster",
    "Servers",
    "Forecast (with --dry-run)",
    LINES_PANEL,
)


class _Commands(Mapping[str, Any]):
    """The commands by name, each imported when it is asked for."""

    def __getitem__(self, name: str) -> Any:
        return _load_command(name)

    def __iter__(self) -> Iterator[str]:
        return iter(COMMANDS)

    def __len__(self) -> int:
        return len(COMMANDS)


class _Group(TyperGroup):
    """All commands. The help says what each of them does, wrapped and not cut off, and imports none."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**{**settings, "commands": _Commands()})

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        for option in self.get_params(ctx):
            option.process_value = _skip_absent(option.process_value)  # type: ignore[method-assign]
        return super().parse_args(ctx, args)

    def list_commands(self, ctx: Any) -> list[str]:
        return [*COMMANDS]

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, does) for name, (_, does) in COMMANDS.items()])


def _skip_absent(process: Callable[..., Any]) -> Callable[..., Any]:
    """Leave an option that is not given as it is: typer would load pydantic to check nothing."""
    return lambda ctx, value: None if value is None else process(ctx, value)


class _TitledCommand(TyperCommand):
    """A command whose help sorts its options under titles, and cuts no line off."""

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Write arguments first, then the stage's own options, then those that it shares with others."""
        params = self.get_params(ctx)
        for panel in PANELS:
            rows = [param.get_help_record(ctx) for param in params if _panel_of(param) == panel]
            if any(rows):
                with formatter.section(panel):
                    formatter.write_dl([row for row in rows if row])


def _panel_of(param: Any) -> str:
    """Return the title that a parameter stands under."""
    if param.param_type_name == "argument":
        return _ARGUMENTS
    return LINES_PANEL if param.name == "help" else param.rich_help_panel or OWN_PANEL


@cache
def _load_command(name: str) -> Any:
    """Import a command and read its options. Raises KeyError for an unknown one."""
    place, does = COMMANDS[name]
    module, _, function = place.partition(":")
    app = typer.Typer(rich_markup_mode=None, add_completion=False, context_settings=_SETTINGS)
    declare = app.command(name, cls=_TitledCommand, short_help=does, no_args_is_help=name in _NEEDS_ARGUMENTS)
    declare(_guard(name, expand(getattr(import_module(module), function))))
    return typer.main.get_command(app)


def _guard(name: str, command: Callable[..., int]) -> Callable[..., int]:
    """Add what every command has, and turn every way in which it may end into an exit code and a plain message."""

    @wraps(command)
    def run(*, quiet: bool = False, allowed: Sequence[str] = (), **options: object) -> int:
        if quiet:
            be_quiet()
        try:
            with exit_on_signals():
                for domain in allowed:
                    allow_domain(domain)
                _refuse_infinite(name, options)
                return command(**options)
        except (Exception, KeyboardInterrupt) as error:  # noqa: BLE001 — every way to end has an exit code, bugs too
            return report_error(error)

    options = [*signature(command).parameters.values()]
    if name in _READS_TASKS:
        options.append(Parameter("allowed", Parameter.KEYWORD_ONLY, default=(), annotation=Domains))
    options.append(Parameter("quiet", Parameter.KEYWORD_ONLY, default=False, annotation=Quiet))
    run.__signature__ = Signature(options)  # type: ignore[attr-defined]
    run.__annotations__ = {option.name: option.annotation for option in options}
    return run


def _refuse_infinite(command: str, options: Mapping[str, object]) -> None:
    """Raise UsageError for infinity and nan: JSON lines, which say what was asked for, have no such number."""
    for name, value in options.items():
        if isinstance(value, float) and not isfinite(value):
            flag = f"--{name.replace('_', '-')}"
            raise UsageError(f"{flag} {value}: should be a finite number (see `seal {command} --help`)")


def make_app() -> typer.Typer:
    """Build the app with all its commands."""
    app = typer.Typer(
        cls=_Group,
        help=HELP,
        no_args_is_help=True,
        add_completion=True,
        rich_markup_mode=None,
        context_settings=_SETTINGS,
    )
    app.callback()(_start)
    return app


def _show_version(wanted: bool) -> None:
    """Print the version of the installed package and end."""
    if wanted:
        from seal_cli.runs.manifest import version_of  # importlib.metadata, which help does without

        typer.echo(f"seal {version_of('seal-toolkit') or 'from a checkout that is not installed'}")
        raise typer.Exit


def _start(
    version: Annotated[
        bool, typer.Option("--version", is_eager=True, callback=_show_version, help="Print seal's version and end.")
    ] = False,
) -> None:
    """Take the flags that stand before a command."""


def main() -> None:
    """The console script. A command's return value is the exit code."""
    _repair_streams()
    _reduce_gc()
    _use_reproducible_matmul()
    sys.exit(run_app())


def run_app(arguments: Sequence[str] | None = None) -> int:
    """Run a command line, or the process's own, and return its exit code."""
    try:
        return make_app()(arguments, prog_name="seal", standalone_mode=False) or 0
    except typer.Abort:
        return INTERRUPTED
    except SystemExit as end:
        if isinstance(end.__context__, BrokenPipeError):  # typer's way of saying so
            return CLOSED_PIPE
        raise
    except Exception as error:  # noqa: BLE001 — of typer's own classes, and of a command that cannot be imported
        return _report_usage(error) if hasattr(error, "format_message") else report_error(error)


def _repair_streams() -> None:
    """Put /dev/null where a stream is closed (`2>&-`), or the next file that is opened would take its place.

    stdout can then not be written, so that lines are never lost in silence. A pipe that another program has left
    non-blocking blocks again: there Python takes the lines that have not come yet for the end.
    """
    for descriptor, mode in ((0, os.O_RDONLY), (1, os.O_RDONLY), (2, os.O_WRONLY)):
        try:
            os.set_blocking(descriptor, True)
        except OSError:
            os.set_inheritable(os.open(os.devnull, mode), True)  # it has the lowest number that is free
    if sys.stderr is None:
        sys.stderr = open(2, "w", closefd=False)  # noqa: SIM115


def _reduce_gc() -> None:
    """Collect garbage less often, which saves each stage a second: what torch makes on import stays anyway."""
    gc.set_threshold(100_000, 20, 20)
    atexit.register(gc.freeze)


def _use_reproducible_matmul() -> None:
    """Make MKL take each row of a matrix product the same way, however many rows there are (Intel's strict CNR).

    One of the things that make an adapter the same to the last bit in any company (stages/checks/invariance.py). It
    costs nothing that can be measured. Must be set before torch is imported.
    """
    os.environ.setdefault("MKL_CBWR", "AUTO,STRICT")


def _report_usage(error: Any) -> int:
    """Say in one line what is wrong with a command line, with the way to the help. Return the exit code."""
    path = error.ctx.command_path if getattr(error, "ctx", None) else "seal"
    bare = type(error).__name__ == "NoArgsIsHelpError"  # its message is the whole help
    message = _explain_value(error) or error.format_message()
    write_stderr(f"{message}\n" if bare else strip_control(f"seal: {message} (see `{path} --help`)\n"))
    return getattr(error, "exit_code", USAGE)


def _explain_value(error: Exception) -> str | None:
    """`--rank x: should be a valid integer` for a value that an option cannot take; None for other errors."""
    cause, param = error.__cause__, getattr(error, "param", None)
    if param is None or cause is None or not hasattr(cause, "errors"):
        return None
    first = cause.errors()[0]
    reason = str(first["msg"]).removeprefix("Input ").removeprefix("Value error, ").partition(", unable to")[0]
    return f"{max(param.opts, key=len)} {first.get('input')}: {reason.rstrip('.')}"
