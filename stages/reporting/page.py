"""Score files as one HTML page to look at: the rows, what they cost, and every task down to its answers.

The page is whole: it loads nothing. What records say is text, whatever it looks like: it is escaped, and the page's
Content-Security-Policy lets no script run but its own.
"""

import base64
import hashlib
import re
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from stages.domains.views import PALETTE, make_view
from stages.errors import BadConfig
from stages.files import replace_file
from stages.records.jsonl import to_json
from stages.records.record import Record
from stages.reporting.rows import ReportRow
from stages.scoring.candidates import Candidate, compute_reliability

MOST_BYTES = 5_000_000  # of a page: what a mail or a chat still takes
_FRAME_BYTES = 50_000  # of what is not about tasks: the rows, the script, the style
_CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]")  # what HTML has no place for


@dataclass
class RowCost:
    """What the lines of a row took."""

    lines: int = 0
    written: int = 0  # tokens of self-edits, where they are known
    adapters: int = 0
    trained: int = 0  # tokens, of all epochs
    steps: int = 0  # of the optimizer
    failed: int = 0  # self-edits and trainings that came to nothing
    edits: dict[tuple[str, str], Candidate] = field(default_factory=dict)  # by task and self-edit

    @property
    def reliability(self) -> float | None:
        """The share of the rewards' variance that is no noise of the seeds; None where it cannot be known."""
        contexts: dict[str, list[Candidate]] = {}
        for candidate in self.edits.values():
            if candidate.values:
                contexts.setdefault(candidate.task_id, []).append(candidate)
        return compute_reliability(list(contexts.values()))

    def add(self, line: Record) -> None:
        """Add what a line took; a self-edit with several adapters was written once."""
        edit, adapter = line.edit, line.adapter
        self.lines += 1
        if edit:
            name = line.task.id, edit.id
            self.written += 0 if name in self.edits else edit.tokens or 0
            candidate = self.edits.setdefault(name, Candidate(*name, edit.sample, "", 0, 0, None))
            if line.score:
                candidate.add(line.score, "leave-out")
        if adapter and adapter.train:
            self.adapters += 1
            self.steps += adapter.train.steps
            self.trained += adapter.train.tokens * int(adapter.fit.get("epochs", 1))
        self.failed += bool((edit and edit.error) or (adapter and adapter.error))


@dataclass
class TaskEntry:
    """What the page tells of a task: how each row did on it, and its lines."""

    name: str
    values: dict[str, list[float]] = field(default_factory=dict)  # by label, of its scored lines
    lines: list[tuple[str, Record]] = field(default_factory=list)

    def mean(self, label: str) -> float | None:
        values = self.values.get(label)
        return sum(values) / len(values) if values else None

    def views(self) -> Iterator[tuple[str, list[object]]]:
        """Yield (title, rows) of each line: label by label, the best first."""
        labels = list(dict.fromkeys(label for label, _ in self.lines))

        def rank(pair: tuple[str, Record]) -> tuple[int, float]:
            value = pair[1].score.value if pair[1].score else None
            return labels.index(pair[0]), -1.0 if value is None else -value - 1

        for label, line in sorted(self.lines, key=rank):
            title, *rows = make_view(line, label)
            value = line.score.value if line.score else None
            told = "not scored" if line.score is None else "unscored" if value is None else f"{100 * value:.1f} %"
            yield f"{title.text}: {told}", list(rows)


class PageLines:
    """Collects lines while another reader goes through them; of more than a page holds, the values alone."""

    def __init__(self) -> None:
        self.tasks: dict[str, TaskEntry] = {}
        self.costs: dict[str, RowCost] = {}
        self.held = 0  # characters of the lines that are kept

    def watch(self, label: str, records: Iterable[Record]) -> Iterator[Record]:
        """Pass the records on, and note them."""
        cost = self.costs.setdefault(label, RowCost())
        for record in records:
            entry = self.tasks.setdefault(record.task.id, TaskEntry(record.task.name))
            cost.add(record)
            if record.score and record.score.value is not None:
                entry.values.setdefault(label, []).append(record.score.value)
            if self.held <= MOST_BYTES:
                self.held += len(to_json(record))
                entry.lines.append((label, record))
            yield record


def check_page(path: Path) -> None:
    """Raise BadConfig for a file that is no page by its name, before anything is computed."""
    if path.suffix not in (".html", ".htm"):
        raise BadConfig(f"--html {path}: the file must end in .html")


def write_page(path: Path, rows: Sequence[ReportRow], lines: PageLines, against: str | None = None) -> str:
    """Write the page and return what it leaves out, "" for nothing. Raises OSError where it cannot be written."""
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
    parts, left_out = _render_tasks(jinja, [row.label for row in rows], list(lines.tasks.values()))
    page = jinja.get_template("page.html").render(
        rows=rows,
        top=max([0.01, *(row.high for row in rows if row.high is not None)]),
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


def _render_tasks(jinja: Environment, labels: Sequence[str], entries: Sequence[TaskEntry]) -> tuple[list[str], str]:
    """Render as many tasks as the page holds, the first ones with their lines; say what is left out."""
    render = jinja.get_template("task.html").module.task  # type: ignore[attr-defined]
    parts: list[str] = [render(entry, labels, ()) for entry in entries]
    ends = list(accumulate(map(_size, parts)))
    parts = parts[: bisect_right(ends, MOST_BYTES - _FRAME_BYTES)]
    room = MOST_BYTES - _FRAME_BYTES - (ends[len(parts) - 1] if parts else 0)
    without = 0
    for place, bare in enumerate(parts):
        whole = render(entries[place], labels, list(entries[place].views())) if entries[place].lines else bare
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
