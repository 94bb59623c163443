"""`seal generate`"""

from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

from annotated_types import Ge

from seal_cli.flags import options as opt
from seal_cli.flags.engine import EngineFlags
from seal_cli.flags.expand import Given, Without
from seal_cli.flags.forecast import ForecastFlags
from seal_cli.flags.run import InputFlags, RunFlags
from seal_cli.flags.service import BatchFlags
from stages.cluster.settings import Cluster
from stages.settings import Doc, ModelName, Sampling

TEMPLATES = (  # what a shell completes; the domains know them
    *("implications", "implications-long", "implications-very-long", "rewrite", "self-qa", "none"),
    *("entigraph", "mix:"),
    *("tools", "oracle", "oracle:"),
)


@dataclass(frozen=True)
class WritingFlags:
    """The fields of stages.generate.Generate that are its own."""

    panel: ClassVar[str] = opt.OWN_PANEL
    template: Annotated[
        str | None,
        Doc(
            "implications, implications-long, implications-very-long, rewrite, self-qa, none (passage only), "
            "entigraph (relations of entities, in several calls), or a file with {title} and {context}. mix:FILE takes "
            "one after the other of the templates that FILE names. For ARC: tools, oracle or oracle:FILE (a self-edit "
            "by hand), or a file with {demonstrations}.",
            "NAME|FILE",
            "--template -t",
            default=opt.describe_default("template"),
            values=TEMPLATES,
        ),
    ] = None
    samples: Annotated[
        int | None, Ge(1), Doc("Self-edits per task.", "N", "-k", default=opt.describe_default("samples"))
    ] = None
    budget_tokens: Annotated[
        int | None,
        Ge(1),
        Doc("Ask for self-edits until those of a task have N tokens, for -k (default 64) at most.", "N"),
    ] = None
    pairs: Annotated[int | None, Ge(0), Doc("entigraph: relations of two entities.", "N", default="5")] = None
    triples: Annotated[int | None, Ge(0), Doc("entigraph: relations of three entities.", "N", default="5")] = None
    retries: Annotated[
        int, Ge(0), Doc("Ask again up to N times where a self-edit cannot be read.", "N", "--retry-invalid")
    ] = 0
    unique: Annotated[bool, Doc("Leave out a self-edit that chooses what another of its task has chosen.")] = False
    structured: Annotated[bool, Doc("Let the engine (vllm, openai) write nothing but ARC's JSON.")] = False


def generate(
    run: RunFlags,
    lines: InputFlags,
    sampling: Given[Sampling],
    flags: WritingFlags,
    editor: Annotated[EngineFlags, Without("max_loras")],
    batches: BatchFlags,
    cluster: Cluster,
    forecast: ForecastFlags,
    model: ModelName = None,
    chat: opt.Chat = None,
    seed: opt.Seed = 0,
) -> int:
    """Let the model write its own training data for each task: k self-edits a task. task → edit lines.

    The editor may be another model than the student: the line says who wrote it. Lines leave as they are written. An
    ARC self-edit that cannot be read is kept, with the reason as its error, and is worth 0. Thoughts (<think> …) stay
    in edit.completion and are trained on by no stage; a self-edit that ends within its thought is unscored.

    entigraph asks for a passage's entities, then for a text about each of some pairs and triples of them; all of it is
    one self-edit. With --budget-tokens the last self-edit of a task is kept whole.

    With --engine openai, --emit-batch writes the calls to a file instead, for OpenAI's batch service, and the same
    command with --from-batch reads the answers.

    \b
    Examples:
      seal generate tasks.jsonl --model examples/tiny/model -k 5 -o edits.jsonl
      seal tasks squad.json --limit 3 | seal generate --model DIR -t self-qa | jq -r .edit.completion
      seal generate tasks.jsonl -t mix:examples/templates/mix.txt --budget-tokens 4000 -o edits.jsonl
      seal generate tasks.jsonl -t entigraph --pairs 10 --triples 0 -k 1 -o edits.jsonl
      seal generate tasks.jsonl --model DIR --dry-run --calibrate     (what it would cost)
      seal generate tasks.jsonl -t none            (the passage-only baseline; asks no model)
      seal tasks arc_challenges.json | seal generate --model DIR --retry-invalid 2 --unique -o edits.jsonl
      seal generate arc-tasks.jsonl -t oracle      (test-time training by hand; asks no model)
      seal generate tasks.jsonl --engine openai --model gpt-4.1 -o edits.jsonl
      seal generate tasks.jsonl --engine openai --base-url http://localhost:8000/v1 --model NAME
    """
    from seal_cli.runs.drive import drive  # late, as all that a run needs: help does without
    from seal_cli.runs.engines import select_engine
    from stages.generate import Generate, names_fixed_edit

    asks_server = editor.served and not names_fixed_edit(flags.template)
    batches.check(run, served=asks_server, needs="--engine openai", unused=editor.service.given())
    editor.check(asks=not batches)
    engine = select_engine(editor, model, structured=flags.structured, answers=batches.answers)
    more: dict[str, Any] = {"sampling": sampling.values, "chat": chat, "seed": seed, "batched": bool(batches)}
    return drive(Generate(engine, **vars(flags), **more), lines, run, batches, cluster, forecast=forecast)
