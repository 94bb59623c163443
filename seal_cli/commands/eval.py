"""`seal eval`"""

from typing import Annotated

import typer

from seal_cli import options as opt
from stages.engines.base import ANSWERING


def evaluate(
    file: opt.Input = None,
    model: opt.Model = None,
    judge: Annotated[
        str, typer.Option("--judge", "-j", metavar="NAME", help="exact, lexical, or package.module:Class.")
    ] = "lexical",
    in_context: Annotated[bool, typer.Option("--in-context", help="Show the passage: the oracle row.")] = False,
    max_tokens: opt.MaxTokens = ANSWERING.max_tokens,
    chat: opt.Chat = False,
    output: opt.Output = None,
    overwrite: opt.Overwrite = False,
    journal: opt.Journal = None,
    limit: opt.Limit = None,
    shard: opt.Shard = None,
    rejects: opt.Rejects = None,
    strict: opt.Strict = False,
    max_rejects: opt.MaxRejects = opt.MOST_REJECTS,
    dry_run: opt.DryRun = False,
    engine: opt.Engine = "hf",
    device: opt.DeviceName = "auto",
    dtype: opt.Dtype = "auto",
    batch: opt.Batch = 64,
) -> int:
    """Answer each task's questions without its passage, with and without the adapter. adapter → score lines.

    Task lines are answered by the model as it is: the baseline row. Answers are greedy. The baseline of a task is
    asked once, however many adapters it has.

    \b
    Examples:
      seal eval adapters.jsonl -o scores.jsonl
      seal eval tasks.jsonl --model DIR                  (no update)
      seal eval tasks.jsonl --model DIR --in-context     (passage in sight)
    """
    from dataclasses import asdict, replace

    from seal_cli.console import note
    from seal_cli.jsonl import input_records
    from seal_cli.models import choose_model, load_engine, weights_of
    from seal_cli.rejects import Rejects
    from seal_cli.run import Run
    from stages import eval as stage
    from stages.domains.qa import QA
    from stages.engines.adapters import check_adapters
    from stages.judges.base import JUDGES
    from stages.plugins import load_class

    bad = Rejects(rejects, strict=strict, most=max_rejects, others=(file, output))
    with Run("eval", output=output, overwrite=overwrite, journal=journal, rejects=bad, dry=dry_run) as run:
        kind = load_class("--judge", judge, JUDGES)
        records = run.read(input_records(file, refuse=bad), limit=limit, shard=shard)
        stage.check(records)
        trained = {record.adapter.model for record in records if record.adapter}
        name = choose_model(model, trained) if records or model else ""
        if trained - {name}:
            note(f"seal eval: note: answering with {name}, but adapters were trained on {', '.join(sorted(trained))}")
        if engine == "hf":  # others may read theirs elsewhere
            check_adapters(stage.adapters(records), name)
        sampling = replace(ANSWERING, max_tokens=max_tokens)
        if dry_run:
            run.would(f"score {len(records)} lines with {name} and the judge {judge}", sampling)
            return run.code
        asked = {"judge": judge, "in_context": in_context, "chat": chat, "sampling": asdict(sampling), "engine": engine}
        chosen = {**asked, **weights_of(name, device, dtype), "limit": limit, "shard": shard}
        run.settle(chosen, stage.plan(records))
        run.produce(
            lambda: (load_engine(engine, name, device, dtype, batch), kind()),
            lambda loaded, keys, watch: stage.run(
                records,
                loaded[0],
                domain=QA(),
                judge=loaded[1],
                sampling=sampling,
                in_context=in_context,
                chat=chat,
                keys=set(keys),
                known=run.known,
                watch=watch,
            ),
        )
    return run.code
