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
    chat: opt.Chat = False,
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
    batch: opt.Batch = 64,
) -> int:
    """Let the model write its own training data for each task: k self-edits a task. task → edit lines.

    \b
    Examples:
      seal generate tasks.jsonl --model examples/tiny/model -k 5 -o edits.jsonl
      seal tasks squad.json --limit 3 | seal generate --model DIR -t self-qa | jq -r .edit.completion
      seal generate tasks.jsonl -t none            (the passage-only baseline; asks no model)
    """
    from dataclasses import asdict

    from seal_cli.jsonl import input_records
    from seal_cli.models import choose_model, load_engine, weights_of
    from seal_cli.rejects import Rejects
    from seal_cli.run import Run
    from stages import generate as stage
    from stages.domains.qa import NO_EDIT, QA, template_text

    bad = Rejects(rejects, strict=strict, most=max_rejects, others=(file, output))
    with Run("generate", output=output, overwrite=overwrite, journal=journal, rejects=bad, dry=dry_run) as run:
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
        domain = QA()
        stage.check_template(domain, records, template, chat=chat)
        plan = stage.plan(records, samples=k)
        named = (record.edit.model for record in records if record.edit)
        name = choose_model(model, named) if records or model else ""
        sampling = Sampling(temperature, top_p, max_tokens, seed)
        if dry_run:
            run.would(f"ask {name} for {len(plan.wanted)} self-edits", sampling)
            return run.code
        asked = {"text": template_text(template), "k": k, "chat": chat, "sampling": asdict(sampling), "engine": engine}
        run.settle({**selected, **asked, **weights_of(name, device, dtype)}, plan)
        run.produce(
            lambda: load_engine(engine, name, device, dtype, batch),
            lambda sampler, keys, watch: stage.run(
                records,
                sampler,
                domain=domain,
                template=template,
                samples=k,
                sampling=sampling,
                chat=chat,
                keys=set(keys),
                watch=watch,
            ),
        )
    return run.code
