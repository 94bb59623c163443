"""`seal judge`"""

from typing import TYPE_CHECKING

from seal_cli.flags import options as opt

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from stages.records.record import Record
    from stages.scoring.agreement import Agreement


def judge(
    file: opt.Input = None,
    judge: opt.Judge = "lexical",
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
    concurrency: opt.Concurrency = None,
    timeout: opt.Timeout = None,
    retry_for: opt.RetryFor = None,
    cache: opt.Cache = None,
    judge_max_tokens: opt.JudgeMaxTokens = None,
    emit_batch: opt.EmitBatch = None,
    from_batch: opt.FromBatch = None,
) -> int:
    """Grade stored answers with another judge; no model runs. score → score lines.

    On stderr: how far the two judges agree (overall, by verdict, Cohen's κ), and in how many contexts another self-edit
    is the best. An answer that the judge fails to grade is unscored, never wrong; the same command asks again. Verdicts
    of openai:… are kept in --cache and asked for once. Graded is what stands behind a thought (<think> …).

    \b
    Examples:
      seal judge scores.jsonl -j openai:gpt-4.1 -o regraded.jsonl
      seal tasks rank_iter0.json | seal judge > lexical.jsonl      (against the paper's own verdicts)
      seal judge scores.jsonl -j openai:gpt-4.1 --emit-batch calls.jsonl
      seal judge scores.jsonl -j openai:gpt-4.1 --from-batch answers.jsonl -o regraded.jsonl
      seal judge scores.jsonl -j "command:./grade.py --strict"
    """
    from seal_cli.flags import judge as judges
    from seal_cli.flags.batch import Batches
    from seal_cli.flags.service import ServiceFlags, refuse_given
    from seal_cli.runs.rejects import Rejects
    from seal_cli.runs.run import Run
    from seal_cli.runs.stdio import input_records, with_places
    from seal_cli.terminal.console import note
    from seal_cli.terminal.display import shown
    from stages import judge as stage

    grader = judges.JudgeFlags(judge, cache, ServiceFlags(concurrency, timeout, retry_for), judge_max_tokens)
    batches = Batches("judge", emit_batch, from_batch, output)
    bad = Rejects(rejects, strict=strict, most=max_rejects, others=(file, output))
    with Run("judge", output=output, overwrite=overwrite, journal=journal, rejects=bad, dry=dry_run) as run:
        batches.check(grader.served, "an openai:… judge", overwrite=overwrite, unused=grader.service.given())
        grader.check(asks=not batches, others=(file, output))
        refuse_given(grader.unused(), f"the judge {judge} asks no server")
        lines = run.read(input_records(file, ("score",), bad), limit=limit, shard=shard, allow_empty=allow_empty)
        records = run.sift(list(with_places(lines, file)), stage.Gradable())
        if dry_run:
            run.would(f"grade {len(records)} lines with {judge}", grader.service)
            return run.code
        if emit_batch:
            batches.emit(grader.calls(stage.all_cases(records)))
            return run.code
        run.settle({"judge": grader.settings(), "limit": limit, "shard": shard}, stage.plan(records))
        made: list[Record] = []
        run.produce(
            lambda: grader.load(batches.answers()),
            lambda loaded, keys, progress: _kept(stage.run(records, loaded, keys=set(keys), progress=progress), made),
            tell=lambda loaded: judges.tell("judge", loaded),
        )
    with shown("judge", "comparing"):
        told = list(_compare(records, run.known or made))
    for line in told:
        note(f"seal judge: {line}")
    return run.code


def _kept(lines: "Iterable[Record]", made: "list[Record]") -> "Iterator[Record]":
    """The same lines, which are put on the list too."""
    for line in lines:
        made.append(line)
        yield line


def _compare(before: "Sequence[Record]", after: "Sequence[Record]") -> "Iterator[str]":
    """The agreement in words, on the lines that there are."""
    from stages.judge import key_of
    from stages.scoring.agreement import compare as agree

    there = {key_of(line) for line in after}
    if not there:
        return
    found = agree([line for line in before if key_of(line) in there], after)
    names = [", ".join(sorted({line.score.judge for line in lines if line.score})) for lines in (before, after)]
    yield f"{names[1]} against {names[0]}: {_verdicts(found)}"
    if found.contexts:
        loss = (
            "" if found.loss is None else f", which forgoes {100 * float(found.loss):.1f} points of {names[0]}'s reward"
        )
        changed = f"in {found.changed} of {found.contexts} contexts another self-edit is the best"
        yield changed + (loss if found.changed else "")


def _verdicts(found: "Agreement") -> str:
    """`agreement 88.1 % of 14280 answers (of the right ones 83.2 %, of the wrong ones 90.9 %), κ 0.745`"""
    unscored = f"; unscored {found.unscored_first} before, {found.unscored_second} now"
    by_value = f"of the right ones {_percent(found.on_right)}, of the wrong ones {_percent(found.on_wrong)}"
    kappa = "unknown" if found.kappa is None else f"{found.kappa:.3f}"
    told = f"agreement {_percent(found.overall)} of {found.answers} answers ({by_value}), κ {kappa}"
    return told + (unscored if found.unscored_first or found.unscored_second else "")


def _percent(share: float | None) -> str:
    return "none" if share is None else f"{100 * share:.1f} %"
