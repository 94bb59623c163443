"""Imports go one way, and help stays quick."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

from tests.conftest import ROOT

STAGES = (
    *("tasks", "quiz", "generate", "adapt", "eval", "judge", "rate", "filter"),
    *("sft", "report", "card", "doctor", "merge", "gc", "rollback", "export", "import_gguf", "ask", "accept"),
)
LIBRARY = sorted((ROOT / "stages").rglob("*.py"))
PRODUCT = [*LIBRARY, *sorted((ROOT / "seal_cli").rglob("*.py"))]
LAYERS = (  # from the ground up: a room imports what lies below it
    "cores errors file_kinds fingerprints",
    "files plugins settings interfaces",
    "records",
    "conversion",
    "sources",
    "models",
    "tokens",
    "services",
    "judges",
    "scoring",
    "domains",
    "trainers",
    "engines",
    "planning",
    "checks reporting cluster exports",
    "stages",
)
NOT_YET: set[tuple[str, str]] = set()  # arrows that still point upwards
CROWDED: set[str] = set()  # more than twelve files
PERMISSIONS = [
    (
        "torch",
        {"torch", "transformers", "peft", "trl", "accelerate"},
        {"engines", "trainers", "models", "tokens", "checks", "exports"},
    ),
    ("sockets", {"socket", "ssl", "http", "urllib.request", "openai"}, {"services", "cluster"}),
    ("Ray", {"ray"}, {"cluster"}),
    ("processes", {"subprocess", "multiprocessing"}, {"judges", "checks", "conversion"}),
]
HEAVY = ("torch", "transformers", "peft", "trl", "datasets", "accelerate", "pydantic", "matplotlib")


@cache
def nodes(file: Path) -> list[ast.AST]:
    """All that a file's tree holds; each file is read once."""
    return list(ast.walk(ast.parse(file.read_bytes())))


@cache
def imports(file: Path) -> set[str]:
    """Every module that a file imports, also inside functions: `from stages import lines` is stages.records.jsonl."""
    found: set[str] = set()
    for node in nodes(file):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}: a relative import"
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def test_the_stages_are_all_there() -> None:
    commands = {file.stem for file in (ROOT / "seal_cli" / "commands").glob("[a-z]*.py")}
    assert commands == {*STAGES, "schema", "plan"}
    assert set(STAGES) <= {file.stem for file in (ROOT / "stages").glob("*.py")}


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


def room_of(module: str) -> str:
    """The folder of a module of the library, "stages" for one that lies in no folder."""
    parts = module.split(".")
    return parts[1] if len(parts) > 2 else "stages"


def arrows() -> Iterator[tuple[str, str]]:
    """Every import of one module of the library by another."""
    modules = {".".join(file.relative_to(ROOT).with_suffix("").parts): file for file in LIBRARY}
    for module, file in modules.items():
        for name in imports(file):
            target = name if name in modules else name.rpartition(".")[0]
            if target in modules and target != module:
                yield module, target


def test_no_arrow_between_rooms_points_upwards() -> None:
    floor = {name: number for number, layer in enumerate(LAYERS) for name in layer.split()}
    ground = {f"stages.{name}": number for name, number in floor.items()}

    def level(module: str) -> int:
        return ground.get(module, floor[room_of(module)])

    upwards = {(one, other) for one, other in arrows() if level(one) < level(other)}
    assert upwards == NOT_YET


def test_no_imports_go_in_a_circle() -> None:
    graph: dict[str, set[str]] = {}
    for one, other in set(arrows()) - NOT_YET:
        graph.setdefault(one, set()).add(other)
        graph.setdefault(other, set())
    assert len(list(TopologicalSorter(graph).static_order())) == len(graph)


@pytest.mark.parametrize(("what", "modules", "rooms"), PERMISSIONS)
def test_a_room_uses_only_what_it_may(what: str, modules: set[str], rooms: set[str]) -> None:
    others = [file for file in LIBRARY if room_of(".".join(file.relative_to(ROOT).with_suffix("").parts)) not in rooms]
    assert offenders(modules, others) == {}, f"{what} only in {sorted(rooms)}"


def test_no_room_is_crowded() -> None:
    sizes = {
        folder: len(list(folder.glob("[a-z]*.py"))) for folder in (ROOT / "stages").glob("[a-z]*") if folder.is_dir()
    }
    assert {folder.name for folder, count in sizes.items() if count > 12} == CROWDED


def list_sizes() -> Iterator[tuple[str, int, int]]:
    """Every function of the product: where it is, its lines, and how many of them are its docstring."""
    for file in PRODUCT:
        for node in nodes(file):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                first, end = node.body[0], node.end_lineno or 0
                told = (first.end_lineno or 0) - first.lineno + 1 if ast.get_docstring(node) else 0
                yield f"{file.relative_to(ROOT)}:{node.name}", end - node.lineno + 1, told


def test_no_file_and_no_function_is_long() -> None:
    assert {str(file.relative_to(ROOT)) for file in PRODUCT if file.read_text().count("\n") > 300} == set()
    assert {where for where, lines, _ in list_sizes() if lines > 60} == set()


def test_no_command_is_long_besides_its_help() -> None:
    commands = {where: lines - told for where, lines, told in list_sizes() if where.startswith("seal_cli/commands/")}
    assert {where for where, lines in commands.items() if lines > 40} == set()
    assert commands["seal_cli/commands/report.py:report"] > 20  # they are looked at


def test_an_import_inside_a_function_is_seen() -> None:
    assert "stages/sources/datasets/hub.py" in offenders({"datasets.exceptions"})


def test_the_library_prints_nothing() -> None:
    calls = [
        (file.name, node.lineno)
        for file in LIBRARY
        for node in nodes(file)
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
    assert loaded(f"import {modules}, stages.interfaces, stages.judges.lexical") == {"pydantic"}


def test_what_a_subprocess_has_loaded_is_seen() -> None:
    assert loaded("import pydantic") == {"pydantic"}
