"""Servers from the shell: their flags, their keys from the environment, and the files of a batch service."""

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar

from annotated_types import Ge

from seal_cli.exit_codes import UsageError
from seal_cli.flags.run import RunFlags
from seal_cli.terminal.console import note
from stages.errors import BadConfig, ExistingOutput, refuse_given
from stages.services.base import Call, Transport
from stages.settings import Doc

ENGINE_KEYS = ("OPENAI_API_KEY",)


@dataclass(frozen=True)
class ServiceFlags:
    """Limits for calls to servers."""

    panel: ClassVar[str] = "Servers"
    concurrency: Annotated[int | None, Ge(1), Doc("Most calls to a server at once.", "N", default="16")] = None
    timeout_s: Annotated[
        float | None,
        Ge(0.1),
        Doc(
            "Seconds for an answer of a server, or of a command:… judge.",
            "S",
            "--timeout",
            default="600; of openai:… 60",
        ),
    ] = None
    retry_for_s: Annotated[
        float | None,
        Ge(0.0),
        Doc("Seconds for which a call that fails is tried again.", "S", "--retry-for", default="300"),
    ] = None

    def given(self) -> Mapping[str, object]:
        return {"--concurrency": self.concurrency, "--timeout": self.timeout_s, "--retry-for": self.retry_for_s}

    def access(self, key_name: str) -> Mapping[str, Any]:
        """Return the key in this variable of the environment, and the limits of a call that were given."""
        found = {"key": key_from((key_name,)), "timeout_s": self.timeout_s, "retry_for_s": self.retry_for_s}
        return {name: value for name, value in found.items() if value is not None}


def key_from(names: Sequence[str]) -> str | None:
    """Return the first key that is set."""
    return next((os.environ[name] for name in names if os.environ.get(name)), None)


@dataclass(frozen=True)
class BatchFlags:
    """The files of a batch service; true where one was given."""

    panel: ClassVar[str] = ServiceFlags.panel
    emit: Annotated[
        Path | None, Doc("Write the calls here for a batch service; send none.", "FILE", "--emit-batch")
    ] = None
    files: Annotated[
        tuple[Path, ...], Doc("Take the answers from what the batch service gave; repeat.", "FILE", "--from-batch")
    ] = ()

    def __bool__(self) -> bool:
        return bool(self.emit or self.files)

    def check(self, run: RunFlags, *, served: bool, needs: str, unused: Mapping[str, object]) -> None:
        """Raise for files without a server that could have answered, for what is there already, for unused flags."""
        if self and not served:
            raise BadConfig(f"{'--emit-batch' if self.emit else '--from-batch'}: only with {needs}")
        if self.emit and self.files:
            raise UsageError("--emit-batch writes calls and --from-batch reads their answers: one after the other")
        if self.emit and run.output:
            raise UsageError("--emit-batch writes calls, not lines: leave out -o, and give it with --from-batch")
        if self.emit and self.emit.exists() and not run.overwrite:
            raise ExistingOutput(f"--emit-batch {self.emit}: is there already; give --overwrite, or another file")
        if self:
            refuse_given(unused, "no server is asked")

    def write(self, stage: str, calls: Iterable[Call]) -> None:
        """Write the calls to the file of --emit-batch, complete or not at all."""
        from stages.files import make_folder, replace_file
        from stages.services.batch_files import write_batch

        lines = [json.dumps(line, ensure_ascii=False) for line in write_batch(calls)]
        if self.emit:
            make_folder(self.emit.parent)
            replace_file(self.emit, "".join(f"{line}\n" for line in lines).encode("utf-8", "replace"))
        note(f"seal {stage}: {len(lines)} calls in {self.emit}; give the answers with --from-batch")

    def answers(self) -> Transport | None:
        """Return a transport that answers from the files; None where none were given."""
        from stages.services.batch_files import BatchAnswers

        return BatchAnswers(self.files) if self.files else None
