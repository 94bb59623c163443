"""What every line of the pipe is made of: frozen models that know all their keys, and the types of their fields."""

from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field, Strict

T = TypeVar("T")
Many = Annotated[tuple[T, ...], Strict(False)]  # a JSON list, kept frozen; its items stay strictly typed
Share = Annotated[float, Field(ge=0.0, le=1.0)]
Id = Annotated[str, Field(min_length=1)]
Count = Annotated[int, Field(ge=0)]
Meta = dict[str, Any]  # what whoever made a line wants to find on those that are made of it


class Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)
