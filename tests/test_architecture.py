"""Imports go one way, and help stays quick."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from tests.conftest import ROOT

STAGES = ("tasks", "generate", "adapt", "eval", "judge", "filter", "sft", "report", "doctor", "merge", "gc")
LIBRARY = sorted((ROOT / "stages").rglob("*.py"))
HEAVY = ("torch", "transformers", "peft", "trl", "datasets", "accelerate", "pydantic", "matplotlib")


def imports(file: Path) -> Iterator[str]:
    """Every module that a file imports, also inside functions: `from stages import lines` is stages.lines."""
    for node in ast.walk(ast.parse(file.read_bytes())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}: a relative import"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def test_the_stages_are_all_there() -> None:
    commands = {file.stem for file in (ROOT / "seal_cli" / "commands").glob("[a-z]*.py")}
    assert commands == set(STAGES)
    assert commands <= {file.stem for file in (ROOT / "stages").glob("*.py")}


def offenders(forbidden: set[str], files: list[Path] = LIBRARY) -> dict[str, set[str]]:
    """The files that import one of the forbidden modules or something inside it."""
    found = {
        file.relative_to(ROOT).as_posix(): {
            module for module in imports(file) if any(f"{module}.".startswith(f"{name}.") for name in forbidden)
        }
        for file in files
    }
    return {file: modules for file, modules in found.items() if modules}


def test_the_library_knows_nothing_of_the_shell() -> None:
    assert offenders({"typer", "click", "rich", "seal_cli", "tests", "examples"}) == {}


def test_nothing_in_the_library_imports_a_stage() -> None:
    assert offenders({f"stages.{stage}" for stage in STAGES}) == {}


def test_only_engines_may_import_torch() -> None:
    others = [file for file in LIBRARY if "engines" not in file.parts]
    assert offenders({"torch", "transformers", "peft", "trl", "accelerate"}, others) == {}


def test_an_import_inside_a_function_is_seen() -> None:
    assert "stages/tasks.py" in offenders({"datasets.exceptions"})


def test_the_library_prints_nothing() -> None:
    calls = [
        (file.name, node.lineno)
        for file in LIBRARY
        for node in ast.walk(ast.parse(file.read_bytes()))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "print"
    ]
    assert calls == []


def loaded(code: str) -> set[str]:
    """The heavy packages that some code has loaded by its end, in a process of its own."""
    code += f"\nimport sys; print(*(name for name in {HEAVY} if name in sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    return set(done.stdout.split())


def test_the_app_loads_nothing_heavy() -> None:
    assert loaded("import seal_cli.app") == set()


def test_the_stages_load_no_torch_until_they_need_it() -> None:
    modules = ", ".join(f"stages.{stage}" for stage in STAGES)
    assert loaded(f"import {modules}, stages.engines.base, stages.judges.lexical") == {"pydantic"}


def test_what_a_subprocess_has_loaded_is_seen() -> None:
    assert loaded("import pydantic") == {"pydantic"}
