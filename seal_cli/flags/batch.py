"""OpenAI's batch files: calls written to one instead of being sent, and answers read from those that came back."""

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from seal_cli.flags.service import refuse_given
from seal_cli.runs.stdio import UsageError
from seal_cli.terminal.console import note
from stages.errors import BadConfig, ExistingOutput
from stages.files import make_folder, replace_file
from stages.services.base import Call, Transport


class Batches:
    """--emit-batch and --from-batch of a stage; true where one was given."""

    def __init__(self, stage: str, emit: Path | None, answers: Sequence[Path] | None, output: Path | None) -> None:
        self.stage, self.file, self.files, self.output = stage, emit, list(answers or ()), output

    def __bool__(self) -> bool:
        return bool(self.file or self.files)

    def check(self, served: bool, needs: str, *, overwrite: bool, unused: Mapping[str, object]) -> None:
        """Raises for files without a server that could have answered, for what is there already, for unused flags."""
        if self and not served:
            raise BadConfig(f"{'--emit-batch' if self.file else '--from-batch'}: only with {needs}")
        if self.file and self.files:
            raise UsageError("--emit-batch writes calls and --from-batch reads their answers: one after the other")
        if self.file and self.output:
            raise UsageError("--emit-batch writes calls, not lines: leave out -o, and give it with --from-batch")
        if self.file and self.file.exists() and not overwrite:
            raise ExistingOutput(f"--emit-batch {self.file}: is there already; give --overwrite, or another file")
        if self:
            refuse_given(unused, "no server is asked")

    def emit(self, calls: Iterable[Call]) -> None:
        """The calls in one file, complete or not at all."""
        from stages.services.batch_files import write_batch

        lines = [json.dumps(line, ensure_ascii=False) for line in write_batch(calls)]
        if self.file:
            make_folder(self.file.parent)
            replace_file(self.file, "".join(f"{line}\n" for line in lines).encode("utf-8", "replace"))
        note(f"seal {self.stage}: {len(lines)} calls in {self.file}; give the answers with --from-batch")

    def answers(self) -> Transport | None:
        """A transport that answers from the files; None where none were given."""
        from stages.services.batch_files import BatchAnswers

        return BatchAnswers(self.files) if self.files else None
