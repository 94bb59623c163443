"""`seal eval`"""

from typing import Annotated

import typer

from seal_cli.flags import options as opt
from seal_cli.flags.domain import default

_DEFAULT_JUDGE = "lexical"


def evaluate(
    file: opt.Input = None,
    model: opt.Model = None,
    judge: Annotated[
        str | None,
        typer.Option(
            "--judge",
            "-j",
            metavar="NAME",
            help="exact, lexical, openai:MODEL[@URL], command:PROGRAM, or package.module:Class; ARC's grids need none. "
            f"[default: {_DEFAULT_JUDGE}]",
            autocompletion=opt.offer(*opt.JUDGES),
        ),
    ] = None,
    in_context: Annotated[
        bool,
        typer.Option(
            "--in-context", help="Show the passage: the oracle row. ARC: ask once, after all demonstrations, no vote."
        ),
    ] = False,
    max_tokens: Annotated[
        int | None,
        typer.Option(metavar="N", min=1, help=f"Most tokens of an answer. {default('answering', 'max_tokens')}"),
    ] = None,
    chat: opt.Chat = None,
    output: opt.Output = None,
    overwrite: opt.Overwrite = False,
    journal: opt.Journal = None,
    limit: opt.Limit = None,
    shard: opt.Shard = None,
    rejects: opt.Rejects = None,
    strict: opt.Strict = False,
    max_rejects: opt.MaxRejects = opt.MOST_REJECTS,
    allow_empty: opt.AllowEmpty = False,
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
    judge_max_tokens: opt.JudgeMaxTokens = None,
) -> int:
    """Answer each task's questions without its passage, with and without the adapter. adapter → score lines.

    Task lines are answered by the model as it is: the baseline row. Answers are greedy. The baseline of a task is
    asked once, however many adapters it has. What a server or a judge fails to say stays unscored, never wrong; the
    same command asks the engine again, `seal judge` the judge. Graded is what stands behind a thought (<think> …); the
    whole text is the line's prediction. An answer that ends within its thought is unscored: give more --max-tokens.

    An ARC test is put in many ways, with one demonstration left out, in other orders, turned and mirrored; the
    predictions are turned back and vote for two attempts, and every vote is on the line.

    \b
    Examples:
      seal eval adapters.jsonl -o scores.jsonl
      seal eval tasks.jsonl --model DIR                  (no update)
      seal eval tasks.jsonl --model DIR --in-context     (passage in sight)
      seal eval adapters.jsonl --engine openai --base-url http://localhost:8000/v1 --model NAME
      seal eval adapters.jsonl --judge openai:gpt-4.1 -o scores.jsonl
      seal eval arc-adapters.jsonl | jq -c '.score.answers[].attempts[0]'
    """
    from dataclasses import asdict
    from pathlib import Path

    from seal_cli.flags import engine as engines
    from seal_cli.flags import judge as judges
    from seal_cli.flags.domain import answered_chat, domain_of, sampling
    from seal_cli.flags.service import ServiceFlags, refuse_given
    from seal_cli.runs.contexts import count_crowded
    from seal_cli.runs.rejects import Rejects
    from seal_cli.runs.run import Run
    from seal_cli.runs.stdio import input_records, with_places
    from seal_cli.terminal.console import note
    from stages import eval as stage
    from stages.domains.base import DOMAINS, Domain
    from stages.judges.fallback import Steadfast
    from stages.plugins import load_class
    from stages.records.adapter_paths import get_base_folders

    service = ServiceFlags(concurrency, timeout, retry_for)
    grader = judges.JudgeFlags(judge or _DEFAULT_JUDGE, cache, service, judge_max_tokens)
    student = engines.EngineFlags(engine, device, dtype, batch, base_url, max_loras, memory_fraction, service)
    bad = Rejects(rejects, strict=strict, most=max_rejects, others=(file, output))
    with Run("eval", output=output, overwrite=overwrite, journal=journal, rejects=bad, dry=dry_run) as run:
        grader.check(others=(file, output))
        student.check(unused=grader.unused())
        lines = run.read(input_records(file, refuse=bad), limit=limit, shard=shard, allow_empty=allow_empty)
        records = list(with_places(lines, file))
        if run.empty:
            return run.write_none({"limit": limit, "shard": shard})
        kind, defaults = domain_of(run.domains)
        domain: Domain = load_class("the domain", kind, DOMAINS)()
        if domain.judge:
            refuse_given({"--judge": judge}, "ARC's grids are compared cell by cell; leave it out")
        records = run.sift(records, stage.Scorable(domain))
        adapters, folders = dict(stage.adapters(records)), get_base_folders(file)
        name = student.choose(model or student.find_moved(adapters, folders), run.students)
        unusable = student.lost_adapters(adapters.items(), name, folders)
        named = [line.adapter.path if line.adapter and line.adapter.path else "" for line in records]
        lost = {path: str(unusable[Path(path)]) for path in named if path and Path(path) in unusable}
        if records and all(path in lost for path in named):  # more than one line's trouble
            raise unusable[Path(named[0])]
        run.tell_lost([lost.get(path) for path in named])
        usable = [path for path in adapters if path not in unusable]
        if others := student.foreign({path: adapters[path] for path in usable}, name):
            note(f"seal eval: note: answering with {name}, but adapters were trained on {', '.join(sorted(others))}")
        answering = sampling(defaults.answering, max_tokens=max_tokens)
        fits = [line.adapter.fit for line in records if line.adapter and line.adapter.path]
        chats = answered_chat(chat, defaults.chat or student.chats, {fit["chat"] for fit in fits if "chat" in fit})
        if dry_run:
            run.would(f"score {len(records)} lines with {name} and the judge {domain.judge or grader.text}", answering)
            count_crowded(run, name, stage.prompts(records, domain, in_context=in_context, chat=chats))
            return run.code
        graded = domain.judge or grader.settings()
        asked = {"judge": graded, "in_context": in_context, "chat": chats, "sampling": asdict(answering)}
        chosen = {**asked, **student.settings(name), "limit": limit, "shard": shard}
        run.settle(chosen, stage.plan(records))
        run.produce(
            lambda: (grader.reached().load(), student.load(name, usable)),
            lambda loaded, keys, progress: stage.run(
                records,
                loaded[1],
                domain=domain,
                judge=Steadfast(loaded[0], lambda text: note(f"seal eval: {text}")),
                sampling=answering,
                in_context=in_context,
                chat=chats,
                keys=set(keys),
                known=run.known,
                lost=lost,
                progress=progress,
            ),
            tell=lambda loaded: judges.tell("eval", loaded[0], beside=loaded[1]),
        )
        if run.counts.unscored and not grader.offline:
            note(f"seal eval: what the judge left unscored it is asked again by: seal judge FILE -j {grader.text}")
    return run.code
