"""`seal generate`"""

from dataclasses import dataclass, replace
from typing import Annotated, ClassVar

import typer

from seal_cli.flags import engine as engines
from seal_cli.flags import options as opt
from seal_cli.flags.batch import BatchFlags
from seal_cli.flags.domain import domain_of, refuse_asking, refuse_writing
from seal_cli.flags.engine import EngineFlags
from seal_cli.flags.given import Given, Without
from seal_cli.flags.model import identity_of
from seal_cli.flags.run import InputFlags, RunFlags
from seal_cli.runs.contexts import count_crowded
from seal_cli.runs.run import Run
from seal_cli.runs.stdio import input_records
from seal_cli.terminal.console import note
from stages import generate as stage
from stages.domains.base import DOMAINS, Domain
from stages.interfaces import Sampling
from stages.plugins import load_class
from stages.scoring.duplicates import EditTracker

TEMPLATES = (  # what a shell completes; the domains know them
    *("implications", "implications-long", "implications-very-long", "rewrite", "self-qa", "none"),
    *("tools", "oracle", "oracle:"),
)


@dataclass(frozen=True)
class WritingFlags:
    """How self-edits are asked for."""

    panel: ClassVar[str] = "Options"
    template: Annotated[
        str | None,
        typer.Option(
            "--template",
            "-t",
            metavar="NAME|FILE",
            help="implications, implications-long, implications-very-long, rewrite, self-qa, none (passage only), "
            "or a file with {title} and {context}. For ARC: tools, oracle or oracle:FILE (a self-edit by hand), or a "
            f"file with {{demonstrations}}. [default: {opt.default('template')}]",
            autocompletion=opt.offer(*TEMPLATES),
        ),
    ] = None
    k: Annotated[
        int | None,
        typer.Option("-k", metavar="N", min=1, help=f"Self-edits per task. [default: {opt.default('samples')}]"),
    ] = None
    retry_invalid: Annotated[
        int, typer.Option(metavar="N", min=0, help="Ask again up to N times where a self-edit cannot be read.")
    ] = 0
    unique: Annotated[
        bool,
        typer.Option("--unique", help="Leave out a self-edit that chooses what another of its task has chosen."),
    ] = False
    structured: Annotated[
        bool, typer.Option("--structured", help="Let the engine (vllm, openai) write nothing but ARC's JSON.")
    ] = False


def generate(
    run: RunFlags,
    lines: InputFlags,
    sampling: Given[Sampling],
    flags: WritingFlags,
    editor: Annotated[EngineFlags, Without("max_loras")],
    batches: BatchFlags,
    model: opt.Model = None,
    chat: opt.Chat = None,
    seed: opt.Seed = 0,
) -> int:
    """Let the model write its own training data for each task: k self-edits a task. task → edit lines.

    The editor may be another model than the student: the line says who wrote it. Lines leave as they are written. An
    ARC self-edit that cannot be read is kept, with the reason as its error, and is worth 0. Thoughts (<think> …) stay
    in edit.completion and are trained on by no stage; a self-edit that ends within its thought is unscored.

    With --engine openai, --emit-batch writes the calls to a file instead, for OpenAI's batch service, and the same
    command with --from-batch reads the answers.

    \b
    Examples:
      seal generate tasks.jsonl --model examples/tiny/model -k 5 -o edits.jsonl
      seal tasks squad.json --limit 3 | seal generate --model DIR -t self-qa | jq -r .edit.completion
      seal generate tasks.jsonl -t none            (the passage-only baseline; asks no model)
      seal tasks arc_challenges.json | seal generate --model DIR --retry-invalid 2 --unique -o edits.jsonl
      seal generate arc-tasks.jsonl -t oracle      (test-time training by hand; asks no model)
      seal generate tasks.jsonl --engine openai --model gpt-4.1 -o edits.jsonl
      seal generate tasks.jsonl --engine openai --base-url http://localhost:8000/v1 --model NAME
    """
    bad = lines.open_rejects(run.output)
    editor = replace(editor, structured=flags.structured)
    with Run(
        "generate", output=run.output, overwrite=run.overwrite, journal=run.journal, rejects=bad, dry=run.dry_run
    ) as current:
        asks_model = editor.served and not by_hand(flags.template)
        batches.check(run, served=asks_model, needs="--engine openai", unused=editor.service.given())
        editor.check(asks=not batches)
        records = current.read(input_records(lines.file, refuse=bad), **lines.selection, allow_empty=lines.allow_empty)
        if current.empty:
            if batches.emit:
                batches.write("generate", ())
            return current.write_none(lines.selection)
        records = current.sift(records, stage.Writable())
        kind, defaults = domain_of(current.domains)
        domain: Domain = load_class("the domain", kind, DOMAINS)()
        retries = flags.retry_invalid
        refuse_writing(kind, editor.name, bool(batches), retries, unique=flags.unique, structured=flags.structured)
        chosen, samples = flags.template or defaults.template, flags.k or defaults.samples
        selected = {"template": chosen, **lines.selection}
        written = domain.get_fixed_edit(chosen)
        text = domain.template_text(chosen) if written is None else written
        if written is not None:
            asking = {"k": flags.k, **sampling.values}
            refuse_asking(chosen, **asking, retry_invalid=retries or None, unique=flags.unique or None)
            plan = stage.plan(records, samples=1)
            if run.dry_run:
                current.would(f"write {len(plan.wanted)} self-edits without asking a model", Sampling())
                return current.code
            current.settle({**selected, **({"text": text} if text else {})}, plan)
            current.produce(
                lambda: None, lambda _, keys, progress: stage.by_hand(records, domain, chosen, written, keys=set(keys))
            )
            return current.code
        chats = (defaults.chat or editor.chats) if chat is None else chat
        asked = sampling.over(defaults.writing, seed=seed)
        writing = stage.Writing(domain, chosen, samples, asked, chats, retries, flags.unique, flags.structured)
        stage.check_template(records, writing)
        plan = stage.plan(records, samples=samples, unique=flags.unique)
        name = editor.choose(model, current.editors)
        if run.dry_run:
            current.would(f"ask {name} for {len(plan.wanted)} self-edits", writing.sampling)
            count_crowded(current, name, (request.prompt for request in stage.requests(records, writing)))
            return current.code
        if batches.emit:
            batches.write("generate", editor.calls(name, stage.requests(records, writing)))
            return current.code
        writing = replace(writing, identity=name if editor.served else identity_of(name))
        current.settle({**selected, "text": text, **stage.settings(writing), **editor.settings(name)}, plan)
        current.produce(
            lambda: (editor.load(name, transport=batches.answers()), EditTracker(current.known)),
            lambda loaded, keys, progress: stage.run(
                records, loaded[0], writing, keys=set(keys), seen=loaded[1], progress=progress
            ),
            tell=lambda loaded: tell(*loaded, read=domain.schema() is not None),
        )
    return current.code


def by_hand(template: str | None) -> bool:
    """Whether a template's name says that no model is asked, whatever the domain."""
    return template is not None and template.partition(":")[0] in ("none", "oracle")


def tell(engine: object, choices: EditTracker, *, read: bool) -> None:
    """Calls and cost of a server; with `read` also how many completions could be read."""
    engines.tell("generate", engine)
    if read:
        note(f"seal generate: {choices.summary}")
