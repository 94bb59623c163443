"""Check that Python and the packages are in the ranges that seal is made for."""

from collections.abc import Iterator
from contextlib import suppress
from importlib import metadata
from importlib.util import find_spec

from packaging.requirements import InvalidRequirement, Requirement
from packaging.specifiers import InvalidSpecifier, SpecifierSet
from packaging.version import InvalidVersion

from stages.checks.finding import Finding

_OURS = "seal-toolkit"
_CHECKED = ("torch", "transformers", "peft", "trl", "safetensors", "vllm", "matplotlib")


def check_packages(python: str) -> Iterator[Finding]:
    """Compare Python's version (`python`) and the packages with what the installed seal asks for."""
    wanted: dict[str, Requirement] = {}
    pythons = None
    try:
        for text in metadata.requires(_OURS) or []:
            with suppress(InvalidRequirement):
                requirement = Requirement(text)
                wanted[requirement.name.lower()] = requirement
        pythons = metadata.metadata(_OURS).json.get("requires_python")
    except metadata.PackageNotFoundError:
        yield Finding("seal", None, f"{_OURS} is not installed as a package: which versions it needs is not known")
    advice = f'make an environment of such a Python: uv venv -p "{pythons}"'
    yield _compare("python", python, None if pythons is None else str(pythons), advice)
    yield from (_check_package(name, wanted.get(name)) for name in _CHECKED)


def _check_package(name: str, wanted: Requirement | None) -> Finding:
    """Check one package; one that seal can do without may be absent."""
    install = f'pip install "{name}{wanted.specifier}"' if wanted else f"pip install {name}"
    try:
        version = metadata.version(name)
    except metadata.PackageNotFoundError:
        if find_spec(name) is not None:
            return Finding(name, None, "is there, but its version is not recorded")
        if wanted is None or wanted.marker is not None:
            return Finding(name, None, "not installed; seal works without it", install)
        return Finding(name, False, "not installed", install)
    return _compare(name, version, str(wanted.specifier) if wanted else None, install)


def _compare(name: str, version: str, ranges: str | None, advice: str) -> Finding:
    """Compare a version with ranges; a pre-release counts by its number. Unknown for what cannot be read."""
    found = f"{version} (needs {ranges})" if ranges else version
    try:
        inside = None if ranges is None else SpecifierSet(ranges).contains(version, prereleases=True)
    except (InvalidVersion, InvalidSpecifier):
        inside = None
    return Finding(name, inside, found, advice if inside is False else None)
