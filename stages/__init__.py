"""The library: pure functions over records. `records/record.py` is the file to read first.

Every name in `__init__.pyi` can be had from here, as `from stages import Record, Generate`. Its module is imported when
the name is first used, so that `import stages` itself stays light.
"""

import ast
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any


@cache
def _read_homes() -> dict[str, str]:
    """The module of each name that `__init__.pyi` lists."""
    imports = ast.parse(Path(__file__).with_suffix(".pyi").read_text(encoding="utf-8")).body
    return {each.name: str(line.module) for line in imports if isinstance(line, ast.ImportFrom) for each in line.names}


def __getattr__(name: str) -> Any:
    if name.startswith("_") or name not in _read_homes():
        raise AttributeError(f"module 'stages' has no attribute {name!r}")
    return getattr(import_module(_read_homes()[name]), name)


def __dir__() -> list[str]:
    return sorted(_read_homes())
