"""Every reader fed with bad input between good, and what must hold then. `python -m tests.sources.bad_input 10000`.

`feed` makes the input of one reader, reads it and checks: each good line, passage or text is read, each other one is a
record that can be written again, a reject with its place, or (for a whole document) one BadInput. Never another error.
"""

import json
import re
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from seal_cli.runs.stdio import input_examples, input_pairs, input_records
from stages import tasks
from stages.errors import LONGEST_REASON, BadInput
from stages.records.frozen import FrozenModel
from stages.records.jsonl import LONGEST_ENTRY, OnReject, Reject, to_json
from stages.records.schema import LINES
from stages.sources.datasets.folders import Omission
from stages.sources.training_pairs import TrainingPair
from tests.records.bad_lines import CHAT, EXAMPLE, RECORD, TASK, bad_lines

Read = Callable[[Path, OnReject], Iterable[FrozenModel]]


def tasks_of(path: Path, refuse: OnReject) -> Iterator[FrozenModel]:
    return tasks.run(str(path), refuse=refuse, keep_unanswerable=True)  # each line is then a record or a reject


LINE_READERS: dict[str, tuple[bytes, Read]] = {
    "records": (RECORD, lambda path, refuse: input_records(path, (), refuse)),
    "records with needs": (RECORD, lambda path, refuse: input_records(path, ("edit", "adapter", "score"), refuse)),
    "sft examples": (EXAMPLE, input_examples),
    "training pairs": (EXAMPLE, input_pairs),
    "training chats": (CHAT, input_pairs),
    "task lines": (TASK, tasks_of),
    "record lines as tasks": (RECORD, tasks_of),
}


def good(line: bytes, number: int) -> bytes:
    """The good line with a text of its own."""
    return line.replace("Zoë".encode(), f"Zoë {number}!".encode())


def feed_lines(name: str, folder: Path, seed: int, count: int) -> Counter[str]:
    """A file in which each bad line lies between two good ones."""
    line, read = LINE_READERS[name]
    lines = [part for n, bad in enumerate(bad_lines(seed, count, line)) for part in (good(line, n), bad)]
    data = b"\n".join([*lines, good(line, count)])
    path = folder / "bad.jsonl"
    path.write_bytes(data)
    rejects: list[Reject] = []
    found = list(read(path, rejects.append))
    texts = check_records(found)
    assert numbers(texts) >= set(range(count + 1))
    blank = sum(not part.strip() for part in lines)
    assert len(found) + len(rejects) + blank == len(lines) + 1
    for reject in rejects:
        assert reject.raw == lines[reject.line - 1] == data[reject.offset : reject.offset + len(reject.raw)]
        check_reason(reject, path)
    return Counter(records=len(found) - count - 1, rejects=len(rejects), blank=blank)


def numbers(text: str) -> set[int]:
    """Which of the good ones are in the text."""
    return {int(number) for number in re.findall(r"Zoë (\d{1,9})!", text)}


def check_records(found: Iterable[FrozenModel]) -> str:
    """All of them as text; each can be written and is read again as it was."""
    lines = [to_json(record) for record in found]
    kinds = [type(record) for record in found]
    for kind, line, record in zip(kinds, lines, found, strict=True):
        assert kind in (*LINES.values(), TrainingPair)
        assert kind.model_validate_json(line.encode()) == record
    return "\n".join(lines)


def check_reason(reject: Reject, path: Path) -> None:
    assert reject.source == str(path)
    assert reject.reason.isprintable()
    assert 0 < len(reject.reason) <= LONGEST_REASON


# ---- whole documents


def squad_entry(n: int) -> dict[str, Any]:
    qas = [{"id": f"{n}-{q}", "question": f"Who {q}?", "answers": [{"text": "Zoë"}]} for q in range(2)]
    return {"title": f"Zoë {n}!", "paragraphs": [{"context": f"Zoë {n} built a bridge.", "qas": qas}]}


def list_entry(n: int) -> dict[str, Any]:
    return {**json.loads(good(TASK, n)), "prompt": "Say:", "completions": ["one", "two"]}


def reward_entry(n: int) -> dict[str, Any]:
    graded = [
        {"rep": rep, "question": q, "answer": "yes", "baseline_answer": "no", "adapter_answer": "yes"}
        | {"baseline_correct": False, "adapter_correct": rep == 0}
        for rep in (0, 1)
        for q in ("one?", "two?")
    ]
    stats = {"baseline_mean": 0.0, "adapter_mean": 0.5}
    completions = [{"text": text, "stats": stats, "questions": graded} for text in ("first", "second")]
    return {"title": f"Zoë {n}!", "context": "Zoë.", "prompt": "Say:", "completions": completions}


def row(title: str, question: str = "Who?", answers: tuple[str, ...] = ("Ada", "she")) -> dict[str, Any]:
    """A row of a dataset with SQuAD's columns."""
    return {"title": title, "context": "Ada built a bridge.", "question": question, "answers": {"text": answers}}


DOCUMENTS: dict[str, tuple[Callable[[int], dict[str, Any]], str]] = {
    "SQuAD": (squad_entry, '{"version": "1.1", "data": [%s]}'),
    "list": (list_entry, "[%s]"),
    "rewards": (reward_entry, '{"model": "base", "lora_params": {"rank": 32}, "articles": [%s]}'),
}
ENTRIES = 20  # bad ones in a document


def feed_documents(name: str, folder: Path, seed: int, count: int) -> Counter[str]:
    """Documents in which every second entry is bad; and documents that are damaged as a whole."""
    entry, frame = DOCUMENTS[name]
    counts: Counter[str] = Counter()
    path = folder / "bad.json"
    source = json.dumps(entry(10**6), ensure_ascii=False).encode()
    bad = [text for line in bad_lines(seed, count, source) if is_json(text := line.decode("utf-8", "replace"))]
    for start in range(0, len(bad), ENTRIES):
        part = [text for n, b in enumerate(bad[start : start + ENTRIES]) for text in (json.dumps(entry(n)), b)]
        path.write_text(frame % ",".join(part), encoding="utf-8")
        rejects: list[Reject] = []
        texts = check_records(list(tasks_of(path, rejects.append)))
        assert numbers(texts) >= set(range(len(part) // 2))
        check_entries(rejects, path)
        counts.update(documents=1, entries=len(part) // 2, rejects=len(rejects))
    document = (frame % json.dumps(entry(0))).encode()
    return counts + sum((feed_document(path, line) for line in bad_lines(seed, count, document)), Counter())


def is_json(text: str) -> bool:
    """Something that may stand in a document: Python's reader, which takes more than JSON, takes it."""
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return False
    return True


def feed_document(path: Path, content: bytes) -> Counter[str]:
    """Records, rejects or BadInput."""
    path.write_bytes(content)
    rejects: list[Reject] = []
    try:
        found = list(tasks_of(path, rejects.append))
    except BadInput as error:
        assert str(error).startswith(str(path))
        assert str(error).isprintable()
        assert len(str(error)) < 2 * LONGEST_REASON + len(str(path))
        return Counter(refused=1)
    check_records(found)
    check_entries(rejects, path)
    return Counter(records=len(found), rejects=len(rejects))


def check_entries(rejects: list[Reject], path: Path) -> None:
    for reject in rejects:
        check_reason(reject, path)
        assert len(reject.raw) <= LONGEST_ENTRY or reject.line
        reject.raw.decode() if not reject.line else None


def feed_meta(folder: Path, seed: int, count: int) -> Counter[str]:
    """A good list beside whose file lies a bad `.meta`."""
    path = folder / "bad.json"
    meta = folder / "bad.json.meta"
    path.write_text(json.dumps([list_entry(0)]), encoding="utf-8")
    counts: Counter[str] = Counter()
    for line in bad_lines(seed, count, b'{"model": "base", "temperature": 1.0, "top_p": 0.95, "max_tokens": 99}'):
        meta.write_bytes(line)
        notes: list[str] = []
        check_records(list(tasks.run(str(path), refuse=no_reject, note=notes.append)))
        assert all(note.startswith(f"{meta}: ") and note.isprintable() for note in notes)
        counts["refused" if notes else "taken"] += 1
    return counts


def no_reject(reject: Reject) -> None:
    raise AssertionError(reject)


def feed_texts(folder: Path, seed: int, count: int) -> Counter[str]:
    """A folder of texts, every second one bad bytes or bad JSON, some under names that are no UTF-8."""
    folder = folder / "texts"
    folder.mkdir()
    for n, line in enumerate(bad_lines(seed, count, TASK)):
        (folder / f"{n:06}.txt").write_text(f"Zoë {n}!", encoding="utf-8")
        (folder / f"{n:06}-{chr(0xDC80 + n % 128)}.md").write_bytes(line)
    rejects: list[Reject] = []
    left: list[Omission] = []
    found = list(tasks.run(str(folder), refuse=rejects.append, leave_out=left.append, keep_unanswerable=True))
    texts = check_records(found)
    assert numbers(texts) >= set(range(count))
    assert len(found) + len({reject.source for reject in rejects} | {each.path for each in left}) >= 2 * count
    assert all(reject.reason.isprintable() for reject in rejects)
    return Counter(records=len(found) - count, rejects=len(rejects), left_out=len(left))


Feed = Callable[[Path, int, int], Counter[str]]
FEEDS: dict[str, Feed] = {
    **{name: lambda folder, seed, count, name=name: feed_lines(name, folder, seed, count) for name in LINE_READERS},
    **{name: lambda folder, seed, count, name=name: feed_documents(name, folder, seed, count) for name in DOCUMENTS},
    "meta": feed_meta,
    "texts": feed_texts,
}


def main(count: int, seed: int) -> None:
    for name, feed in FEEDS.items():
        with tempfile.TemporaryDirectory() as folder:
            started = time.monotonic()
            counts = dict(feed(Path(folder), seed, count))
            print(f"{name}: {count} bad: {counts}, {time.monotonic() - started:.1f} s", flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 0)
