"""The files that a source leaves out: counted by kind, a few files named, the rest in the file of rejects."""

import os
from collections import Counter
from pathlib import Path
from typing import Any

from seal_cli.runs.journal import list_own_files
from seal_cli.runs.rejects import Rejects
from seal_cli.terminal.console import note
from stages.file_kinds import DOCUMENT_SUFFIXES, TEXT_SUFFIXES
from stages.records.jsonl import Reject
from stages.sources.datasets.folders import JSON_SUFFIXES, TABLE_SUFFIXES, Omission
from stages.sources.repeats import TWICE
from stages.sources.squad import UNANSWERED, UNASKED

_KINDS = 5  # that are named on stderr, with
_NAMED_FILES = 3  # files of each, and
_KEPT = 20  # in the manifest
_ENDINGS = ", ".join((*TEXT_SUFFIXES, *DOCUMENT_SUFFIXES, *JSON_SUFFIXES, *TABLE_SUFFIXES))
_KNOWN_ENDINGS = f"read are {_ENDINGS} and code"


class Omissions:
    """Called with each omitted file or folder, which also goes to the rejects' FILE, without counting as a reject."""

    def __init__(self, rejects: Rejects) -> None:
        self.rejects = rejects
        self.counts: Counter[str] = Counter()
        self.files: dict[str, list[str]] = {}
        self.reasons: dict[str, str] = {}

    def __call__(self, omission: Omission) -> None:
        self.counts[omission.kind] += 1
        files = self.files.setdefault(omission.kind, [])
        if len(files) < _KEPT:
            files.append(omission.path)
        self.reasons.setdefault(omission.kind, omission.reason)
        self.rejects.write(Reject(omission.path, 0, 0, f"left out: {omission.reason or omission.kind}", b""))

    def tell(self) -> None:
        """Report the kinds with their counts and first files in one line, and other things in others."""
        kinds = [kind for kind, _ in self.counts.most_common() if kind not in (TWICE, UNANSWERED, UNASKED)]
        if kinds:
            count = sum(self.counts[kind] for kind in kinds)
            told = [
                f"{self.counts[kind]} {kind} ({_name_files(self.files[kind], self.counts[kind])})"
                for kind in kinds[:_KINDS]
            ]
            see = f"; see {self.rejects.file}" if self.rejects.file else ""
            rest = sum(self.counts[kind] for kind in kinds[_KINDS:])
            told += [f"{rest} of {len(kinds) - _KINDS} other kinds"] if rest else []
            files = "file" if count == 1 else "files"
            note(f"seal tasks: left out {count} {files}: {', '.join(told)}; {_KNOWN_ENDINGS}{see}")
        if unanswered := self.counts[UNANSWERED]:
            what = f"{unanswered} question{'s' * (unanswered > 1)} without an answer left out"
            passages = self.counts[UNASKED]
            more = f", and {passages} passage{'s' * (passages > 1)} that had no other{'s' * (passages > 1)}"
            note(f"seal tasks: {what}{more if passages else ''}; --unanswerable keep keeps them")
        if twice := self.counts[TWICE]:
            what = "1 task is there" if twice == 1 else f"{twice} tasks are there"
            note(
                f"seal tasks: note: {what} more than once and taken once: {self.files[TWICE][0]}: {self.reasons[TWICE]}"
            )

    def facts(self) -> list[dict[str, Any]]:
        """Return for the manifest each kind with its count and its first files."""
        return [{"kind": kind, "count": self.counts[kind], "files": files} for kind, files in self.files.items()]


def _name_files(files: list[str], count: int) -> str:
    """The first files by name, and how many more there are."""
    more = count - min(len(files), _NAMED_FILES)
    return ", ".join(files[:_NAMED_FILES]) + (f" and {more} more" if more else "")


def find_own_files(stdout: int, *outputs: Path | None) -> set[tuple[int, int]]:
    """Return the run's own output files, by device and inode, as far as they exist: none of them is a source."""
    found = [os.fstat(stdout)]
    for path in (path for output in outputs if output for path in list_own_files(output)):
        if path.exists():
            found.append(path.stat())
    return {(each.st_dev, each.st_ino) for each in found}
