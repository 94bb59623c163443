"""What every line of the pipe is made of: frozen models that know all their keys, and the types of their fields."""

import hashlib
import json
import re
from typing import Annotated, Any, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, Strict

_T = TypeVar("_T")
Tuple = Annotated[tuple[_T, ...], Strict(False)]  # a JSON list, kept frozen; its items stay strictly typed
Fraction01 = Annotated[float, Field(ge=0.0, le=1.0)]
Id = Annotated[str, Field(min_length=1)]
Count = Annotated[int, Field(ge=0)]
CONTENT_ID = re.compile("[0-9a-f]{16}")  # what `content_id` returns
Meta = dict[str, Any]  # what whoever made a line wants to find on those that are made of it


def is_void(text: str) -> bool:
    """True if there is nothing to be seen in a text: only blanks, byte-order marks, control characters."""
    return not any(letter.isprintable() and not letter.isspace() for letter in text)


def _check_seen(text: str) -> str:
    """The text. Raises ValueError where there is nothing to be seen in it."""
    if is_void(text):
        raise ValueError("is empty")
    return text


VisibleText = Annotated[str, AfterValidator(_check_seen), Field(json_schema_extra={"pattern": r"\S"})]


class FrozenModel(BaseModel):
    """A part of a line. The text below a field describes it in the JSON Schema."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", strict=True, allow_inf_nan=False, use_attribute_docstrings=True
    )


def content_id(*parts: Any) -> str:
    """Return 16 hex digits that depend on the content of `parts` (JSON values) and on nothing else."""
    text = json.dumps(parts, ensure_ascii=False, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:16]


def derive_seed(run_seed: int, record_id: str, replica: int = 0) -> int:
    """Derive a 32-bit seed from identity, so that order, sharding and resuming never change a result."""
    digest = hashlib.sha256(f"{run_seed}:{record_id}:{replica}".encode()).digest()
    return int.from_bytes(digest[:4], "big")
