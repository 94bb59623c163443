"""Reads ARC: files of many tasks, with their solutions beside them, and files of one task each.

    challenges   {id: {"train": [{"input", "output"}], "test": [{"input"}]}}     (ARC-AGI-1 as on Kaggle)
    solutions    {id: [output of each test]}
    one task     {"train": [{"input", "output"}], "test": [{"input", "output"}]}     (the original repository)

The id of a task is its key, or the name of its file without the ending.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from stages.arc_records import ArcTask
from stages.failures import BadConfig, BadInput, MissingInput
from stages.kinds import HEAD, look_at_bytes
from stages.lines import BadLine, Refuse, meta_of, read_entries, validate
from stages.records import Record
from stages.strict_json import Fault, parse_loosely, why

PARTS = {"train", "test"}


def is_task(document: Any) -> bool:
    """Whether a document is one task."""
    return isinstance(document, dict) and document.keys() >= PARTS and isinstance(document["train"], list | Fault)


def is_challenges(document: Any) -> bool:
    """Whether a document is tasks by their ids: some good ones suffice, others are rejected one by one."""
    return isinstance(document, dict) and any(map(is_task, document.values()))


class Solutions:
    """The outputs of tests: of the file that is named, or of the one beside each file of challenges.

    That one is called solutions instead of challenges. Raises MissingInput or BadInput for the file that is named.
    """

    def __init__(self, file: Path | None = None) -> None:
        self.file = file
        self.known = read_solutions(file) if file else {}
        self.unsolved: str | None = None  # where the first tasks lie that the named file does not know
        self.used = False

    def of(self, tasks: Mapping[str, Any], path: Path) -> Mapping[str, Any]:
        """What is known for the tasks of a file. Raises BadInput for bad solutions beside it."""
        if self.file is None:
            near = beside(path)
            return read_solutions(near) if near else {}
        if self.known.keys() & tasks.keys():
            self.used = True
        else:
            self.unsolved = self.unsolved or f"has no solution of {next(iter(tasks))} or any other task of {path}"
        return self.known

    def check(self, source: str) -> None:
        """To be called when all is read. Raises BadConfig where the named file was of no use."""
        if self.file and not self.used:
            none = f"only for ARC tasks in a .json file or a folder; {source} does not hold ARC tasks"
            raise BadConfig(f"--solutions {self.file}: {self.unsolved or none}")


def from_arc(document: Mapping[str, Any], path: Path, refuse: Refuse, solutions: Solutions) -> Iterator[Record]:
    """A task for each key of a file, or the file's one task, which is called as the file."""
    tasks = {path.stem: document} if is_task(document) else document
    return records_of(tasks, solutions.of(tasks, path), str(path), refuse)


def records_of(tasks: Mapping[str, Any], known: Mapping[str, Any], name: str, refuse: Refuse) -> Iterator[Record]:
    places = ((key, [key, task, known.get(key)]) for key, task in tasks.items())
    return read_entries(places, name, lambda entry: [arc_record(*entry)], refuse)


def arc_record(task_id: str, task: Any, solved: Any = None) -> Record:
    """One task as a line. Raises BadLine for one that is none, and for solutions that are not those of its tests."""
    if not is_task(task):
        raise BadLine("not an ARC task: train and test must be lists of pairs")
    test = [{"output": None, **pair} if isinstance(pair, dict) else pair for pair in listed(task["test"])]
    if solved is not None:
        if not isinstance(solved, list) or len(solved) != len(test):
            raise BadLine(f"has {len(test)} tests, but its solutions are not {len(test)} grids")
        test = [with_solution(pair, output) for pair, output in zip(test, solved, strict=True)]
    found = validate(ArcTask, {"id": task_id, "domain": "arc", "train": task["train"], "test": test})
    return Record(task=found, meta=meta_of(task))


def listed(value: Any) -> list[Any]:
    """The value, if it is a list. Raises BadLine otherwise."""
    if not isinstance(value, list):
        raise BadLine("test must be a list of pairs")
    return value


def with_solution(pair: Any, output: Any) -> Any:
    """A test with its output. Raises BadLine where it has another one already."""
    if isinstance(pair, dict) and pair.get("output") not in (None, output):
        raise BadLine("a test has another output than its solution")
    return {**pair, "output": output} if isinstance(pair, dict) else pair


def beside(path: Path) -> Path | None:
    """The solutions that lie beside a file of challenges: the same name with the one word for the other."""
    file = path.with_name(path.name.replace("challenges", "solutions"))
    return file if file != path and file.is_file() else None


def read_solutions(path: Path) -> Mapping[str, Any]:
    """Outputs by task. Raises MissingInput or BadInput."""
    if not path.is_file():
        raise MissingInput(f"--solutions {path}: no such file")
    raw = path.read_bytes()
    if kind := look_at_bytes(raw[:HEAD]):
        raise BadInput(f"{path}: {kind.tell(str(path))}")
    try:
        document = parse_loosely(raw.decode("utf-8-sig"))
    except ValueError as error:
        raise BadInput(f"{path}: {why(error)}") from None
    if not isinstance(document, dict):
        found = f" ({document})" if isinstance(document, Fault) else ""
        raise BadInput(f"{path}: not ARC solutions, which are an object with a list of grids for each task{found}")
    return document
