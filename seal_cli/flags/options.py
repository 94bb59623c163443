"""Flags that several commands share: one name, one meaning, one help text."""

from collections.abc import Callable
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from stages.errors import BadConfig


class Ties(StrEnum):
    first = "first"
    random = "random"
    shortest = "shortest"


class Unscored(StrEnum):
    leave_out = "leave-out"
    pessimistic = "pessimistic"


class Unanswerable(StrEnum):
    leave_out = "leave-out"
    keep = "keep"


class Schedule(StrEnum):
    linear = "linear"
    cosine = "cosine"
    constant = "constant"


def token_budget(value: str) -> int | None:
    """auto, or a number of tokens. Raises BadConfig for anything else."""
    if value == "auto":
        return None
    if value.isdecimal() and int(value):
        return int(value)
    raise BadConfig(f"--tokens-per-step {value}: take auto or a number of tokens, for example 4096")


def offer(*values: str) -> Callable[[str], list[str]]:
    """Completes an option's value in the shell from these."""

    def complete(incomplete: str) -> list[str]:
        return [value for value in values if value.startswith(incomplete)]

    return complete


JUDGES = ("exact", "lexical", "openai:gpt-4.1", "command:")

Input = Annotated[
    Path | None, typer.Argument(metavar="FILE", help="JSON lines; - or nothing reads stdin.", show_default=False)
]
Output = Annotated[
    Path | None,
    typer.Option("--output", "-o", metavar="FILE", help="Write here, complete or not at all, instead of to stdout."),
]
Overwrite = Annotated[
    bool,
    typer.Option(
        "--overwrite", help="Replace the output if it exists, and what an interrupted run with other settings left."
    ),
]
Journal = Annotated[
    Path | None,
    typer.Option(
        "--journal",
        metavar="DIR",
        help="In a pipe: keep finished lines here too. The same command again passes them on and goes on.",
        show_default=False,
    ),
]
Rejects = Annotated[
    Path | None,
    typer.Option("--rejects", metavar="FILE", help="Write bad input lines here, with the reason.", show_default=False),
]
Strict = Annotated[bool, typer.Option("--strict", help="Stop at the first bad input line.")]
MaxRejects = Annotated[int, typer.Option(metavar="N", min=0, help="Bad input lines after which to stop.")]
MOST_REJECTS = 100
AllowEmpty = Annotated[
    bool, typer.Option("--allow-empty", help="Take an input without lines: the output then has none either.")
]
Limit = Annotated[int | None, typer.Option(metavar="N", min=1, help="Stop after N input lines.", show_default=False)]
Shard = Annotated[
    str | None, typer.Option(metavar="I/N", help="Work on part I of N; a task falls to a part by its id.")
]
Seed = Annotated[int, typer.Option(metavar="S", help="The run's seed; each record derives its own from it.")]
Model = Annotated[
    str | None,
    typer.Option(metavar="DIR|NAME", help="A model directory or hub name. [default: the one that the lines name]"),
]
RequiredModel = Annotated[str, typer.Option(metavar="DIR|NAME", help="A model directory or hub name.")]
Engine = Annotated[
    str,
    typer.Option(
        metavar="NAME",
        help="Who samples: hf (transformers), vllm, openai (a server), or package.module:Class.",
        autocompletion=offer("hf", "vllm", "openai"),
    ),
]
DeviceName = Annotated[
    str,
    typer.Option(
        "--device", metavar="NAME", help="auto, cpu, cuda or cuda:N.", autocompletion=offer("auto", "cpu", "cuda")
    ),
]
Dtype = Annotated[
    str,
    typer.Option(
        metavar="NAME",
        help="auto, float32 or bfloat16. auto: bfloat16 on a GPU alone.",
        autocompletion=offer("auto", "float32", "bfloat16"),
    ),
]
Batch = Annotated[
    int | None,
    typer.Option("--batch", metavar="N", min=1, help="Most completions at once. [default: 64, vllm: 256]"),
]
Chat = Annotated[
    bool | None,
    typer.Option(
        "--chat/--no-chat",
        help="Put prompts through the model's chat template. [default: no; yes for ARC and for OpenAI's own models]",
        show_default=False,
    ),
]
BaseUrl = Annotated[
    str | None,
    typer.Option(
        metavar="URL",
        help="The server of --engine openai; key: OPENAI_API_KEY. [default: OpenAI's]",
        show_default=False,
    ),
]
Concurrency = Annotated[
    int | None, typer.Option(metavar="N", min=1, help="Most calls to a server at once. [default: 16]")
]
Timeout = Annotated[
    float | None,
    typer.Option(
        metavar="S",
        min=0.1,
        help="Seconds for an answer of a server, or of a command:… judge. [default: 600; of openai:… 60]",
    ),
]
RetryFor = Annotated[
    float | None,
    typer.Option(metavar="S", min=0.0, help="Seconds for which a call that fails is tried again. [default: 300]"),
]
MaxLoras = Annotated[
    int | None,
    typer.Option(
        metavar="N", min=1, help="Adapters at once on the device (vllm), on the server (openai). [default: 8]"
    ),
]
MemoryFraction = Annotated[
    float | None,
    typer.Option(metavar="F", min=0.01, max=1.0, help="Share of the GPU that vllm takes. [default: 0.9]"),
]
EmitBatch = Annotated[
    Path | None,
    typer.Option("--emit-batch", metavar="FILE", help="Write the calls here for a batch service; send none."),
]
FromBatch = Annotated[
    list[Path] | None,
    typer.Option("--from-batch", metavar="FILE", help="Take the answers from what the batch service gave; repeat."),
]
Judge = Annotated[
    str,
    typer.Option(
        "--judge",
        "-j",
        metavar="NAME",
        help="exact, lexical, openai:MODEL[@URL], command:PROGRAM, or package.module:Class.",
        autocompletion=offer(*JUDGES),
    ),
]
Cache = Annotated[
    str | None,
    typer.Option(
        metavar="FILE|none",
        help="Where verdicts of openai:… are kept. [default: seal/verdicts.sqlite in the user's cache]",
        show_default=False,
    ),
]
JudgeMaxTokens = Annotated[
    int | None,
    typer.Option(
        "--judge-max-tokens",
        metavar="N",
        min=1,
        help="Most tokens of an answer of openai:…; a judge that thinks needs some thousand. [default: 16]",
        show_default=False,
    ),
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Check the input and the model, say what would be done, stop.")]
Quiet = Annotated[
    bool, typer.Option("--quiet", "-q", help="Only errors and rejected lines on stderr: no progress, no counts.")
]
