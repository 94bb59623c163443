"""One run of a stage: input limited and sharded, lines written and counted, the closing line, the exit code."""

import json
import sys
import time
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from importlib.metadata import PackageNotFoundError, version
from itertools import islice
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from seal_cli import errors
from seal_cli.console import Counts, Meter, closing_line, counted, meter, note
from seal_cli.jsonl import FileSink, Sink, StdoutSink, claim_stdout
from stages.failures import BadConfig
from stages.records import Frozen, Record, content_id

if TYPE_CHECKING:
    from _typeshed import DataclassInstance


class Run:
    """A context manager around a stage. Use `read` for what goes in, `write` for what comes out, `code` at the end."""

    def __init__(self, stage: str, *, output: Path | None, overwrite: bool) -> None:
        self.stage = stage
        self.started = time.monotonic()
        self.counts = Counts()
        self.about: dict[str, Any] = {}  # what else the manifest says
        descriptor = claim_stdout()
        self.file = FileSink(output, overwrite=overwrite) if output else None
        self.sink: Sink = self.file or StdoutSink(descriptor)

    def read(self, records: Iterable[Record], *, limit: int | None = None, shard: str | None = None) -> list[Record]:
        """All records that this run works on. Everything is read before a model is loaded: the stage before is done."""
        chosen = in_shard(records, shard) if shard else records
        return list(counted(islice(chosen, limit), self.counts))

    def write(self, lines: Iterable[Frozen], *, progress: Meter | None = None, total: int | None = None) -> None:
        """Writes each line as it comes, with progress: a meter that the stage knows too, or one of `total` lines."""
        progress = progress or meter(self.stage, total)
        try:
            for line in lines:
                self.sink.write(line)
                self._count(line)
                progress.step()
        finally:
            progress.close()

    def plan(self, text: str, settings: "DataclassInstance") -> None:
        """What a dry run says instead of doing it."""
        note(f"seal {self.stage}: would {text}; {json.dumps(asdict(settings))}")

    def _count(self, line: Frozen) -> None:
        self.counts.written += 1
        if isinstance(line, Record):
            fault = line.adapter.fault if line.adapter else None
            self.counts.failed += fault == "training"
            self.counts.unreadable += fault == "edit"
            self.counts.unscored += bool(line.score and line.score.value is None)

    @property
    def code(self) -> int:
        """0, or 3 when a training failed or a record stayed unscored. Unreadable self-edits are data, not failures."""
        return errors.INCOMPLETE if self.counts.unscored or self.counts.failed else errors.DONE

    def __enter__(self) -> "Run":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.file:
            self.file.close(complete=kind is None)
        if kind is None:
            seconds = time.monotonic() - self.started
            if self.file:
                write_manifest(self.file, self.stage, self.counts, seconds, self.about)
            note(closing_line(self.stage, self.counts, seconds))


def write_manifest(file: FileSink, stage: str, counts: Counts, seconds: float, about: dict[str, Any]) -> None:
    """FILE.manifest.json: which command made FILE, from what versions, with which counts and hash."""
    packages = ("seal-toolkit", "torch", "transformers", "peft", "trl")
    manifest = {
        "stage": stage,
        "command": sys.argv[1:],
        "versions": {name: version_of(name) for name in packages},
        "counts": vars(counts),
        "seconds": round(seconds, 3),
        "sha256": file.digest.hexdigest(),
        **about,
    }
    path = file.path.with_name(file.path.name + ".manifest.json")
    path.write_text(json.dumps(manifest, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def version_of(package: str) -> str:
    """The installed version; "unknown" where seal runs from a checkout that is not installed."""
    try:
        return version(package)
    except PackageNotFoundError:
        return "unknown"


def in_shard(records: Iterable[Record], shard: str) -> Iterator[Record]:
    """The records whose task falls to shard i of n by its id. All lines of a task stay together."""
    part, _, whole = shard.partition("/")
    if not (part.isdecimal() and whole.isdecimal() and 1 <= int(part) <= int(whole)):
        raise BadConfig(f"--shard {shard}: take i/n with 1 ≤ i ≤ n, for example 1/4")
    wanted, count = int(part) - 1, int(whole)
    return (record for record in records if int(content_id("shard", record.task.id), 16) % count == wanted)
