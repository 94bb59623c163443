"""Self-edits with what they taught, for a reader: `python -m examples.gemma.show scores.jsonl … --most 20`.

In Markdown, of each: the passage's title and text (once), who wrote the self-edit, the self-edit as it is, and a table
of the questions with the answers before and after. Files take turns, so that each is seen; within a file the order is
that of its lines.
"""

import argparse
from collections.abc import Iterator, Sequence
from itertools import chain, zip_longest
from pathlib import Path

from stages.domains.qa import require_passage
from stages.records.jsonl import read_bounded_lines
from stages.records.parser import read_records
from stages.records.record import Record

MARKS = {True: "✓", False: "✗", None: "?"}


def list_samples(files: Sequence[Sequence[Record]], most: int) -> list[Record]:
    """Pick lines of the files in turn, `most` at most; of a self-edit that several adapters learned, the first."""
    turns = (line for line in chain.from_iterable(zip_longest(*files)) if line is not None and line.edit)
    firsts: dict[tuple[str, str], Record] = {}
    for line in turns:
        firsts.setdefault((line.task.id, line.edit.id if line.edit else ""), line)
    return list(firsts.values())[:most]


def format_sample(line: Record, number: int, before: int | None = None) -> Iterator[str]:
    """Yield the lines of Markdown about a self-edit. `before` is the number under which its passage stands already."""
    task, edit, score = require_passage(line.task), line.edit, line.score
    yield f"## {number}. {_escape(task.title)}"
    yield f"\n{_escape(task.context)}\n" if before is None else f"\nThe passage of {before}.\n"
    if edit:
        who = "Written by no model" if edit.model == "none" else f"`{edit.template}`, written by `{edit.model}`"
        yield f"{who}{f', {edit.tokens} tokens' if edit.tokens else ''}:\n"
        yield from (f"> {_escape(text)}  " for text in (edit.completion or "").strip().split("\n"))
    if score and score.answers:
        golds = {question.id: (question.question, question.answer) for question in task.questions}
        yield "\n| question | right is | before | after |\n|---|---|---|---|"
        for each in score.answers:
            asked, gold = golds.get(each.id, ("", ""))
            before = f"{MARKS[each.baseline_correct]} {_cut(each.baseline_prediction)}"
            cells = [_cut(asked), _cut(gold), before, f"{MARKS[each.correct]} {_cut(each.prediction)}"]
            yield f"| {' | '.join(cells)} |"
    yield ""


def _cut(text: str | None, most: int = 120) -> str:
    """The first line of a text, in a cell of a table."""
    first = (text or "").strip().split("\n")[0]
    return _escape(first if len(first) <= most else f"{first[: most - 1]}…")


def _escape(text: str) -> str:
    """The text with what Markdown would take for its own."""
    for mark in "\\`*_<>|#":
        text = text.replace(mark, f"\\{mark}")
    return text


def main() -> None:
    parser = argparse.ArgumentParser(description="Write self-edits with what they taught, in Markdown.")
    parser.add_argument("scores", nargs="+", type=Path)
    parser.add_argument("--most", type=int, default=20)
    given = parser.parse_args()
    files = []
    for path in given.scores:
        with path.open("rb") as file:
            files.append(list(read_records(read_bounded_lines(file), str(path))))
    shown = dict[str, int]()
    for number, line in enumerate(list_samples(files, given.most), 1):
        print("\n".join(format_sample(line, number, shown.get(line.task.id))))
        shown.setdefault(line.task.id, number)


if __name__ == "__main__":
    main()
