"""score → rows: mean accuracies with intervals, and paired comparisons."""

from collections.abc import Iterable

from stages.errors import BadConfig, BadInput
from stages.records.record import Record
from stages.reporting.rows import ReportRow, TaskScores, check_kinds, make_row, pool_runs, read_scores


def run(
    files: Iterable[tuple[str, Iterable[Record]]],
    *,
    against: str | None = None,
    seed: int = 0,
    allow_empty: bool = False,
) -> list[ReportRow]:
    """Return a row per label, in order of first appearance; files with the same label are repeated runs of one row.

    Raises BadInput for a file without lines, unless these are allowed: then it is left out. Also where kinds of
    values differ.
    """
    groups: dict[str, list[TaskScores]] = {}
    for label, records in files:
        if scores := read_scores(label, records):
            groups.setdefault(label, []).append(scores)
        elif not allow_empty:
            raise BadInput(f"{label}: no lines in it; run the stage before (`seal eval`) again, or give --allow-empty")
    if against is not None and against not in groups:
        raise BadConfig(f"--against {against}: no such row; there are {', '.join(groups)}")
    check_kinds(dict.fromkeys(each.kind for runs in groups.values() for each in runs))
    reference = pool_runs(groups[against]) if against is not None else {}
    return [make_row(label, scores, {} if label == against else reference, seed) for label, scores in groups.items()]
