"""Score files as one HTML page to look at: the rows, what they cost, and every task down to its answers.

The page is whole: it loads nothing. What records say is text, whatever it looks like: it is escaped, and the page's
Content-Security-Policy lets no script run but its own.
"""

import base64
import hashlib
import re
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from stages.domains.views import PALETTE
from stages.errors import BadConfig
from stages.files import replace_file
from stages.reporting.page_lines import PageLines, TaskEntry
from stages.reporting.rows import ReportRow

MOST_BYTES = 5_000_000  # of a page: what a mail or a chat still takes
_FRAME_BYTES = 50_000  # of what is not about tasks: the rows, the script, the style
_ROUND = re.compile(r"(.*?)[\s_-]*(?<![^\W_])round[\s_-]*(\d+)", re.IGNORECASE)  # a label of the outer loop
_CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]")  # what HTML has no place for


def check_page(path: Path) -> None:
    """Raise BadConfig for a file that is no page by its name, before anything is computed."""
    if path.suffix not in (".html", ".htm"):
        raise BadConfig(f"--html {path}: the file must end in .html")


@dataclass(frozen=True)
class RoundSeries:
    """The rows of one outer loop, by round."""

    name: str
    rows: Sequence[tuple[int, ReportRow]]


def group_rounds(rows: Sequence[ReportRow]) -> list[RoundSeries]:
    """Find the rows that are rounds by their labels ("round 1", "dpo_round_2"): each loop with two measured ones."""
    loops: dict[str, dict[int, ReportRow]] = {}
    for row in rows:
        if row.mean is not None and (named := _ROUND.fullmatch(row.label.strip())):
            loops.setdefault(named[1], {})[int(named[2])] = row
    return [RoundSeries(name, sorted(loop.items())) for name, loop in loops.items() if len(loop) > 1]


@dataclass(frozen=True)
class PageTable:
    """A table of texts, with its title and a sentence above it."""

    title: str
    note: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]


def write_page(
    path: Path,
    rows: Sequence[ReportRow],
    lines: PageLines,
    against: str | None = None,
    tables: Sequence[PageTable] = (),
) -> str:
    """Write the page and return what it leaves out, "" for nothing. `tables` stand above all others.

    Raises OSError where it cannot be written.
    """
    folder = Path(__file__).parent
    jinja = Environment(
        loader=FileSystemLoader(folder),
        autoescape=True,
        finalize=_clean,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    jinja.globals["palette"] = PALETTE
    script, style = ((folder / name).read_text("utf-8") for name in ("page.js", "page.css"))
    taken = sum(_size(cell) + 40 for table in tables for row in table.rows for cell in row)
    parts, left_out = _render_tasks(jinja, [row.label for row in rows], list(lines.tasks.values()), taken)
    page = jinja.get_template("page.html").render(
        tables=tables,
        rows=rows,
        top=max([0.01, *(row.high for row in rows if row.high is not None)]),
        rounds=group_rounds(rows),
        matrices=list(lines.make_matrices()),
        costs=lines.costs,
        against=against,
        tasks=parts,
        left_out=left_out,
        script=script,
        style=style,
        script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
    )
    replace_file(path, page.encode("utf-8", "replace"))
    return left_out


def _render_tasks(
    jinja: Environment, labels: Sequence[str], entries: Sequence[TaskEntry], taken: int
) -> tuple[list[str], str]:
    """Render as many tasks as the page holds, the first ones with their lines; say what is left out.

    `taken`: bytes of tables that are there already.
    """
    most = MOST_BYTES - _FRAME_BYTES - 6 * taken  # a letter may be written as &quot;
    render = jinja.get_template("task.html").module.task  # type: ignore[attr-defined]
    parts: list[str] = [render(entry, labels, None) for entry in entries]
    ends = list(accumulate(map(_size, parts)))
    parts = parts[: bisect_right(ends, most)]
    room = most - (ends[len(parts) - 1] if parts else 0)
    without = 0
    for place, bare in enumerate(parts):
        entry = entries[place]
        whole = render(entry, labels, entry.fold(entry.name)) if entry.lines else bare
        needed = _size(whole) - _size(bare)
        if 0 < needed <= room:
            parts[place], room = whole, room - needed
        else:
            without += 1
    told = [f"{without} of {len(entries)} tasks are without their lines"] if without else []
    told += [f"{len(entries) - len(parts)} of {len(entries)} tasks do not appear"] if len(parts) < len(entries) else []
    return parts, f"{' and '.join(told)}: a page has at most {MOST_BYTES // 1_000_000} MB" if told else ""


def _size(part: str) -> int:
    return len(part.encode("utf-8", "replace"))


def _clean(value: object) -> object:
    """Replace control characters and lone surrogates in what a record says."""
    return _CONTROL.sub("�", value) if type(value) is str else value  # not of what is markup already
