"""GGUF file → a model directory: of llama.cpp's and Ollama's file what every stage reads.

Not `import.py`: the word is Python's own.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar, Literal

from stages.errors import BadInput, ExistingOutput
from stages.files import hold_name, make_folder, remove_partials
from stages.settings import Doc


@dataclass(frozen=True)
class Import:
    """Where the model goes, and in which precision."""

    panel: ClassVar[str] = "Options"
    out: Annotated[Path, Doc("The model directory to write.", "DIR")]
    dtype: Annotated[Literal["float32", "bfloat16", "float16"], Doc("The precision of its weights.")] = "float32"
    overwrite: Annotated[bool, Doc("Replace --out if it exists.")] = False

    def run(self, file: Path) -> str:
        """Write the directory: whole or not at all. Return what was taken over from the file."""
        if file.is_dir():
            raise BadInput(f"{file}: a folder; give the .gguf file itself")
        self._check_out(file)
        from stages.exports.gguf.reading import write_model_of

        make_folder(self.out.parent)
        with hold_name(self.out):
            remove_partials(self.out.parent, {self.out.name})
            return write_model_of(file, self.out, self.dtype)

    def _check_out(self, file: Path) -> None:
        """Raise ExistingOutput for a place that must not be replaced: only what an import wrote may be."""
        out = self.out
        if out.resolve() in (file.resolve(), *file.resolve().parents):
            raise ExistingOutput(f"--out {out}: holds {file}, which is read; give another directory")
        from stages.models.checkpoints import is_as_written  # late: help does without

        if out.is_symlink() or (out.exists() and not is_as_written(out, "import")):
            raise ExistingOutput(f"--out {out}: is there and was not made by `seal import`; give another directory")
        if out.exists() and not self.overwrite:
            raise ExistingOutput(f"--out {out}: exists already; give --overwrite, or another directory")
