"""Names to classes: a table of "module:Class" strings, imported when first used.

Others add theirs without touching ours: `--judge mypackage.judges:Strict`.
"""

from collections.abc import Mapping
from importlib import import_module
from typing import Any

from stages.failures import BadConfig


def load_class(flag: str, name: str, table: Mapping[str, str]) -> Any:
    """The class behind a name of the table or a "module:Class" path. Raises BadConfig with the names that exist."""
    path = table.get(name, name)
    module_name, colon, class_name = path.partition(":")
    if not colon or not module_name or module_name.startswith("."):
        raise BadConfig(f"{flag} {name}: unknown; take one of {', '.join(table)}, or package.module:Class")
    try:
        return getattr(import_module(module_name), class_name)
    except ModuleNotFoundError as error:
        raise BadConfig(f"{flag} {name}: {error}") from None
    except AttributeError:
        raise BadConfig(f"{flag} {name}: {module_name} has no {class_name}") from None
