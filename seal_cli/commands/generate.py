"""`seal generate`"""

from typing import Annotated

import typer

from seal_cli import options as opt
from stages.engines.base import Sampling

DEFAULT = Sampling()


def generate(
    file: opt.Input = None,
    model: opt.Model = None,
    template: Annotated[
        str,
        typer.Option(
            "--template",
            "-t",
            metavar="NAME|FILE",
            help="implications, implications-long, implications-very-long, rewrite, self-qa, none (passage only), "
            "or a file with {title} and {context}.",
        ),
    ] = "implications",
    k: Annotated[int, typer.Option("-k", metavar="N", min=1, help="Self-edits per task.")] = 5,
    temperature: opt.Temperature = DEFAULT.temperature,
    top_p: opt.TopP = DEFAULT.top_p,
    max_tokens: opt.MaxTokens = DEFAULT.max_tokens,
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

    The editor may be another model than the student: the line says who wrote it. Lines leave as they are written.
    With --engine openai, --emit-batch writes the calls to a file instead, for OpenAI's batch service, and the same
    command with --from-batch reads the answers.

    \b
    Examples:
      seal generate tasks.jsonl --model examples/tiny/model -k 5 -o edits.jsonl
      seal tasks squad.json --limit 3 | seal generate --model DIR -t self-qa | jq -r .edit.completion
      seal generate tasks.jsonl -t none            (the passage-only baseline; asks no model)
      seal generate tasks.jsonl --engine openai --model gpt-4.1 -o edits.jsonl
      seal generate tasks.jsonl --engine openai --base-url http://localhost:8000/v1 --model NAME
    """
    from dataclasses import asdict

    from seal_cli import engines
    from seal_cli.batches import Batches
    from seal_cli.jsonl import input_records
    from seal_cli.rejects import Rejects
    from seal_cli.run import Run
    from seal_cli.services import ServiceFlags
    from stages import generate as stage
    from stages.domains.qa import NO_EDIT, QA, template_text

    service = ServiceFlags(concurrency, timeout, retry_for)
    editor = engines.EngineFlags(engine, device, dtype, batch, base_url, None, memory_fraction, service)
    batches = Batches("generate", emit_batch, from_batch, output)
    bad = Rejects(rejects, strict=strict, most=max_rejects, others=(file, output))
    with Run("generate", output=output, overwrite=overwrite, journal=journal, rejects=bad, dry=dry_run) as run:
        asks_model = editor.served and template != NO_EDIT
        batches.check(asks_model, "--engine openai", overwrite=overwrite, unused=service.given())
        editor.check(asks=not batches)
        records = run.read(input_records(file, refuse=bad), limit=limit, shard=shard)
        selected = {"template": template, "limit": limit, "shard": shard}
        if template == NO_EDIT:
            plan = stage.plan(records, samples=1)
            if dry_run:
                run.would(f"write {len(plan.wanted)} empty self-edits", DEFAULT)
                return run.code
            run.settle(selected, plan)
            run.produce(lambda: None, lambda _, keys, watch: stage.passage_only(records, keys=set(keys)))
            return run.code
        chats = editor.chats if chat is None else chat
        writing = stage.Writing(QA(), template, k, Sampling(temperature, top_p, max_tokens, seed), chats)
        stage.check_template(records, writing)
        plan = stage.plan(records, samples=k)
        named = (record.edit.model for record in records if record.edit)
        name = editor.choose(model, named) if records or model else ""
        if dry_run:
            run.would(f"ask {name} for {len(plan.wanted)} self-edits", writing.sampling)
            return run.code
        asked = {"text": template_text(template), "k": k, "chat": chats, "sampling": asdict(writing.sampling)}
        if emit_batch:
            batches.emit(editor.calls(name, stage.requests(records, writing)))
            return run.code
        run.settle({**selected, **asked, **editor.settings(name)}, plan)
        run.produce(
            lambda: editor.load(name, transport=batches.answers()),
            lambda sampler, keys, watch: stage.run(records, sampler, writing, keys=set(keys), watch=watch),
            tell=lambda sampler: engines.tell("generate", sampler),
        )
    return run.code
