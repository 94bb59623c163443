"""`seal eval`"""

from dataclasses import asdict, replace
from pathlib import Path
from typing import Annotated

import typer

from seal_cli.flags import judge as judges
from seal_cli.flags import options as opt
from seal_cli.flags.domain import answered_chat, domain_of
from seal_cli.flags.engine import EngineFlags
from seal_cli.flags.judge import JudgeFlags
from seal_cli.flags.run import InputFlags, RunFlags
from seal_cli.flags.service import refuse_given
from seal_cli.runs.contexts import count_crowded
from seal_cli.runs.run import Run
from seal_cli.runs.stdio import input_records, with_places
from seal_cli.terminal.console import note
from stages import eval as stage
from stages.domains.base import DOMAINS, Domain
from stages.interfaces import Sampling
from stages.judges.base import EXAMPLES
from stages.judges.fallback import FallbackJudge
from stages.plugins import load_class
from stages.records.adapter_paths import get_base_folders


def evaluate(
    run: RunFlags,
    lines: InputFlags,
    student: EngineFlags,
    grader: JudgeFlags,
    model: opt.Model = None,
    judge: Annotated[
        str | None,
        typer.Option(
            "--judge",
            "-j",
            metavar="NAME",
            help="exact, lexical, openai:MODEL[@URL], command:PROGRAM, or package.module:Class; ARC's grids need none. "
            f"[default: {JudgeFlags.text}]",
            autocompletion=opt.offer(*EXAMPLES),
            rich_help_panel=JudgeFlags.panel,
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
        typer.Option(
            metavar="N",
            min=1,
            help=f"Most tokens of an answer. [default: {opt.default('answering', 'max_tokens')}]",
            rich_help_panel=Sampling.panel,
        ),
    ] = None,
    chat: opt.Chat = None,
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
    bad = lines.open_rejects(run.output)
    with Run(
        "eval", output=run.output, overwrite=run.overwrite, journal=run.journal, rejects=bad, dry=run.dry_run
    ) as current:
        grader.check(others=(lines.file, run.output))
        student.check(unused=grader.unused())
        found = current.read(input_records(lines.file, refuse=bad), **lines.selection, allow_empty=lines.allow_empty)
        records = list(with_places(found, lines.file))
        if current.empty:
            return current.write_none(lines.selection)
        kind, defaults = domain_of(current.domains)
        domain: Domain = load_class("the domain", kind, DOMAINS)()
        if domain.judge:
            refuse_given({"--judge": judge}, "ARC's grids are compared cell by cell; leave it out")
        records = current.sift(records, stage.Scorable(domain))
        adapters, folders = dict(stage.adapters(records)), get_base_folders(lines.file)
        name = student.choose(model or student.find_moved(adapters, folders), current.students)
        unusable = student.lost_adapters(adapters.items(), name, folders)
        named = [line.adapter.path if line.adapter and line.adapter.path else "" for line in records]
        lost = {path: str(unusable[Path(path)]) for path in named if path and Path(path) in unusable}
        if records and all(path in lost for path in named):  # more than one line's trouble
            raise unusable[Path(named[0])]
        current.tell_lost([lost.get(path) for path in named])
        usable = [path for path in adapters if path not in unusable]
        if others := student.foreign({path: adapters[path] for path in usable}, name):
            note(f"seal eval: note: answering with {name}, but adapters were trained on {', '.join(sorted(others))}")
        answering = replace(defaults.answering, **({"max_tokens": max_tokens} if max_tokens else {}))
        fits = [line.adapter.fit for line in records if line.adapter and line.adapter.path]
        chats = answered_chat(chat, defaults.chat or student.chats, {fit["chat"] for fit in fits if "chat" in fit})
        if run.dry_run:
            current.would(
                f"score {len(records)} lines with {name} and the judge {domain.judge or grader.text}", answering
            )
            count_crowded(current, name, stage.prompts(records, domain, in_context=in_context, chat=chats))
            return current.code
        graded = domain.judge or grader.settings()
        asked = {"judge": graded, "in_context": in_context, "chat": chats, "sampling": asdict(answering)}
        chosen = {**asked, **student.settings(name), **lines.selection}
        current.settle(chosen, stage.plan(records))
        current.produce(
            lambda: (grader.reached().load(), student.load(name, usable)),
            lambda loaded, keys, progress: stage.run(
                records,
                loaded[1],
                domain=domain,
                judge=FallbackJudge(loaded[0], lambda text: note(f"seal eval: {text}")),
                sampling=answering,
                in_context=in_context,
                chat=chats,
                keys=set(keys),
                known=current.known,
                lost=lost,
                progress=progress,
            ),
            tell=lambda loaded: judges.tell("eval", loaded[0], beside=loaded[1]),
        )
        if current.counts.unscored and not grader.offline:
            note(f"seal eval: what the judge left unscored it is asked again by: seal judge FILE -j {grader.text}")
    return current.code
