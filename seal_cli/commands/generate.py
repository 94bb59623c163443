"""`seal generate`"""

from typing import TYPE_CHECKING, Annotated

import typer

from seal_cli.flags import options as opt
from seal_cli.flags.domain import default
from stages.interfaces import Sampling

if TYPE_CHECKING:
    from stages.scoring.duplicates import Choices

_TEMPLATES = (  # what a shell completes; the domains know them
    *("implications", "implications-long", "implications-very-long", "rewrite", "self-qa", "none"),
    *("tools", "oracle", "oracle:"),
)


def generate(
    file: opt.Input = None,
    model: opt.Model = None,
    template: Annotated[
        str | None,
        typer.Option(
            "--template",
            "-t",
            metavar="NAME|FILE",
            help="implications, implications-long, implications-very-long, rewrite, self-qa, none (passage only), "
            "or a file with {title} and {context}. For ARC: tools, oracle or oracle:FILE (a self-edit by hand), or a "
            f"file with {{demonstrations}}. {default('template')}",
            autocompletion=opt.offer(*_TEMPLATES),
        ),
    ] = None,
    k: Annotated[
        int | None, typer.Option("-k", metavar="N", min=1, help=f"Self-edits per task. {default('samples')}")
    ] = None,
    temperature: Annotated[
        float | None,
        typer.Option(metavar="T", min=0.0, help=f"0 is greedy. {default('writing', 'temperature')}"),
    ] = None,
    top_p: Annotated[
        float | None,
        typer.Option(
            metavar="P", min=0.0, max=1.0, help=f"Nucleus sampling; 1 keeps all tokens. {default('writing', 'top_p')}"
        ),
    ] = None,
    max_tokens: Annotated[
        int | None,
        typer.Option(metavar="N", min=1, help=f"Most tokens of a completion. {default('writing', 'max_tokens')}"),
    ] = None,
    retry_invalid: Annotated[
        int, typer.Option(metavar="N", min=0, help="Ask again up to N times where a self-edit cannot be read.")
    ] = 0,
    unique: Annotated[
        bool,
        typer.Option("--unique", help="Leave out a self-edit that chooses what another of its task has chosen."),
    ] = False,
    structured: Annotated[
        bool,
        typer.Option("--structured", help="Let the engine (vllm, openai) write nothing but ARC's JSON."),
    ] = False,
    chat: opt.Chat = None,
    output: opt.Output = None,
    overwrite: opt.Overwrite = False,
    journal: opt.Journal = None,
    limit: opt.Limit = None,
    shard: opt.Shard = None,
    seed: opt.Seed = 0,
    rejects: opt.Rejects = None,
    strict: opt.Strict = False,
    max_rejects: opt.MaxRejects = opt.MOST_REJECTS,
    allow_empty: opt.AllowEmpty = False,
    dry_run: opt.DryRun = False,
    engine: opt.Engine = "hf",
    device: opt.DeviceName = "auto",
    dtype: opt.Dtype = "auto",
    batch: opt.Batch = None,
    memory_fraction: opt.MemoryFraction = None,
    base_url: opt.BaseUrl = None,
    concurrency: opt.Concurrency = None,
    timeout: opt.Timeout = None,
    retry_for: opt.RetryFor = None,
    emit_batch: opt.EmitBatch = None,
    from_batch: opt.FromBatch = None,
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

    from dataclasses import replace

    from seal_cli.flags import engine as engines
    from seal_cli.flags.batch import Batches
    from seal_cli.flags.domain import domain_of, refuse_asking, refuse_writing, sampling
    from seal_cli.flags.model import identity_of
    from seal_cli.flags.service import ServiceFlags
    from seal_cli.runs.contexts import count_crowded
    from seal_cli.runs.rejects import Rejects
    from seal_cli.runs.run import Run
    from seal_cli.runs.stdio import input_records
    from stages import generate as stage
    from stages.domains.base import DOMAINS, Domain
    from stages.plugins import load_class
    from stages.scoring.duplicates import Choices

    service = ServiceFlags(concurrency, timeout, retry_for)
    editor = engines.EngineFlags(engine, device, dtype, batch, base_url, None, memory_fraction, service, structured)
    batches = Batches("generate", emit_batch, from_batch, output)
    bad = Rejects(rejects, strict=strict, most=max_rejects, others=(file, output))
    with Run("generate", output=output, overwrite=overwrite, journal=journal, rejects=bad, dry=dry_run) as run:
        asks_model = editor.served and not _by_hand(template)
        batches.check(asks_model, "--engine openai", overwrite=overwrite, unused=service.given())
        editor.check(asks=not batches)
        records = run.read(input_records(file, refuse=bad), limit=limit, shard=shard, allow_empty=allow_empty)
        if run.empty:
            if emit_batch:
                batches.emit(())
            return run.write_none({"limit": limit, "shard": shard})
        records = run.sift(records, stage.Writable())
        kind, defaults = domain_of(run.domains)
        domain: Domain = load_class("the domain", kind, DOMAINS)()
        refuse_writing(kind, engine, bool(batches), retry_invalid, unique=unique, structured=structured)
        chosen, samples = template or defaults.template, k or defaults.samples
        selected = {"template": chosen, "limit": limit, "shard": shard}
        written = domain.written(chosen)
        text = domain.text_of(chosen) if written is None else written
        if written is not None:
            asking = {"k": k, "temperature": temperature, "top_p": top_p, "max_tokens": max_tokens}
            refuse_asking(chosen, **asking, retry_invalid=retry_invalid or None, unique=unique or None)
            plan = stage.plan(records, samples=1)
            if dry_run:
                run.would(f"write {len(plan.wanted)} self-edits without asking a model", Sampling())
                return run.code
            run.settle({**selected, **({"text": text} if text else {})}, plan)
            run.produce(
                lambda: None, lambda _, keys, progress: stage.by_hand(records, domain, chosen, written, keys=set(keys))
            )
            return run.code
        chats = (defaults.chat or editor.chats) if chat is None else chat
        asked = sampling(defaults.writing, temperature=temperature, top_p=top_p, max_tokens=max_tokens, seed=seed)
        writing = stage.Writing(domain, chosen, samples, asked, chats, retry_invalid, unique, structured)
        stage.check_template(records, writing)
        plan = stage.plan(records, samples=samples, unique=unique)
        name = editor.choose(model, run.editors)
        if dry_run:
            run.would(f"ask {name} for {len(plan.wanted)} self-edits", writing.sampling)
            count_crowded(run, name, (request.prompt for request in stage.requests(records, writing)))
            return run.code
        if emit_batch:
            batches.emit(editor.calls(name, stage.requests(records, writing)))
            return run.code
        writing = replace(writing, identity=name if editor.served else identity_of(name))
        run.settle({**selected, "text": text, **stage.settings(writing), **editor.settings(name)}, plan)
        run.produce(
            lambda: (editor.load(name, transport=batches.answers()), Choices(run.known)),
            lambda loaded, keys, progress: stage.run(
                records, loaded[0], writing, keys=set(keys), seen=loaded[1], progress=progress
            ),
            tell=lambda loaded: _tell(*loaded, read=domain.schema() is not None),
        )
    return run.code


def _by_hand(template: str | None) -> bool:
    """Whether a template's name says that no model is asked, whatever the domain."""
    return template is not None and template.partition(":")[0] in ("none", "oracle")


def _tell(engine: object, choices: "Choices", *, read: bool) -> None:
    """Calls and cost of a server; with `read` also how many completions could be read."""
    from seal_cli.flags import engine as engines
    from seal_cli.terminal.console import note

    engines.tell("generate", engine)
    if read:
        note(f"seal generate: {choices.told}")
