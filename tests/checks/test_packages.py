"""Versions against the ranges that the installed seal asks for."""

from importlib import metadata
from types import SimpleNamespace

import pytest

from stages.checks import machine as packages
from stages.checks.finding import Finding
from stages.checks.machine import check_packages

NEEDS = ["torch<2.14,>=2.11", "peft>=0.20", "gone>=1", "split ==", 'vllm>=0.27; extra == "vllm"']
INSTALLED = {"torch": "2.13.0+cpu", "peft": "0.19.1", "transformers": "5.0", "trl": "one", "vllm": "0.1rc1"}


def found(monkeypatch: pytest.MonkeyPatch, python: str = "3.12.1", **versions: str | None) -> dict[str, Finding]:
    """The findings where these packages are installed, and those of INSTALLED."""
    there = {**INSTALLED, **versions}

    def version(name: str) -> str:
        if there.get(name) is None:
            raise metadata.PackageNotFoundError(name)
        return str(there[name])

    monkeypatch.setattr(packages.metadata, "version", version)
    findings = {finding.check: finding for finding in check_packages(python)}
    assert all(finding.advice for finding in findings.values() if finding.ok is False)
    return findings


@pytest.fixture(autouse=True)
def ours(monkeypatch: pytest.MonkeyPatch) -> None:
    about = SimpleNamespace(json={"requires_python": ">=3.11"})
    monkeypatch.setattr(packages.metadata, "requires", lambda name: NEEDS)
    monkeypatch.setattr(packages.metadata, "metadata", lambda name: about)


def test_a_version_inside_its_range_is_fine_and_outside_it_is_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    findings = found(monkeypatch)
    assert (findings["torch"].ok, findings["torch"].found) == (True, "2.13.0+cpu (needs <2.14,>=2.11)")
    assert (findings["peft"].ok, findings["peft"].advice) == (False, 'pip install "peft>=0.20"')
    assert found(monkeypatch, torch="2.14.0")["torch"].ok is False
    assert found(monkeypatch, torch="2.12.0rc1")["torch"].ok is True


def test_an_old_python_is_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    assert found(monkeypatch)["python"].ok is True
    assert found(monkeypatch, python="3.10.2")["python"].ok is False
    assert found(monkeypatch, python="3.10.2")["python"].found == "3.10.2 (needs >=3.11)"


def test_an_optional_package_may_be_absent_but_not_out_of_range(monkeypatch: pytest.MonkeyPatch) -> None:
    absent = found(monkeypatch, vllm=None)["vllm"]
    assert (absent.ok, absent.advice) == (None, 'pip install "vllm>=0.27"')
    assert found(monkeypatch)["vllm"].ok is False


def test_a_needed_package_that_is_not_there_at_all_is_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packages, "find_spec", lambda name: None)
    absent = found(monkeypatch, torch=None)["torch"]
    assert (absent.ok, absent.advice) == (False, 'pip install "torch<2.14,>=2.11"')


def test_what_cannot_be_told_is_unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    findings = found(monkeypatch, torch=None)
    assert (findings["torch"].ok, findings["torch"].found) == (None, "is there, but its version is not recorded")
    assert findings["transformers"].ok is None  # nothing asks for it
    assert findings["trl"].ok is None  # "one" is no version


def test_without_our_own_metadata_everything_is_unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    def gone(name: str) -> None:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(packages.metadata, "requires", gone)
    findings = found(monkeypatch)
    assert {finding.ok for finding in findings.values()} == {None}
    assert "not installed as a package" in findings["seal"].found


def test_the_packages_of_this_environment_are_in_range(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    findings = {finding.check: finding for finding in check_packages("3.11.7")}
    assert {findings[name].ok for name in ("python", "torch", "transformers", "peft", "trl", "safetensors")} == {True}
