"""The help: options under titles, no line cut off, and a wrong value named with its option."""

from collections.abc import Mapping, Sequence
from typing import Any

from typer.core import TyperCommand, TyperGroup

ARGUMENTS, OWN = "Arguments", "Options"  # own: what only this stage has
_TITLES: Mapping[str, Sequence[str]] = {  # of parameters; those that are not here are the stage's own
    "Training": (
        "rank",
        "alpha",
        "dropout",
        "target",
        "full",
        "learning_rate",
        "epochs",
        "batch_size",
        "micro_batch",
        "accumulation",
        "schedule",
        "warmup_steps",
        "max_grad_norm",
        "weight_decay",
        "pad_mode",
        "pad_to",
    ),
    "Sampling": ("temperature", "top_p", "max_tokens"),
    "Engine and device": (
        "engine",
        "trainer",
        "device",
        "dtype",
        "batch",
        "slots",
        "tokens_per_step",
        "max_loras",
        "memory_fraction",
    ),
    "Servers": ("base_url", "concurrency", "timeout", "retry_for", "cache", "emit_batch", "from_batch"),
    "Lines in and out": (
        "output",
        "overwrite",
        "journal",
        "limit",
        "shard",
        "seed",
        "rejects",
        "strict",
        "max_rejects",
        "allow_empty",
        "dry_run",
        "quiet",
        "help",
    ),
}
TITLE_OF = {name: title for title, names in _TITLES.items() for name in names}


class Command(TyperCommand):
    """A command whose help sorts its options under titles."""

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Arguments first, then the stage's own options, then those that it shares with others."""
        sections: dict[str, list[tuple[str, str]]] = {title: [] for title in (ARGUMENTS, OWN, *_TITLES)}
        for param in self.get_params(ctx):
            shown = param.get_help_record(ctx)
            if shown is not None:
                argument = param.param_type_name == "argument"
                sections[ARGUMENTS if argument else TITLE_OF.get(str(param.name), OWN)].append(shown)
        for title, rows in sections.items():
            if rows:
                with formatter.section(title):
                    formatter.write_dl(rows)


class Group(TyperGroup):
    """The commands with what each of them does, wrapped and not cut off."""

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        commands = [(name, self.get_command(ctx, name)) for name in self.list_commands(ctx)]
        with formatter.section("Commands"):
            formatter.write_dl([(name, command.short_help or "") for name, command in commands if command])


def wrong_value(error: Exception) -> str | None:
    """`--rank x: should be a valid integer` for a value that an option cannot take; None for other errors."""
    cause, param = error.__cause__, getattr(error, "param", None)
    if param is None or cause is None or not hasattr(cause, "errors"):
        return None
    first = cause.errors()[0]
    said = str(first["msg"]).removeprefix("Input ").removeprefix("Value error, ").partition(", unable to")[0]
    return f"{max(param.opts, key=len)} {first.get('input')}: {said.rstrip('.')}"
