"""A budget for words: few public names, each in one module, and functions named by verbs."""

import ast
from collections import defaultdict
from collections.abc import Iterator

from tests.conftest import ROOT

TREES = {file: ast.parse(file.read_bytes()) for room in ("stages", "seal_cli") for file in (ROOT / room).rglob("*.py")}
ANYWHERE = {"run", "plan", "check"}


def public_names(tree: ast.Module) -> Iterator[tuple[str, bool]]:
    """What a module defines at its top level, and whether it is a constant."""
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield node.name, False
        targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
        yield from ((target.id, True) for target in targets if isinstance(target, ast.Name))


def test_public_names_are_few_and_have_one_home() -> None:
    homes = defaultdict(set)
    for file, tree in TREES.items():
        for name, constant in public_names(tree):
            if not name.startswith("_"):
                homes[name, constant].add(file)
    assert sum(map(len, homes.values())) <= 45 * sum(file.read_text().count("\n") for file in TREES) / 1000
    twice = {name for (name, constant), files in homes.items() if len(files) > 1 and not constant} - ANYWHERE
    assert len(twice) <= 40


def test_functions_are_named_by_verbs() -> None:
    functions = [node for tree in TREES.values() for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)]
    methods = [node for node in functions if not any("property" in ast.unparse(mark) for mark in node.decorator_list)]
    participles = {node.name for node in methods if node.name.endswith("ed") and "_" not in node.name.strip("_")}
    assert len(participles) <= 125
