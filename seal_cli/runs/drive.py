"""The choreography of every stage that plans its lines: read, prepare, resume, work, report."""

from contextlib import nullcontext
from functools import partial

from seal_cli.exit_codes import UsageError
from seal_cli.flags.forecast import ForecastFlags
from seal_cli.flags.run import InputFlags, RunFlags
from seal_cli.flags.service import BatchFlags
from seal_cli.runs.forecasting import Rehearsals, predict_lines, tell_forecast
from seal_cli.runs.rejects import open_rejects
from seal_cli.runs.run import Run
from seal_cli.runs.stdio import input_records
from seal_cli.terminal.console import note
from stages.cluster.settings import Cluster
from stages.records.adapter_paths import get_base_folders
from stages.spread import spread
from stages.work import Listing, Stage, Work


def drive(
    stage: Stage,
    lines: InputFlags,
    flags: RunFlags,
    batches: BatchFlags | None = None,
    cluster: Cluster = Cluster(),
    forecast: ForecastFlags = ForecastFlags(),
) -> int:
    """Run a stage and return the exit code. With --emit-batch, write the calls to a server instead of sending them.

    With the address of a `cluster` its workers make the lines.
    """
    check_cluster(cluster, flags, batches)
    forecast.check(flags)
    kept = [flags.journal / f"{stage.name}{end}" for end in (".jsonl", ".json")] if flags.journal else []
    bad = open_rejects(lines, flags.output, *kept)
    with Run(
        stage.name,
        output=flags.output,
        overwrite=flags.overwrite,
        journal=flags.journal,
        rejects=bad,
        dry=flags.dry_run,
    ) as run:
        run.input.folders = get_base_folders(lines.file)
        read = input_records(lines.file, stage.needs, bad)
        records = run.input.store(read, lines.file, **lines.selection, allow_empty=lines.allow_empty)
        work = stage.prepare(records, run.input)
        if isinstance(work, Listing):
            if batches and batches.emit:
                batches.write(stage.name, ())
            run.configure({**work.settings, **lines.selection})
            run.write(work.lines, total=work.total)
            return run.code
        for text in work.notes:
            note(f"seal {stage.name}: {text}")
        if flags.dry_run:
            rehearsals = Rehearsals(stage, records, work, run.input)
            describe = partial(_describe, run, work)
            return tell_forecast(rehearsals, describe, run.output.stdout, forecast)
        if batches and batches.emit:
            batches.write(stage.name, work.calls())
            return run.code
        run.configure({**work.settings(), **lines.selection}, work.plan)
        if flags.output and not cluster.address:
            run.predict = predict_lines(Rehearsals(stage, records, work, run.input), run.settings)
        with nullcontext() if run.output.complete else work.claim():
            if cluster.address and run.output.journal:
                place = run.output.journal.path
                work = spread(work, cluster, [*work.folders, place.parent], run.settings, place)
            run.produce(work)
        if run.counts.unscored and work.unscored_hint:
            note(f"seal {stage.name}: {work.unscored_hint}")
        told: list[str] = []
        if work.conclude:
            run.progress.set_phase("comparing")
            told += work.conclude(run.known)  # before the journal, which they are read from, is published
    for text in told:
        note(f"seal {stage.name}: {text}")
    return run.code


def _describe(run: Run, work: Work) -> int:
    return run.describe(work.summary, *work.count_misfits())


def check_cluster(cluster: Cluster, flags: RunFlags, batches: BatchFlags | None) -> None:
    """Raise for a cluster without work, or without a place for its lines."""
    cluster.check()
    if cluster.address and batches:
        raise UsageError("--ray: a batch of calls is one piece of work; leave one of the two out")
    if cluster.address and not (flags.output or flags.journal or flags.dry_run):
        raise UsageError(f"--ray {cluster.address}: needs a place for finished lines; give -o FILE or --journal DIR")
