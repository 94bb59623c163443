"""Read ARC: files of many tasks, with their solutions beside them, and files of one task each.

    challenges   {id: {"train": [{"input", "output"}], "test": [{"input"}]}}     (ARC-AGI-1 as on Kaggle)
    solutions    {id: [output of each test]}
    one task     {"train": [{"input", "output"}], "test": [{"input", "output"}]}     (the original repository)
    lines, rows  the same with an id                                              (exports of the hub)

The id of a task is its key, the name of its file without the ending, or what its line says; else a hash of its grids.
What else a task or a pair holds is left alone. Grids may be rows of digits, or numbers as other programs write them.
"""

import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from stages.errors import BadConfig, BadInput, BadLine
from stages.file_kinds import HEAD_BYTES, detect_by_bytes
from stages.records.arc import COLOUR_COUNT, MAX_SIDE, ArcTask
from stages.records.frozen import content_id
from stages.records.jsonl import OnReject, excerpt, get_meta, read_entries, validate
from stages.records.record import Record
from stages.records.strict_json import JsonFault, explain, parse_json, parse_loosely
from stages.sources.golds import parse_literal
from stages.sources.texts import require_flag_file

_PARTS = {"train", "test"}
_ID_KEYS = ("id", "task_id", "task", "name", "task_name", "puzzle_id")  # of a task in a line or a list
_NO_TASK = "not an ARC task: train and test must be lists of pairs"


def is_task(document: Any) -> bool:
    """True if a document is one task."""
    if not isinstance(document, dict) or not document.keys() >= _PARTS:
        return False
    return isinstance(document["train"], list | JsonFault) or _is_object_of_grids(document["train"])


def _is_object_of_grids(value: Any) -> bool:
    """True for one pair, and for pairs as {"input": [grids], "output": [grids]}."""
    return isinstance(value, dict) and isinstance(value.get("input"), list | str)


def is_challenges(document: Any) -> bool:
    """True if a document is tasks by their ids: some good ones suffice, others are rejected one by one."""
    return isinstance(document, dict) and any(map(is_task, document.values()))


class Solutions:
    """The outputs of tests, from a named file or from one beside each challenges file.

    That one is called solutions instead of challenges. Raises MissingInput or BadInput for the file that is named.
    """

    def __init__(self, file: Path | None = None) -> None:
        self.file = file
        self.known = _read_solutions(file) if file else {}
        self.unsolved: str | None = None  # where the first tasks lie that the named file does not know
        self.used = False

    def of(self, tasks: Mapping[str, Any], path: Path) -> Mapping[str, Any]:
        """Return the known outputs for a file's tasks. Raises BadInput for bad solutions beside it."""
        if self.file is None:
            near = _beside(path)
            return _read_solutions(near) if near else {}
        if self.known.keys() & tasks.keys():
            self.used = True
        else:
            self.unsolved = self.unsolved or f"has no solution of {next(iter(tasks))} or any other task of {path}"
        return self.known

    def check(self, source: str) -> None:
        """Call after reading: raises BadConfig if the named file was of no use."""
        if self.file and not self.used:
            none = f"only for ARC tasks in a .json file or a folder; {source} does not hold ARC tasks"
            raise BadConfig(f"--solutions {self.file}: {self.unsolved or none}")


def read_challenges(
    document: Mapping[str, Any], path: Path, refuse: OnReject, solutions: Solutions
) -> Iterator[Record]:
    """Yield a task for each key of a file, or the file's one task, named after the file."""
    tasks = {path.stem: document} if is_task(document) else document
    known = solutions.of(tasks, path)
    places = ((key, [key, task, known.get(key)]) for key, task in tasks.items())
    return read_entries(places, str(path), lambda entry: [_arc_record(*entry)], refuse)


def make_named_record(task: Mapping[str, Any], solutions: Solutions, name: str) -> Record:
    """Make a task that contains its own name. Raises BadLine for a bad one."""
    task_id = get_name(task) or content_id("arc", task["train"], task["test"])
    solved = solutions.of({task_id: task}, Path(name)).get(task_id) if solutions.file else None
    return _arc_record(task_id, task, solved)


def get_name(task: Mapping[str, Any]) -> str | None:
    """Return the name that a task contains."""
    return next((str(task[key]) for key in _ID_KEYS if isinstance(task.get(key), str | int) and task[key] != ""), None)


def unpack_grids(row: dict[str, Any]) -> dict[str, Any]:
    """Return the row with its ARC pairs unpacked from a text column."""
    texts = {part: row[part] for part in _PARTS if isinstance(row.get(part), str) and row[part].lstrip()[:1] in "[{"}
    with suppress(ValueError):
        return row | {part: parse_literal(text) for part, text in texts.items()}
    return row


def read_tasks(tasks: list[Any], path: Path, refuse: OnReject, solutions: Solutions) -> Iterator[Record]:
    """Yield the tasks of a list whose items contain their names."""

    def make(task: Any) -> list[Record]:
        if not is_task(task):
            raise BadLine(_NO_TASK)
        return [make_named_record(task, solutions, str(path))]

    return read_entries(((f"[{number}]", task) for number, task in enumerate(tasks)), str(path), make, refuse)


def _arc_record(task_id: str, task: Any, solved: Any = None) -> Record:
    """One task as a line. Raises BadLine for one that is none, and for solutions that are not those of its tests."""
    if not is_task(task):
        raise BadLine(_NO_TASK)
    train, test = _pairs_of(task["train"], "train"), _pairs_of(task["test"], "test")
    for number, pair in enumerate(train):
        if pair["output"] is None:
            raise BadLine(f"train[{number}]: has no output")
    if solved is not None:
        if not isinstance(solved, list) or len(solved) != len(test):
            raise BadLine(f"has {len(test)} tests, but its solutions are not {len(test)} grids")
        test = [_with_solution(pair, output, n) for n, (pair, output) in enumerate(zip(test, solved, strict=True))]
    found = validate(ArcTask, {"id": task_id, "domain": "arc", "train": train, "test": test})
    return Record(task=found, meta=get_meta(task))


def _pairs_of(value: Any, part: str) -> list[dict[str, Any]]:
    """The pairs of a part of a task: {"input": grid, "output": grid or None}. Raises BadLine naming what is wrong."""
    if _is_object_of_grids(value):
        inputs, outputs = value["input"], value.get("output")
        if isinstance(inputs, list) and inputs and _is_deep(inputs[0]):
            outputs = [None] * len(inputs) if outputs is None else outputs
            if not isinstance(outputs, list) or len(outputs) != len(inputs):
                raise BadLine(f"{part}: has {len(inputs)} inputs and other outputs")
            value = [{"input": given, "output": output} for given, output in zip(inputs, outputs, strict=True)]
        else:
            value = [value]
    if not isinstance(value, list):
        raise BadLine(f"{part} must be a list of pairs")
    if not value:
        raise BadLine(f"{part} is empty: a task has one pair there at least")
    return [_pair_of(pair, f"{part}[{number}]", is_test=part == "test") for number, pair in enumerate(value)]


def _is_deep(value: Any) -> bool:
    """True for a grid, not for a row of one."""
    first = value[0] if isinstance(value, list) and value else None
    return isinstance(first, list) or (isinstance(first, str) and len(first) > 1)


def _pair_of(pair: Any, place: str, *, is_test: bool) -> dict[str, Any]:
    if not isinstance(pair, dict) or "input" not in pair:
        raise BadLine(f"{place}: must be a pair of input and output (found {excerpt(pair)})")
    output = pair.get("output")
    unknown = output is None or (is_test and output in ([], ""))  # as tables hold what is not there
    return {
        "input": _grid_of(pair["input"], f"{place}.input"),
        "output": None if unknown else _grid_of(output, f"{place}.output"),
    }


def _grid_of(value: Any, place: str) -> list[list[int]]:
    """A grid as rows of numbers: from lists, rows of digits or text of such rows. Raises BadLine for any other."""
    rows = value.strip().splitlines() if isinstance(value, str) else value
    if isinstance(value, str) and value.lstrip().startswith("["):
        try:
            rows = parse_json(value)
        except ValueError as error:
            raise BadLine(f"{place}: {explain(error)}") from None
    if not isinstance(rows, list) or not all(isinstance(row, list | str) for row in rows):
        raise BadLine(f"{place}: a grid is a list of rows (found {excerpt(value)})")
    grid = [[_colour_of(cell, place) for cell in (_cells_of(row) if isinstance(row, str) else row)] for row in rows]
    widths = sorted({len(row) for row in grid})
    if len(widths) > 1:
        raise BadLine(f"{place}: the rows of a grid are equally long (found {widths[0]} and {widths[-1]} colours)")
    if not 1 <= len(grid) <= MAX_SIDE or not 1 <= widths[0] <= MAX_SIDE:
        size = f"{len(grid)} rows of {widths[0]}" if widths else "none"
        raise BadLine(f"{place}: the sides of a grid are 1 to {MAX_SIDE} long (found {size})")
    return grid


def _cells_of(row: str) -> list[str]:
    """The colours of a row in text: 0120, 0 1 2 0 or 0,1,2,0."""
    text = row.strip()
    return list(text) if text.isdigit() else re.split(r"[\s,]+", text)


def _colour_of(cell: Any, place: str) -> int:
    """A colour, also as other programs write it: 3.0 or "3"."""
    number = (
        int(cell) if isinstance(cell, str) and cell.isascii() and cell.strip().isdigit() and len(cell) < 9 else cell
    )
    if isinstance(number, bool) or not isinstance(number, int | float) or number not in range(COLOUR_COUNT):
        raise BadLine(f"{place}: the colours of a grid are whole numbers from 0 to 9 (found {excerpt(cell)})")
    return int(number)


def _with_solution(pair: Mapping[str, Any], output: Any, number: int) -> dict[str, Any]:
    """A test with its output. Raises BadLine where it has another one already."""
    solved = _grid_of(output, f"its solution [{number}]")
    if pair["output"] not in (None, solved):
        raise BadLine("a test has another output than its solution")
    return {**pair, "output": solved}


def _beside(path: Path) -> Path | None:
    """The solutions that lie beside a file of challenges: the same name with the one word for the other."""
    file = path.with_name(path.name.replace("challenges", "solutions"))
    return file if file != path and file.is_file() else None


def _read_solutions(path: Path) -> Mapping[str, Any]:
    """Outputs by task. Raises MissingInput or BadInput."""
    require_flag_file(path, f"--solutions {path}")
    raw = path.read_bytes()
    if kind := detect_by_bytes(raw[:HEAD_BYTES]):
        raise BadInput(f"{path}: {kind.tell(str(path))}")
    try:
        document = parse_loosely(raw.decode("utf-8-sig"))
    except ValueError as error:
        raise BadInput(f"{path}: {explain(error)}") from None
    if not isinstance(document, dict):
        found = f" ({document})" if isinstance(document, JsonFault) else ""
        raise BadInput(f"{path}: not ARC solutions, which are an object with a list of grids for each task{found}")
    return document
