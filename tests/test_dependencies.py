"""What is imported is declared, what is declared is imported, and what is pinned is what is installed."""

import ast
import re
import sys
import tomllib
from collections.abc import Collection, Iterable, Mapping
from functools import cache
from importlib.metadata import PackageNotFoundError, packages_distributions, version
from pathlib import Path

from packaging.requirements import Requirement
from packaging.version import Version

from tests.conftest import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
EXTRAS = PROJECT["optional-dependencies"]
TYPES_ONLY = {"_typeshed"}  # no checker, no module
OURS = {"seal_cli", "stages", "tests", "examples"} | {file.stem for file in (ROOT / "tests/bench").glob("*.py")}
UNSEEN = {  # declared and imported nowhere: why each is needed
    "pytest-xdist": "pytest's --numprocesses",
    "ruff": "make lint",
    "mypy": "make types",
}


def plain(name: str) -> str:
    """A package's name as every spelling of it is compared."""
    return re.sub(r"[-_.]+", "-", name).lower()


def names(requirements: Iterable[str]) -> set[str]:
    return {plain(Requirement(text).name) for text in requirements}


@cache
def modules(folder: str) -> set[str]:
    """Top-level modules of others that the files of this folder import, also inside functions."""
    found = set()
    for file in (ROOT / folder).rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_bytes())):
            told = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            told += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            found |= {name.partition(".")[0] for name in told}
    return found - sys.stdlib_module_names - TYPES_ONLY - OURS


def packages(*folders: str) -> set[str]:
    """The distributions of these modules; the module's own name where none is installed."""
    found = {module for folder in folders for module in modules(folder)}
    return {plain(name) for module in found for name in installed_modules().get(module, [module])}


@cache
def installed_modules() -> Mapping[str, list[str]]:
    return packages_distributions()


def differences(imported: set[str], declared: set[str], excused: Collection[str]) -> set[str]:
    return {f"{name} is imported, not declared" for name in imported - declared} | {
        f"{name} is declared, not imported" for name in declared - imported - set(excused)
    }


def test_what_the_program_imports_is_declared_and_the_reverse() -> None:
    declared = names([*PROJECT["dependencies"], *(text for name in EXTRAS if name != "dev" for text in EXTRAS[name])])
    assert differences(packages("seal_cli", "stages"), declared, UNSEEN) == set()


def test_what_only_tests_and_examples_import_is_declared_for_development() -> None:
    product = names([*PROJECT["dependencies"], *(text for name in EXTRAS if name != "dev" for text in EXTRAS[name])])
    rows = (ROOT / "tests" / "llamacpp" / "requirements.txt").read_text(encoding="utf-8").splitlines()
    product |= names(row for row in rows if not row.startswith("#"))  # the only one that the tests themselves import
    imported = packages("tests", "examples")
    assert differences(imported - product, names(EXTRAS["dev"]) - product, UNSEEN) == set()


def test_a_difference_is_told_either_way() -> None:
    assert differences({"httpx2"}, {"idle", "ruff"}, UNSEEN) == {
        "httpx2 is imported, not declared",
        "idle is declared, not imported",
    }
    assert {"httpx2", "jinja2", "huggingface-hub"} <= packages("stages")  # inside functions too


def test_an_excuse_is_for_a_package_that_is_declared_and_not_imported() -> None:
    declared = names([*PROJECT["dependencies"], *(text for extra in EXTRAS.values() for text in extra)])
    assert set(UNSEEN) <= declared - packages("seal_cli", "stages", "tests", "examples")


def test_every_pin_is_installed_and_in_the_declared_range() -> None:
    ranges = {plain(each.name): each.specifier for each in map(Requirement, PROJECT["dependencies"])}
    for line in (ROOT / "constraints.txt").read_text(encoding="utf-8").split():
        name, _, pinned = line.partition("==")
        assert pinned in ranges.get(plain(name), Requirement(f"{name}=={pinned}").specifier), line
        if made_by_setup():
            assert installed(name) == Version(pinned), line


def test_what_the_program_needs_is_pinned() -> None:
    pins = {plain(line.partition("==")[0]) for line in (ROOT / "constraints.txt").read_text(encoding="utf-8").split()}
    assert names([*PROJECT["dependencies"], *EXTRAS["plot"], *EXTRAS["docs"], *EXTRAS["gguf"], *EXTRAS["dev"]]) <= pins


def made_by_setup() -> bool:
    """Whether this is the environment of `make setup`: others may have other versions."""
    return (Path(sys.prefix) / ".installed").exists()


def installed(name: str) -> Version | None:
    """Without the build's label: torch's says for which device it is. None where it is not installed."""
    try:
        return Version(version(name).partition("+")[0])
    except PackageNotFoundError:
        return None
