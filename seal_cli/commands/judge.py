"""`seal judge`"""

from collections.abc import Iterable, Iterator, Sequence

from seal_cli.flags import judge as judges
from seal_cli.flags.batch import BatchFlags
from seal_cli.flags.judge import JudgeFlags
from seal_cli.flags.run import InputFlags, RunFlags
from seal_cli.flags.service import refuse_given
from seal_cli.runs.run import Run
from seal_cli.runs.stdio import input_records, with_places
from seal_cli.terminal.console import note
from seal_cli.terminal.display import shown
from stages import judge as stage
from stages.records.record import Record
from stages.scoring.agreement import Agreement
from stages.scoring.agreement import compare_judges as agree


def judge(run: RunFlags, lines: InputFlags, grader: JudgeFlags, batches: BatchFlags) -> int:
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
    bad = lines.open_rejects(run.output)
    with Run(
        "judge", output=run.output, overwrite=run.overwrite, journal=run.journal, rejects=bad, dry=run.dry_run
    ) as current:
        batches.check(run, served=grader.served, needs="an openai:… judge", unused=grader.service.given())
        grader.check(asks=not batches, others=(lines.file, run.output))
        refuse_given(grader.unused(), f"the judge {grader.text} asks no server")
        read = input_records(lines.file, ("score",), bad)
        found = current.read(read, **lines.selection, allow_empty=lines.allow_empty)
        records = current.sift(list(with_places(found, lines.file)), stage.Gradable())
        if run.dry_run:
            current.would(f"grade {len(records)} lines with {grader.text}", grader.service)
            return current.code
        if batches.emit:
            batches.write("judge", grader.calls(stage.all_cases(records)))
            return current.code
        current.settle({"judge": grader.settings(), **lines.selection}, stage.plan(records))
        made: list[Record] = []
        current.produce(
            lambda: grader.load(batches.answers()),
            lambda loaded, keys, progress: kept(stage.run(records, loaded, keys=set(keys), progress=progress), made),
            tell=lambda loaded: judges.tell("judge", loaded),
        )
    with shown("judge", "comparing"):
        told = list(compare(records, current.known or made))
    for line in told:
        note(f"seal judge: {line}")
    return current.code


def kept(lines: Iterable[Record], made: list[Record]) -> Iterator[Record]:
    """The same lines, which are put on the list too."""
    for line in lines:
        made.append(line)
        yield line


def compare(before: Sequence[Record], after: Sequence[Record]) -> Iterator[str]:
    """The agreement in words, on the lines that there are."""
    there = {stage.key_of(line) for line in after}
    if not there:
        return
    found = agree([line for line in before if stage.key_of(line) in there], after)
    names = [", ".join(sorted({line.score.judge for line in lines if line.score})) for lines in (before, after)]
    yield f"{names[1]} against {names[0]}: {verdicts(found)}"
    if found.contexts:
        loss = (
            "" if found.loss is None else f", which forgoes {100 * float(found.loss):.1f} points of {names[0]}'s reward"
        )
        changed = f"in {found.changed} of {found.contexts} contexts another self-edit is the best"
        yield changed + (loss if found.changed else "")


def verdicts(found: Agreement) -> str:
    """`agreement 88.1 % of 14280 answers (of the right ones 83.2 %, of the wrong ones 90.9 %), κ 0.745`"""
    unscored = f"; unscored {found.unscored_first} before, {found.unscored_second} now"
    by_value = f"of the right ones {percent(found.on_right)}, of the wrong ones {percent(found.on_wrong)}"
    kappa = "unknown" if found.kappa is None else f"{found.kappa:.3f}"
    told = f"agreement {percent(found.overall)} of {found.answers} answers ({by_value}), κ {kappa}"
    return told + (unscored if found.unscored_first or found.unscored_second else "")


def percent(share: float | None) -> str:
    return "none" if share is None else f"{100 * share:.1f} %"
