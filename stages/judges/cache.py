"""Verdicts that were paid for, on disk (sqlite3), shared by all runs and by runs at the same time.

What is kept is the judge's answer as it came; the verdict is parsed from it each time it is read.
"""

import hashlib
import json
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from stages.failures import BadConfig, NoSpace
from stages.judges.base import Case

T = TypeVar("T")
PATIENCE_S = 60.0  # for another process that writes
TABLE = (
    "CREATE TABLE IF NOT EXISTS verdicts (key TEXT PRIMARY KEY, model TEXT NOT NULL, template TEXT NOT NULL, "
    "question TEXT NOT NULL, gold TEXT NOT NULL, answer TEXT NOT NULL, raw TEXT NOT NULL, at TEXT NOT NULL)"
)
READ = "SELECT raw FROM verdicts WHERE key = ?"
WRITE = "INSERT OR REPLACE INTO verdicts VALUES (?, ?, ?, ?, ?, ?, ?, datetime('now'))"


class Cache:
    """The answers of one judge model to one prompt template."""

    def __init__(self, path: Path, model: str, template: str) -> None:
        self.path, self.model = path, model
        self.template = hashlib.sha256(template.encode()).hexdigest()[:16]
        self.database = self._asked(self._open)

    def get(self, case: Case) -> str | None:
        """The judge's answer as it came, if it is known."""
        row = self._asked(lambda: self.database.execute(READ, (self._key(case),)).fetchone())
        return None if row is None else str(row[0])

    def put(self, case: Case, raw: str) -> None:
        """Keeps an answer; it is on the disk when this returns."""
        texts = map(plain, (case.question, case.gold, case.prediction, raw))
        self._asked(lambda: self.database.execute(WRITE, (self._key(case), self.model, self.template, *texts)))

    def _open(self) -> sqlite3.Connection:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        database = sqlite3.connect(self.path, timeout=PATIENCE_S, isolation_level=None)
        database.execute(TABLE)
        return database

    def _key(self, case: Case) -> str:
        """Judge model, template, question, gold answer and answer: what the verdict depends on."""
        parts = [self.model, self.template, case.question, case.gold, case.prediction]
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()

    def _asked(self, work: Callable[[], T]) -> T:
        try:
            return work()
        except (sqlite3.Error, OSError) as error:
            told = f"--cache {self.path}: {error}"
            if "full" in str(error):
                raise NoSpace(f"{told}; free some space, or give another file") from None
            raise BadConfig(f"{told}; give another file with --cache, or --cache none") from None


def plain(text: str) -> str:
    """The text as UTF-8 can hold it."""
    return text.encode("utf-8", "replace").decode()
