"""The questions of an exam that a model answers wrong: `python -m examples.documents.unknown RUN/rows/none.jsonl`.

Reads score lines of the model as it is, and writes their tasks to stdout with the questions that it got wrong, so that
what an adapter answers right of them is what it learned. Tasks of which it knows everything are left out.
"""

import argparse
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

from stages.domains.qa import require_passage
from stages.records.jsonl import to_json
from stages.records.parser import read_records
from stages.records.record import Record


def keep_unknown(lines: Iterable[Record]) -> Iterator[Record]:
    """Yield the tasks with the questions that have a wrong answer."""
    for line in lines:
        wrong = {each.id for each in line.score.answers if each.correct is False} if line.score else set()
        task = require_passage(line.task)
        questions = tuple(question for question in task.questions if question.id in wrong)
        if questions:
            yield Record(task=task.model_copy(update={"questions": questions}), meta=line.meta)


def main() -> None:
    parser = argparse.ArgumentParser(description="Write the tasks of score lines with the questions answered wrong.")
    parser.add_argument("scores", type=Path)
    path = parser.parse_args().scores
    for record in keep_unknown(read_records(path.read_bytes().split(b"\n"), str(path))):
        sys.stdout.write(f"{to_json(record)}\n")


if __name__ == "__main__":
    main()
