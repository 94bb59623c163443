"""A budget for words: few public names, each in one module, and functions named by verbs."""

import ast
from collections import defaultdict
from pathlib import Path

import pytest

from tests.conftest import ROOT

FUNCTIONS = ast.FunctionDef | ast.AsyncFunctionDef


@pytest.fixture(scope="module")
def trees() -> dict[Path, ast.Module]:
    files = [file for room in ("stages", "seal_cli") for file in (ROOT / room).rglob("*.py")]
    return {file: ast.parse(file.read_bytes()) for file in files}


def test_public_names_are_few_and_have_one_home(trees: dict[Path, ast.Module]) -> None:
    homes, constants = defaultdict(set), 0
    for file, tree in trees.items():
        for node in tree.body:
            if isinstance(node, FUNCTIONS | ast.ClassDef) and not node.name.startswith("_"):
                homes[node.name].add(file)
            targets = getattr(node, "targets", [getattr(node, "target", None)])
            constants += sum(isinstance(each, ast.Name) and not each.id.startswith("_") for each in targets)
    assert sum(map(len, homes.values())) + constants <= 0.045 * sum(file.read_text().count("\n") for file in trees)
    assert {name for name, files in homes.items() if len(files) > 1} <= {"run", "plan", "check", "main"}


def test_no_function_is_named_by_a_participle(trees: dict[Path, ast.Module]) -> None:
    every = [node for tree in trees.values() for node in ast.walk(tree) if isinstance(node, FUNCTIONS)]
    methods = [node.name for node in every if "property" not in " ".join(map(ast.unparse, node.decorator_list))]
    assert [name for name in methods if name.endswith("ed") and "_" not in name.strip("_")] == []
