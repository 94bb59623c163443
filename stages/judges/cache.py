"""A cache of paid verdicts on disk (sqlite3), shared by all runs, also by runs at the same time.

What is kept is the judge's answer as it came; the verdict is parsed from it each time it is read. The file's
`user_version` is that of its table.
"""

import errno
import hashlib
import json
import os
import sqlite3
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TypeVar

from stages.errors import BadConfig, NoSpace
from stages.judges.base import Case

T = TypeVar("T")
VERSION = 2
_WAIT_S = 60.0  # for another process that writes
_TABLE = (
    "CREATE TABLE served_verdicts (key TEXT PRIMARY KEY, server TEXT NOT NULL, model TEXT NOT NULL, "
    "template TEXT NOT NULL, question TEXT NOT NULL, gold TEXT NOT NULL, answer TEXT NOT NULL, raw TEXT NOT NULL, "
    "at TEXT NOT NULL)"
)
_READ = "SELECT raw FROM served_verdicts WHERE key = ?"
_WRITE = (
    "INSERT OR REPLACE INTO served_verdicts (key, server, model, template, question, gold, answer, raw, at) "
    "VALUES (?, ?, ?, ?, ?, ?, ?, ?, datetime('now'))"
)
_WAYS_OUT = "give another file with --cache FILE, or --cache none"


class Cache:
    """The answers of one judge model at one server to one prompt template; `several`: for questions with several golds.

    Raises BadConfig for a file that cannot be read or written, or that a newer seal made; NoSpace for a full disk.
    """

    def __init__(self, path: Path, model: str, template: str, server: str, several: str = "") -> None:
        self.path, self.model, self.server = path, model, server
        self.templates = [hashlib.sha256(text.encode()).hexdigest()[:16] for text in (template, several)]
        self.database = self._guard(self._open)

    def get(self, case: Case) -> str | None:
        """Return the judge's answer verbatim, if it is cached."""
        row = self._guard(lambda: self.database.execute(_READ, (self._get_key(case),)).fetchone())
        return None if row is None else str(row[0])

    def put(self, case: Case, raw: str) -> None:
        """Store an answer; it is on the disk when this returns."""
        self._guard(lambda: self.database.execute(_WRITE, self._make_row(case, raw)))

    def _open(self) -> sqlite3.Connection:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        database = sqlite3.connect(self.path, timeout=_WAIT_S, isolation_level=None)
        try:
            self._prepare(database)
        except BaseException:
            database.close()
            raise
        return database

    def _prepare(self, database: sqlite3.Connection) -> None:
        """Open and check the file, so that anything in the way of writing is noticed before a verdict is paid for."""
        database.execute("BEGIN IMMEDIATE")
        version = int(database.execute("PRAGMA user_version").fetchone()[0])
        if version > VERSION:
            raise BadConfig(
                f"--cache {self.path}: made by a newer seal (version {version}, not {VERSION}); {_WAYS_OUT}"
            )
        if version < VERSION:
            table = database.execute("SELECT min(name) FROM sqlite_master WHERE type = 'table'").fetchone()[0]
            if table is not None:
                raise BadConfig(f"--cache {self.path}: a database of something else ({table}); {_WAYS_OUT}")
            database.execute(_TABLE)
            database.execute(f"PRAGMA user_version = {VERSION}")
        database.execute("COMMIT")
        database.execute("BEGIN IMMEDIATE")
        database.execute(_WRITE, self._make_row(Case("", "", ""), ""))
        database.execute("ROLLBACK")

    def _make_row(self, case: Case, raw: str) -> tuple[str, ...]:
        gold = json.dumps(case.golds, ensure_ascii=False) if case.other_golds else case.gold
        texts = (text.encode("utf-8", "replace").decode() for text in (case.question, gold, case.prediction, raw))
        return (self._get_key(case), self.server, self.model, self._get_template(case), *texts)

    def _get_template(self, case: Case) -> str:
        return self.templates[bool(case.other_golds)]

    def _get_key(self, case: Case) -> str:
        """Hash what a verdict depends on: server, judge model, template, question, gold answers and answer.

        Servers call different models by the same name (llama.cpp's takes any name).
        """
        gold = case.golds if case.other_golds else case.gold
        parts = [self.server, self.model, self._get_template(case), case.question, gold, case.prediction]
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()

    def _guard(self, work: Callable[[], T]) -> T:
        try:
            return work()
        except (sqlite3.Error, OSError) as error:
            told = f"--cache {self.path}: {error}"
            if _is_full(error):
                raise NoSpace(f"{told}; free some space, or {_WAYS_OUT}") from None
            raise BadConfig(f"{told}; {_WAYS_OUT}") from None


def _is_full(error: sqlite3.Error | OSError) -> bool:
    """True if the disk is full. sqlite's own errors have a code for it; its wrapper's errors have none."""
    if isinstance(error, OSError):
        return error.errno == errno.ENOSPC
    return getattr(error, "sqlite_errorcode", 0) & 0xFF == sqlite3.SQLITE_FULL  # the low byte of an extended code


def check_cache(path: Path, others: Iterable[Path | None]) -> None:
    """Raise BadConfig if the cache, or sqlite's journal beside it, is one of the run's own files by any name."""
    for other in filter(None, others):
        if any(_is_same(file, other) for file in (path, Path(f"{path}-journal"))):
            raise BadConfig(f"--cache {path}: is {other}, which this run reads or writes; {_WAYS_OUT}")


def _is_same(one: Path, other: Path) -> bool:
    """True if two names lead to one file through links, or would once it exists."""
    try:
        return one.samefile(other)
    except OSError:
        return os.path.realpath(one) == os.path.realpath(other)
