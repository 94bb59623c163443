"""How a command takes a group of flags: only what was given, or without some of them."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Generic, TypeVar

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

Config = TypeVar("Config", bound="DataclassInstance")


@dataclass(frozen=True)
class Given(Generic[Config]):
    """The fields of a dataclass that were given as flags. The others have the defaults of the lines' domain."""

    values: Mapping[str, Any]

    def over(self, defaults: Config, **more: Any) -> Config:
        """Put what was given, and `more`, over the defaults."""
        return replace(defaults, **self.values, **more)


class Without:
    """The options of a group that a command does not have: `Annotated[RunFlags, Without("journal")]`."""

    def __init__(self, *names: str) -> None:
        self.names = names
