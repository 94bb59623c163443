"""source → task: reads what people have into records. SQuAD, own texts, hub datasets, and the official SEAL files.

What a source already holds is kept: files with completions give edit lines, files with rewards give score lines.
"""

import json
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from stages import official
from stages.failures import BadConfig, BadInput, MissingInput, Unavailable
from stages.lines import parse_json, problem, read_objects, validate
from stages.records import Record, derive_seed, make_task

TEXTS = (".txt", ".md")
JSON_FILES = (".json", ".jsonl", ".ndjson")


@dataclass(frozen=True)
class Sample:
    """A subset picked by identity: the `size` tasks that rank first under the seed, after the first `skip`."""

    size: int
    seed: int = 0
    skip: int = 0


def run(source: str, *, sample: Sample | None = None, split: str = "train") -> Iterator[Record]:
    """Records of a file, a folder of texts, or a dataset name, in the order of the source."""
    records = load(source, split)
    return pick(records, sample) if sample else records


def pick(records: Iterable[Record], sample: Sample) -> Iterator[Record]:
    """All lines of the sampled tasks. Reads everything first: a ranking needs all ids.

    Skips are disjoint: `Sample(50, seed, 0)` and `Sample(50, seed, 50)` share no task.
    """
    lines = list(records)
    ids = sorted({line.task.id for line in lines}, key=lambda task_id: (derive_seed(sample.seed, task_id), task_id))
    if len(ids) < sample.skip + sample.size:
        raise BadConfig(f"--sample {sample.size} --skip {sample.skip}: the source has only {len(ids)} tasks")
    chosen = set(ids[sample.skip : sample.skip + sample.size])
    return (line for line in lines if line.task.id in chosen)


def load(source: str, split: str = "train") -> Iterator[Record]:
    """Records of one source; `-` is lines on stdin. Raises MissingInput, BadInput or Unavailable with what to do."""
    path = Path(source)
    if source == "-":
        return load_lines(sys.stdin.buffer, "stdin")
    if path.is_dir():
        return load_folder(path, split)
    if path.suffix.lower() in TEXTS and path.is_file():
        return iter([from_text(path)])
    if path.is_file():
        return load_json(path)
    if path.suffix in (*TEXTS, *JSON_FILES) or path.is_absolute() or source.startswith("."):
        raise MissingInput(f"{source}: no such file or folder")
    return load_hub(source, split)


def load_folder(path: Path, split: str) -> Iterator[Record]:
    """A folder of texts gives a task each; any other folder is read as a dataset."""
    texts = sorted(file for file in path.iterdir() if file.suffix.lower() in TEXTS and file.is_file())
    data = [file for file in path.iterdir() if file.suffix in (*JSON_FILES, ".parquet", ".csv")]
    if texts and not data:
        return (from_text(file) for file in texts)
    if not data:
        raise BadInput(f"{path}: a folder without texts (.txt, .md) and without data (.json, .jsonl, .parquet, .csv)")
    return load_hub(str(path), split)


def from_text(path: Path) -> Record:
    """An own text as a task without questions: its title is the file's name."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise BadInput(f"{path}: not UTF-8 (byte {error.start})") from None
    return Record(task=make_task(path.stem, text.strip(), []))


def load_json(path: Path) -> Iterator[Record]:
    """One JSON document in a layout we know, or JSON lines."""
    text = path.read_bytes()
    try:
        document = parse_json(text.decode("utf-8-sig"))
    except ValueError as whole:
        first = text.split(b"\n", 1)[0].strip()
        if path.suffix == ".json" and not _is_object(first):
            raise BadInput(f"{path}: not JSON: {whole}") from None
        return load_lines(text.split(b"\n"), str(path))
    if isinstance(document, dict) and ("task" in document or path.suffix in (".jsonl", ".ndjson")):
        return load_lines(text.split(b"\n"), str(path))
    return from_document(document, path)


def _is_object(line: bytes) -> bool:
    try:
        return isinstance(json.loads(line), dict)
    except (ValueError, RecursionError):
        return False


def load_lines(lines: Iterable[bytes], name: str) -> Iterator[Record]:
    """Record lines as they are, and `{title, context, questions}` lines as tasks."""
    for where, value in read_objects(lines, name):
        yield validate(Record, value, where) if "task" in value else Record(task=official.read_task(value, where))


def from_document(document: Any, path: Path) -> Iterator[Record]:
    """A whole JSON document, told apart by its keys."""
    for fits, read in LAYOUTS:
        if fits(document):
            return read(document, path)
    found = f"an object with {', '.join(list(document)[:5])}" if isinstance(document, dict) else type(document).__name__
    raise BadInput(
        f"{path}: {found}; known are SQuAD, a list of {{title, context, questions}} (with completions or not), "
        "official reward files (articles), and record lines"
    )


def _is_squad(document: Any) -> bool:
    return isinstance(document, dict) and isinstance(document.get("data"), list)


def _is_rewards(document: Any) -> bool:
    return isinstance(document, dict) and isinstance(document.get("articles"), list)


def _is_list(document: Any) -> bool:
    return isinstance(document, list) and all(isinstance(entry, dict) for entry in document)


def from_squad(document: Mapping[str, Any], path: Path) -> Iterator[Record]:
    """SQuAD v1.1's own layout: data → paragraphs → qas. The first of several gold answers is taken."""
    for a, article in enumerate(document["data"]):
        where = f"{path}: data[{a}]"
        try:
            for p, paragraph in enumerate(article["paragraphs"]):
                where = f"{path}: data[{a}].paragraphs[{p}]"
                answered = [qa for qa in paragraph["qas"] if qa["answers"]]
                if paragraph["qas"] and not answered:  # SQuAD 2: none of them can be answered from the passage
                    continue
                pairs = [(qa["question"], qa["answers"][0]["text"]) for qa in answered]
                task = make_task(article["title"], paragraph["context"], pairs, [qa.get("id") for qa in answered])
                yield Record(task=task)
        except ValidationError as error:
            raise BadInput(f"{where}: not SQuAD v1.1 ({problem(error)})") from None
        except (KeyError, TypeError, AttributeError) as error:
            raise BadInput(f"{where}: not SQuAD v1.1 ({error!r})") from None


Reader = Callable[[Any, Path], Iterator[Record]]
LAYOUTS: tuple[tuple[Callable[[Any], bool], Reader], ...] = (
    (_is_squad, from_squad),
    (_is_rewards, official.from_rewards),
    (_is_list, official.from_list),
)


def load_hub(name: str, split: str) -> Iterator[Record]:
    """A dataset by name or folder, through `datasets`, with SQuAD's columns: one task per passage."""
    from datasets import load_dataset
    from datasets.exceptions import DatasetNotFoundError

    try:
        rows = load_dataset(name, split=split)
    except (DatasetNotFoundError, ConnectionError, OSError) as error:
        raise Unavailable(
            f"{name}: neither a file here nor a dataset that can be loaded ({_first_line(error)}); check the name, or "
            "give a local file"
        ) from None
    except ValueError as error:
        raise BadConfig(f"{name} --split {split}: {_first_line(error)}") from None
    missing = {"title", "context", "question", "answers"} - set(rows.column_names)
    if missing:
        raise BadInput(f"{name}: no column {', '.join(sorted(missing))}; it has {', '.join(rows.column_names)}")
    return group_rows(rows)


def _first_line(error: Exception) -> str:
    return str(error).split("\n", 1)[0] or type(error).__name__


def group_rows(rows: Iterable[Mapping[str, Any]]) -> Iterator[Record]:
    """One task per (title, context), in order of first appearance. Reads everything: rows of a passage may be apart."""
    passages: dict[tuple[str, str], list[Mapping[str, Any]]] = {}
    for row in rows:
        if row["answers"]["text"]:
            passages.setdefault((row["title"], row["context"]), []).append(row)
    for (title, context), group in passages.items():
        pairs = [(row["question"], row["answers"]["text"][0]) for row in group]
        yield Record(task=make_task(title, context, pairs, [row.get("id") for row in group]))
