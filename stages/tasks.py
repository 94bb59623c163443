"""source → task: reads what people have into records. SQuAD, ARC, own texts, hub datasets, official SEAL files.

What a source already holds is kept: files with completions give edit lines, files with rewards give score lines.
"""

import json
import sys
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

from stages import arc_files, official, squad
from stages.failures import BadConfig, BadInput, MissingInput, Unavailable
from stages.lines import (
    LONGEST,
    LONGEST_ENTRY,
    BadLine,
    Refuse,
    Reject,
    bounded_lines,
    one_line,
    read_lines,
    stop,
    validate,
)
from stages.records import Record, derive_seed, make_task
from stages.strict_json import Fault, parse_loosely, settled, why

TEXTS = (".txt", ".md")
JSON_FILES = (".json", ".jsonl", ".ndjson")


@dataclass(frozen=True)
class Sample:
    """A subset picked by identity: the `size` tasks that rank first under the seed, after the first `skip`."""

    size: int
    seed: int = 0
    skip: int = 0


def run(
    source: str,
    *,
    sample: Sample | None = None,
    ids: Collection[str] = (),
    split: str = "train",
    solutions: Path | None = None,
    refuse: Refuse = stop,
) -> Iterator[Record]:
    """Records of a file, a folder of texts or ARC tasks, or a dataset name, in the order of the source.

    A line, passage or text that cannot be used is told to `refuse`. `ids`: of these tasks only. `solutions`: the file
    of ARC's solutions, where it does not lie beside the tasks.
    """
    found = load(source, split, refuse, solutions)
    records = only(found, ids) if ids else found
    return pick(records, sample) if sample else records


def only(records: Iterable[Record], ids: Collection[str]) -> Iterator[Record]:
    """The lines of these tasks. Raises BadConfig at the end for an id that none has; of no lines nothing is asked."""
    missing, record = dict.fromkeys(ids), None
    for record in records:
        if record.task.id in ids:
            missing.pop(record.task.id, None)
            yield record
    if missing and record:
        raise BadConfig(f"--ids {next(iter(missing))}: no task has this id (seal tasks SOURCE | jq -r .task.id)")


def pick(records: Iterable[Record], sample: Sample) -> Iterator[Record]:
    """All lines of the sampled tasks. Reads everything first: a ranking needs all ids.

    Skips are disjoint: `Sample(50, seed, 0)` and `Sample(50, seed, 50)` share no task.
    """
    lines = list(records)
    ids = sorted({line.task.id for line in lines}, key=lambda task_id: (derive_seed(sample.seed, task_id), task_id))
    if lines and len(ids) < sample.skip + sample.size:
        raise BadConfig(f"--sample {sample.size} --skip {sample.skip}: the source has only {len(ids)} tasks")
    chosen = set(ids[sample.skip : sample.skip + sample.size])
    return (line for line in lines if line.task.id in chosen)


def load(source: str, split: str = "train", refuse: Refuse = stop, solutions: Path | None = None) -> Iterator[Record]:
    """Records of one source; `-` is lines on stdin. Raises MissingInput, BadInput or Unavailable with what to do."""
    path = Path(source)
    if solutions and not (path.is_dir() or path.suffix == ".json"):
        raise BadConfig(f"--solutions {solutions}: only for ARC tasks in a .json file or a folder")
    if source == "-":
        if sys.stdin is None or sys.stdin.isatty():
            raise MissingInput("-: nothing to read on stdin; give a file, or pipe lines in")
        return read_lines(bounded_lines(sys.stdin.buffer), "stdin", from_line, refuse)
    if path.is_dir():
        return load_folder(path, split, refuse, solutions)
    if path.suffix.lower() in TEXTS and path.is_file():
        return load_texts([path], refuse)
    if path.is_file():
        return load_json(path, refuse, solutions)
    if path.suffix in (*TEXTS, *JSON_FILES) or path.is_absolute() or source.startswith("."):
        raise MissingInput(f"{source}: no such file or folder")
    return load_hub(source, split, refuse)


def load_folder(path: Path, split: str, refuse: Refuse, solutions: Path | None) -> Iterator[Record]:
    """A folder of texts gives a task each, one of ARC tasks too; any other folder is read as a dataset."""
    texts = sorted(file for file in path.iterdir() if file.suffix.lower() in TEXTS and file.is_file())
    data = [file for file in path.iterdir() if file.suffix in (*JSON_FILES, ".parquet", ".csv")]
    if texts and not data:
        return load_texts(texts, refuse)
    if not data:
        raise BadInput(f"{path}: a folder without texts (.txt, .md) and without data (.json, .jsonl, .parquet, .csv)")
    grids = sorted(file for file in data if file.suffix == ".json")
    if grids and arc_files.is_folder_of_tasks(grids):
        return arc_files.from_folder(grids, refuse, solutions)
    return load_hub(str(path), split, refuse)


def load_texts(paths: Iterable[Path], refuse: Refuse) -> Iterator[Record]:
    """Own texts as tasks without questions: the title of each is its file's name."""
    for path in paths:
        raw = read_start(path)
        try:
            record = from_text(path.stem, raw)
        except BadLine as error:
            refuse(Reject(str(path), 0, 0, str(error), raw[:LONGEST_ENTRY]))
        else:
            yield record


def read_start(path: Path) -> bytes:
    """What a file holds, and no more of it than shows that it is too long."""
    with path.open("rb") as file:
        return file.read(LONGEST + 1)


def from_text(title: str, raw: bytes) -> Record:
    """An own text as a task without questions. Raises BadLine for bytes that are not UTF-8."""
    if len(raw) > LONGEST:
        raise BadLine(f"more than {LONGEST:,} bytes, too long for one passage; split it into several files")
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise BadLine(f"not UTF-8 (byte {error.start})") from None
    return Record(task=make_task(settled(title), text.replace("\r\n", "\n").replace("\r", "\n").strip(), []))


def load_json(path: Path, refuse: Refuse, solutions: Path | None = None) -> Iterator[Record]:
    """One JSON document in a layout we know, or JSON lines."""
    raw = path.read_bytes()
    try:
        document = parse_loosely(raw.decode("utf-8-sig"))
    except ValueError as error:
        if path.suffix == ".json" and not any(map(_is_object, raw.split(b"\n", 3)[:3])):
            raise BadInput(f"{path}: {why(error)}") from None
        return load_lines(raw, path, refuse)
    lines = path.suffix in (".jsonl", ".ndjson") and not isinstance(document, list)
    if lines or (isinstance(document, dict) and "task" in document and not arc_files.is_challenges(document)):
        return load_lines(raw, path, refuse)
    return from_document(document, path, refuse, solutions)


def _is_object(line: bytes) -> bool:
    try:
        return isinstance(json.loads(line), dict)
    except (ValueError, RecursionError):
        return False


def load_lines(raw: bytes, path: Path, refuse: Refuse) -> Iterator[Record]:
    """A file's record lines as they are, and its `{title, context, questions}` lines as tasks."""
    return read_lines(bounded_lines(BytesIO(raw)), str(path), from_line, refuse)


def from_line(value: dict[str, Any]) -> Record:
    """A record line, or a `{title, context, questions}` line. Raises BadLine for any other object."""
    return validate(Record, value) if "task" in value else Record(task=official.read_task(value))


def from_document(document: Any, path: Path, refuse: Refuse, solutions: Path | None = None) -> Iterator[Record]:
    """A whole JSON document, told apart by its keys. Raises BadInput for one of no known layout."""
    if isinstance(document, Fault):
        raise BadInput(f"{path}: {document}")
    if arc_files.is_task(document) or arc_files.is_challenges(document):
        return arc_files.from_arc(document, path, refuse, solutions)
    if solutions:
        raise BadConfig(f"--solutions {solutions}: {path} does not hold ARC tasks")
    for fits, read in LAYOUTS:
        if fits(document):
            return read(document, path, refuse)
    keys = ", ".join(key[:40] for key in list(document)[:5]) if isinstance(document, dict) else ""
    found = f"an object with {keys or 'nothing'}" if isinstance(document, dict) else type(document).__name__
    raise BadInput(
        one_line(f"{path}: {found}")
        + "; known are SQuAD, ARC tasks, a list of {title, context, questions} (with completions or not), official "
        "reward files (articles), and record lines"
    )


def _is_squad(document: Any) -> bool:
    return isinstance(document, dict) and isinstance(document.get("data"), list)


def _is_rewards(document: Any) -> bool:
    return isinstance(document, dict) and isinstance(document.get("articles"), list)


def _is_list(document: Any) -> bool:
    """A list that may be one of tasks: something in it is an object, good or bad."""
    return isinstance(document, list) and (not document or any(isinstance(e, dict | Fault) for e in document))


Reader = Callable[[Any, Path, Refuse], Iterator[Record]]
LAYOUTS: tuple[tuple[Callable[[Any], bool], Reader], ...] = (
    (_is_squad, squad.from_squad),
    (_is_rewards, official.from_rewards),
    (_is_list, official.from_list),
)


def load_hub(name: str, split: str, refuse: Refuse) -> Iterator[Record]:
    """A dataset by name or folder, through `datasets`, with SQuAD's columns: one task per passage."""
    from datasets import load_dataset
    from datasets.exceptions import DatasetBuildError, DatasetNotFoundError

    try:
        rows = load_dataset(name, split=split)
    except (DatasetNotFoundError, ConnectionError, OSError) as error:
        raise Unavailable(
            f"{name}: neither a file here nor a dataset that can be loaded ({_first_line(error)}); check the name, or "
            "give a local file"
        ) from None
    except DatasetBuildError as error:
        raise BadInput(f"{name}: {_first_line(error.__cause__ or error)}") from None
    except ValueError as error:
        raise BadConfig(f"{name} --split {split}: {_first_line(error)}") from None
    missing = {"title", "context", "question", "answers"} - set(rows.column_names)
    if missing:
        raise BadInput(f"{name}: no column {', '.join(sorted(missing))}; it has {', '.join(rows.column_names)}")
    return squad.group_rows(rows, name, refuse)


def _first_line(error: BaseException) -> str:
    return one_line(str(error).split("\n", 1)[0]) or type(error).__name__
