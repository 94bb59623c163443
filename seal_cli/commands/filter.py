"""`seal filter`"""

from typing import TYPE_CHECKING, Annotated

import typer

from seal_cli.flags import options as opt

if TYPE_CHECKING:
    from stages.records.record import Record


def filter_scores(
    file: opt.Input = None,
    keep: Annotated[
        str,
        typer.Option(
            "--keep",
            metavar="RULE",
            help="best, best:N, above:X (every value above X), gain (the best, if it beats the unadapted model), or "
            "random (one of each context: the control).",
            autocompletion=opt.offer("best", "best:2", "above:0.5", "gain", "random"),
        ),
    ] = "best",
    ties: Annotated[opt.Ties, typer.Option(help="What decides between equal values.")] = opt.Ties.first,
    unscored: Annotated[
        opt.Unscored,
        typer.Option(help="Self-edits with unscored answers: left out, or worth what they are worth at least."),
    ] = opt.Unscored.leave_out,
    output: opt.Output = None,
    overwrite: opt.Overwrite = False,
    limit: opt.Limit = None,
    shard: opt.Shard = None,
    seed: opt.Seed = 0,
    rejects: opt.Rejects = None,
    strict: opt.Strict = False,
    max_rejects: opt.MaxRejects = opt.MOST_REJECTS,
    allow_empty: opt.AllowEmpty = False,
) -> int:
    """Keep the best self-edits of each context as training pairs. score → sft lines.

    The value of a self-edit is the exact mean over its seeds. One with an unscored answer is left out, neither
    rewarded nor punished; --unscored pessimistic takes such answers as wrong, and those of the unadapted model as
    right. Counts, ties and the reliability of the reward go to stderr. A pair's completion is the self-edit without its
    thoughts (<think> …), which is what was rewarded; the score lines keep them.

    \b
    Examples:
      seal filter scores.jsonl > sft.jsonl
      seal filter scores.jsonl --keep gain --ties shortest -o sft.jsonl
      seal tasks rank_iter0.json | seal filter | jq -r .completion
    """
    from dataclasses import asdict

    from seal_cli.runs.rejects import Rejects
    from seal_cli.runs.run import Run
    from seal_cli.runs.stdio import input_records
    from seal_cli.terminal.console import note
    from stages import filter as stage
    from stages.scoring.candidates import Comparable

    rule = stage.Keep.parse(keep)
    bad = Rejects(rejects, strict=strict, most=max_rejects, others=(file, output))
    with Run("filter", output=output, overwrite=overwrite, rejects=bad) as run:
        comparable, graders = Comparable(), set[str]()

        def check(record: "Record") -> None:
            comparable(record)
            if record.score:
                graders.add(record.score.judge)

        lines = input_records(file, ("edit", "score"), bad)
        records = run.stream(lines, check, limit=limit, shard=shard, allow_empty=allow_empty)
        filtered = stage.run(
            records, keep=rule, ties=ties.value, unscored=unscored.value, seed=seed, check=lambda line: None
        )
        chosen = {"keep": keep, "ties": ties.value, "unscored": unscored.value, "seed": seed}
        run.settle({**chosen, "limit": limit, "shard": shard})
        run.write(filtered.pairs())
        if len(graders) > 1:
            note(f"seal filter: note: the lines were graded by different judges: {', '.join(sorted(graders))}")
        found = filtered.summary
        if found.edits and not found.kept:
            note("seal filter: note: nothing is kept, and `seal sft` has nothing to train on; loosen --keep")
        run.counts.unscored = found.unscored if unscored is opt.Unscored.leave_out else 0
        run.about["summary"] = asdict(found)
        reliable = "unknown (it takes two seeds)" if found.reliability is None else f"{found.reliability:.2f}"
        note(
            f"seal filter: {found.contexts} contexts, {found.edits} self-edits, {found.kept} kept ({keep}); "
            f"{f'{found.empty} say nothing to learn; ' if found.empty else ''}"
            f"{f'{found.unscored} with unscored answers ({unscored.value}); ' if found.unscored else ''}"
            f"{found.ties} contexts tie for the best, in {found.below_baseline} the best does not beat the baseline; "
            f"reliability of the reward {reliable}"
        )
    return run.code
