"""`seal eval`"""

from typing import Annotated

import typer

from seal_cli import options as opt
from stages.engines.base import ANSWERING


def evaluate(
    file: opt.Input = None,
    model: opt.Model = None,
    judge: opt.Judge = "lexical",
    in_context: Annotated[bool, typer.Option("--in-context", help="Show the passage: the oracle row.")] = False,
    max_tokens: opt.MaxTokens = ANSWERING.max_tokens,
    chat: opt.Chat = None,
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
    batch: opt.Batch = None,
    max_loras: opt.MaxLoras = None,
    memory_fraction: opt.MemoryFraction = None,
    base_url: opt.BaseUrl = None,
    concurrency: opt.Concurrency = None,
    timeout: opt.Timeout = None,
    retry_for: opt.RetryFor = None,
    cache: opt.Cache = None,
) -> int:
    """Answer each task's questions without its passage, with and without the adapter. adapter → score lines.

    Task lines are answered by the model as it is: the baseline row. Answers are greedy. The baseline of a task is
    asked once, however many adapters it has. What a server or a judge fails to say stays unscored, never wrong; the
    same command asks the engine again, `seal judge` the judge.

    \b
    Examples:
      seal eval adapters.jsonl -o scores.jsonl
      seal eval tasks.jsonl --model DIR                  (no update)
      seal eval tasks.jsonl --model DIR --in-context     (passage in sight)
      seal eval adapters.jsonl --engine openai --base-url http://localhost:8000/v1 --model NAME
      seal eval adapters.jsonl --judge openai:gpt-4.1 -o scores.jsonl
    """
    from dataclasses import asdict, replace

    from seal_cli import engines, judges
    from seal_cli.console import note
    from seal_cli.jsonl import input_records
    from seal_cli.rejects import Rejects
    from seal_cli.run import Run
    from seal_cli.services import ServiceFlags
    from stages import eval as stage
    from stages.domains.qa import QA
    from stages.judges.steadfast import Steadfast

    service = ServiceFlags(concurrency, timeout, retry_for)
    grader = judges.JudgeFlags(judge, cache, service)
    student = engines.EngineFlags(engine, device, dtype, batch, base_url, max_loras, memory_fraction, service)
    bad = Rejects(rejects, strict=strict, most=max_rejects, others=(file, output))
    with Run("eval", output=output, overwrite=overwrite, journal=journal, rejects=bad, dry=dry_run) as run:
        grader.check(others=(file, output))
        student.check(unused=grader.unused())
        records = run.read(input_records(file, refuse=bad), limit=limit, shard=shard)
        stage.check(records)
        trained = {record.adapter.model for record in records if record.adapter}
        name = student.choose(model, trained) if records or model else ""
        if trained - {name}:
            note(f"seal eval: note: answering with {name}, but adapters were trained on {', '.join(sorted(trained))}")
        adapters = dict(stage.adapters(records))
        student.check_adapters(adapters.items(), name)
        sampling = replace(ANSWERING, max_tokens=max_tokens)
        if dry_run:
            run.would(f"score {len(records)} lines with {name} and the judge {judge}", sampling)
            return run.code
        chats = student.chats if chat is None else chat
        asked = {"judge": grader.settings(), "in_context": in_context, "chat": chats, "sampling": asdict(sampling)}
        chosen = {**asked, **student.settings(name), "limit": limit, "shard": shard}
        run.settle(chosen, stage.plan(records))
        run.produce(
            lambda: (grader.reached().load(), student.load(name, list(adapters))),
            lambda loaded, keys, watch: stage.run(
                records,
                loaded[1],
                domain=QA(),
                judge=Steadfast(loaded[0], lambda text: note(f"seal eval: {text}")),
                sampling=sampling,
                in_context=in_context,
                chat=chats,
                keys=set(keys),
                known=run.known,
                watch=watch,
            ),
            tell=lambda loaded: judges.tell("eval", loaded[0], beside=loaded[1]),
        )
        if run.counts.unscored and not grader.offline:
            note(f"seal eval: what the judge left unscored it is asked again by: seal judge FILE -j {judge}")
    return run.code
