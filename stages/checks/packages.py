"""Whether Python and the packages are in the ranges that seal is made for, by what is installed here."""

from collections.abc import Iterator
from importlib import metadata
from importlib.util import find_spec

from packaging.requirements import InvalidRequirement, Requirement
from packaging.specifiers import InvalidSpecifier, SpecifierSet
from packaging.version import InvalidVersion

from stages.checks.finding import Finding, fine, unknown, wrong

_OURS = "seal-toolkit"
_CHECKED = ("torch", "transformers", "peft", "trl", "safetensors", "vllm", "matplotlib")


def check_packages(python: str) -> Iterator[Finding]:
    """Python's version (`python`) and the CHECKED packages against what the installed seal asks for."""
    try:
        wanted = _requirements(metadata.requires(_OURS) or [])
        ranges = metadata.metadata(_OURS).json.get("requires_python")
    except metadata.PackageNotFoundError:
        yield unknown("seal", f"{_OURS} is not installed as a package: which versions it needs is not known")
        yield unknown("python", python)
        yield from (_check_package(name, None) for name in _CHECKED)
        return
    yield _check_python(python, None if ranges is None else str(ranges))
    yield from (_check_package(name, wanted.get(name)) for name in _CHECKED)


def _requirements(texts: list[str]) -> dict[str, Requirement]:
    """By name. What cannot be read is left out."""
    found = {}
    for text in texts:
        try:
            requirement = Requirement(text)
        except InvalidRequirement:
            continue
        found[requirement.name.lower()] = requirement
    return found


def _check_python(version: str, wanted: str | None) -> Finding:
    if wanted is None or _fits(version, SpecifierSet(wanted)):
        return fine("python", f"{version}{_needs(wanted)}")
    return wrong("python", f"{version}{_needs(wanted)}", f'make an environment of such a Python: uv venv -p "{wanted}"')


def _check_package(name: str, wanted: Requirement | None) -> Finding:
    """A package that seal can do without may be absent."""
    try:
        version = metadata.version(name)
    except metadata.PackageNotFoundError:
        return _absent(name, wanted)
    ranges = wanted.specifier if wanted else SpecifierSet()
    told = f"{version}{_needs(str(ranges))}"
    inside = _fits(version, ranges)
    if inside is None or wanted is None:
        return unknown(name, told)
    return fine(name, told) if inside else wrong(name, told, f'pip install "{name}{ranges}"')


def _absent(name: str, wanted: Requirement | None) -> Finding:
    if find_spec(name) is not None:
        return unknown(name, "is there, but its version is not recorded")
    install = f'pip install "{name}{wanted.specifier}"' if wanted else f"pip install {name}"
    if wanted is None or wanted.marker is not None:
        return unknown(name, "not installed; seal works without it", install)
    return wrong(name, "not installed", install)


def _fits(version: str, ranges: SpecifierSet) -> bool | None:
    """Whether the version is in the ranges; a pre-release counts by its number. None: no version that can be read."""
    try:
        return ranges.contains(version, prereleases=True)
    except (InvalidVersion, InvalidSpecifier):
        return None


def _needs(ranges: str | None) -> str:
    return f" (needs {ranges})" if ranges else ""
