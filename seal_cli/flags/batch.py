"""OpenAI's batch files: calls written to one instead of being sent, and answers read from those that came back."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar

from seal_cli.exit_codes import UsageError
from seal_cli.flags.run import RunFlags
from seal_cli.flags.service import ServiceFlags
from seal_cli.terminal.console import note
from stages.errors import BadConfig, ExistingOutput, refuse_given
from stages.files import make_folder, replace_file
from stages.interfaces import Doc
from stages.services.base import Call, Transport


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
        from stages.services.batch_files import write_batch  # late: the help needs none of it

        lines = [json.dumps(line, ensure_ascii=False) for line in write_batch(calls)]
        if self.emit:
            make_folder(self.emit.parent)
            replace_file(self.emit, "".join(f"{line}\n" for line in lines).encode("utf-8", "replace"))
        note(f"seal {stage}: {len(lines)} calls in {self.emit}; give the answers with --from-batch")

    def answers(self) -> Transport | None:
        """Return a transport that answers from the files; None where none were given."""
        from stages.services.batch_files import BatchAnswers

        return BatchAnswers(self.files) if self.files else None
