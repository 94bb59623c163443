"""How texts are cut into chunks: the flags of `seal tasks`."""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar

from annotated_types import Ge

from stages.errors import BadConfig
from stages.settings import Doc


@dataclass(frozen=True)
class Chunking:
    """How texts are cut into chunks."""

    panel: ClassVar[str] = "Options"

    chunk_tokens: Annotated[
        int | None, Ge(64), Doc("Cut texts into chunks of at most N tokens of --model, by headings first.", "N")
    ] = None
    overlap: Annotated[
        int, Ge(0), Doc("Tokens that the chunks of a section that is cut share with the one before.", "N")
    ] = 0
    model: Annotated[Path | None, Doc("The student, whose tokenizer counts; no weights are read.", "DIR")] = None

    def describe(self) -> dict[str, object]:
        """Return what chunks depend on, for a run's settings: the tokenizer by its content. {} where nothing is cut."""
        if self.chunk_tokens is None or self.model is None:
            return {}
        tokenizer = hashlib.sha256((self.model / "tokenizer.json").read_bytes()).hexdigest()[:16]
        return {"chunk_tokens": self.chunk_tokens, "overlap": self.overlap, "tokenizer": tokenizer}

    def check(self) -> None:
        """Raise BadConfig for flags that say nothing, or too little."""
        if self.chunk_tokens is None:
            for flag, value in (("--overlap", self.overlap), ("--model", self.model)):
                if value:
                    raise BadConfig(f"{flag} {value}: only with --chunk-tokens N, which cuts texts")
        elif self.model is None:
            raise BadConfig(f"--chunk-tokens {self.chunk_tokens}: give --model DIR, whose tokenizer counts them")
        elif self.overlap > self.chunk_tokens // 2:
            raise BadConfig(f"--overlap {self.overlap}: more than half of --chunk-tokens {self.chunk_tokens}")
