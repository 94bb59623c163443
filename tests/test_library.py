"""What `import stages` offers: every name of the stub, lazily, with its types."""

import ast
import subprocess
import sys
import tomllib
from importlib import import_module

import pytest

import stages
from tests.conftest import ROOT

STUB = ast.parse((ROOT / "stages" / "__init__.pyi").read_text())
HOMES = {each.name: line.module for line in STUB.body if isinstance(line, ast.ImportFrom) for each in line.names}


def test_every_name_is_the_one_that_its_module_defines() -> None:
    assert dir(stages) == sorted(HOMES)
    for name, home in HOMES.items():
        assert getattr(stages, name) is getattr(import_module(str(home)), name)


def test_importing_the_library_loads_nothing_but_itself() -> None:
    code = "import sys, stages; print(*(each for each in sys.modules if each.startswith(('stages.', 'pydantic'))))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.split() == []


def test_a_name_that_is_not_there_is_an_error_of_pythons_own() -> None:
    with pytest.raises(AttributeError, match="module 'stages' has no attribute 'Nothing'"):
        _ = stages.Nothing  # type: ignore[attr-defined]


def test_the_types_are_part_of_the_package() -> None:
    found = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["package-data"]["stages"]
    assert all((ROOT / "stages" / name).is_file() for name in found)
    assert {"py.typed", "__init__.pyi"} <= set(found)


def test_what_is_no_module_and_read_at_run_time_is_part_of_the_package() -> None:
    found = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["package-data"]["stages"]
    read = [path for path in (ROOT / "stages").rglob("*.*") if path.suffix in (".html", ".css", ".js")]
    assert {path.relative_to(ROOT / "stages").as_posix() for path in read} <= set(found)


def test_a_line_is_read_and_written_with_what_the_library_exports() -> None:
    line = stages.to_json(stages.Record(task=stages.make_task("Velm", "A port.", [("What is Velm?", "a port")])))
    (record,) = stages.read_records([line.encode()], "lines")
    assert stages.to_json(record) == line
