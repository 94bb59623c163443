"""What a torture found, as plain tables and a list of failures."""

import re
from collections import Counter
from collections.abc import Iterable, Sequence

from tests.fault_injection.points import Verdict
from tests.fault_injection.pool import PartVerdict

NAME = re.compile(r"\b[0-9a-f]{16}\b|\.[a-z0-9_]{8}(?=\.(?:old\.)?part)|\d+(?= bytes)|\d+(?= finished)")
MOST_COMPLAINTS = 30


def table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """First column left, the others right."""
    cells = [list(columns), *(list(row) for row in rows)]
    widths = [max(len(row[place]) for row in cells) for place in range(len(columns))]
    lines = ("  ".join(f"{cell:>{width}}" for cell, width in zip(row[1:], widths[1:], strict=True)) for row in cells)
    return "\n".join(f"{row[0]:<{widths[0]}}  {line}".rstrip() for row, line in zip(cells, lines, strict=True))


def points_table(verdicts: Sequence[Verdict]) -> str:
    """Stage × fault: points survived / tried; then adapters in flight, adapters made twice, and keys found."""
    cases = list(dict.fromkeys(verdict.point.case for verdict in verdicts))
    faults = list(dict.fromkeys(verdict.point.fault for verdict in verdicts))
    rows = []
    for case in cases:
        own = [verdict for verdict in verdicts if verdict.point.case == case]
        row = [case, *(share([verdict for verdict in own if verdict.point.fault == fault]) for fault in faults)]
        counted = (max(each.in_flight for each in own), max(each.redone for each in own))
        rows.append([*row, *map(str, counted), str(sum(each.canaries for each in own))])
    total = ["all", *(share([each for each in verdicts if each.point.fault == fault]) for fault in faults)]
    return table(["survived/tried", *faults, "in flight", "redone", "keys"], [*rows, [*total, "", "", ""]])


def share(verdicts: Sequence[Verdict]) -> str:
    """Only points where the fault came to something count."""
    tried = [verdict for verdict in verdicts if verdict.hit is not None]
    return f"{sum(not verdict.problems for verdict in tried)}/{len(tried)}" if tried else "-"


def complaints(verdicts: Sequence[Verdict]) -> str:
    """The different complaints and how often each was made: names made by chance or by content are left out."""
    every = [NAME.sub("*", problem) for verdict in verdicts for problem in verdict.problems]
    counted = Counter(every).most_common(MOST_COMPLAINTS)
    return "\n".join(f"{count:6} {problem}" for problem, count in counted)


def parts_table(parts: Sequence[PartVerdict]) -> str:
    rows = [(part.name, f"{part.tried - len(part.problems)}/{part.tried}", part.note) for part in parts]
    return table(["part", "survived/tried", "note"], rows)


def failures(verdicts: Sequence[Verdict], parts: Sequence[PartVerdict]) -> Iterable[str]:
    """Each with what was wrong and how to see it again."""
    for verdict in verdicts:
        if verdict.problems:
            point = verdict.point
            struck = f"{point.case} × {point.fault} at {point.number} ({verdict.hit})"
            yield f"FAILED {struck}: {'; '.join(verdict.problems)}"
            yield f"       {point.replay}"
    for part in parts:
        for what, problems in part.problems:
            yield f"FAILED {part.name}: {what}: {'; '.join(problems)}"
            yield f"       python -m tests.fault_injection --part {part.name}"
