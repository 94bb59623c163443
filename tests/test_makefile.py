"""The Makefile's promises that need no model: its help, its set-up, and what a failing recipe leaves behind."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT


def make(*arguments: str, path: str = "", folder: Path = ROOT) -> subprocess.CompletedProcess[str]:
    inherited = {key: value for key, value in os.environ.items() if not key.startswith("MAKE")}
    environment = {**inherited, "PATH": f"{path}:{os.environ['PATH']}" if path else os.environ["PATH"]}
    command = ["make", "--no-print-directory", "-f", str(ROOT / "Makefile"), *arguments]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)


def script(folder: Path, name: str, text: str) -> None:
    (folder / name).write_text(f"#!/bin/sh\n{text}\n", encoding="utf-8")
    (folder / name).chmod(0o755)


def test_help_is_the_default_and_names_every_target_of_the_readme() -> None:
    text = make().stdout
    for target in ("demo", "test", "setup", "check", "round", "ladder", "bench", "clean", "tiny-model"):
        assert f"make {target} " in text


def test_vllm_is_installed_only_where_a_gpu_is(tmp_path: Path) -> None:
    script(tmp_path, "nvidia-smi", 'echo "GPU 0: some card"')
    with_gpu = make("-n", "-B", "setup", path=str(tmp_path)).stdout
    assert "'.[plot,dev,vllm]'" in with_gpu
    script(tmp_path, "nvidia-smi", "exit 9")
    assert "'.[plot,dev]'" in make("-n", "-B", "setup", path=str(tmp_path)).stdout


def test_an_old_python_is_refused_with_the_way_out(tmp_path: Path) -> None:
    as_if_old = "import sys; sys.version_info = (3, 10, 0); exec(sys.argv[1])"
    script(tmp_path, "old-python", f'exec {sys.executable} -c "{as_if_old}" "$2"')
    done = make("-B", "setup", f"PYTHON={tmp_path}/old-python", f"VENV={tmp_path}/venv")
    assert done.returncode != 0
    assert "Python 3.11 or newer is needed: make PYTHON=python3.11" in done.stderr
    assert not (tmp_path / "venv").exists()


WRITES = 'for last; do :; done; mkdir -p "$(dirname "$last")"; echo a line > "$last"; [ $1 != adapt ] || exit '


def run_with(seal: str, folder: Path, *settings: str) -> subprocess.CompletedProcess[str]:
    """A round with a script in place of seal."""
    script(folder, "seal", seal)
    return make("round", "INSTALLED=", f"SEAL={folder}/seal", f"RUN={folder}/run", "ROUND=1", *settings)


def test_a_recipe_that_fails_leaves_no_target_behind(tmp_path: Path) -> None:
    assert run_with(f"{WRITES} 70", tmp_path).returncode != 0
    assert (tmp_path / "run/round-1/edits.jsonl").exists()
    assert not (tmp_path / "run/round-1/adapters.jsonl").exists()


def test_a_stage_that_finished_with_some_failures_keeps_its_file_and_the_round_goes_on(tmp_path: Path) -> None:
    assert run_with(f"{WRITES} 3", tmp_path).returncode == 0
    assert (tmp_path / "run/round-1/adapters.jsonl").exists()
    assert (tmp_path / "run/round-1/model.jsonl").exists()


def test_the_tiny_recipe_is_for_the_tiny_model_alone() -> None:
    recipe = "--learning-rate 6e-3"
    tiny = make("-n", "round", "INSTALLED=", "RUN=/nowhere").stdout
    other = make("-n", "round", "INSTALLED=", "RUN=/nowhere", "MODEL=owner/name").stdout
    assert recipe in tiny
    assert recipe not in other


def test_the_recipe_is_the_same_in_the_makefile_the_readme_and_the_script() -> None:
    recipe = "--rank 8 --alpha 16 --target all-linear --learning-rate 6e-3 --schedule constant --epochs 4"
    for name in ("Makefile", "README.md", "examples/tiny/loop.sh", "seal_cli/app.py"):
        text = " ".join((ROOT / name).read_text(encoding="utf-8").replace("\\\n", " ").split())
        assert recipe in text, name


def test_recipes_write_lines_with_o_and_never_by_a_redirection() -> None:
    """A shell would make the file before the stage has said that it can be made."""
    recipes = make("-n", "-B", "round", "ladder", "INSTALLED=", "RUN=/nowhere", "ROUND=2").stdout
    stages = [line for line in recipes.splitlines() if re.match(r"\S*bin/seal (?!report)", line)]
    assert len(stages) >= 15
    for line in stages:
        assert "-o /nowhere/" in line
        assert not re.search(r"[^&2]>", line)


# ---- a run whose files have manifests, as the stages write them

STAGE = f"""#!{sys.executable} -IS
import datetime, hashlib, json, os, sys
file, began = sys.argv[-1], datetime.datetime.now(datetime.timezone.utc).isoformat()
folder = os.path.dirname(os.path.abspath(__file__))
if os.path.exists(folder + "/meanwhile"):
    os.system(open(folder + "/meanwhile").read())
data = json.dumps(sys.argv[1:]).encode() + b"\\n"
os.makedirs(os.path.dirname(file), exist_ok=True)
manifest = dict(command=sys.argv[1:], began=began, sha256=hashlib.sha256(data).hexdigest())
open(file + ".manifest.json", "w").write(json.dumps(manifest))
open(file, "wb").write(data)
code = folder + "/code"
sys.exit(int(open(code).read()) if os.path.exists(code) else 0)
"""


def rounds(folder: Path, *arguments: str, run: str = "run") -> subprocess.CompletedProcess[str]:
    """`make` of two rounds, with a script for seal that writes its arguments, and a manifest."""
    if not (folder / "seal").exists():
        (folder / "seal").write_text(STAGE)
        (folder / "seal").chmod(0o755)
    given = ["round", *arguments] if "ladder" not in arguments else list(arguments)
    return make(*given, "INSTALLED=", f"SEAL={folder}/seal", f"RUN={folder}/{run}", "ROUND=2")


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with two finished rounds in `run`, to be looked at."""
    folder = tmp_path_factory.mktemp("finished")
    assert len(made_by(rounds(folder))) == 12
    return folder


@pytest.fixture
def place(finished: Path, tmp_path: Path) -> Path:
    """The same, to be changed."""
    return shutil.copytree(finished, tmp_path / "place")


def made_by(done: subprocess.CompletedProcess[str]) -> list[str]:
    """The files that were made, as `1 edits`, in order."""
    assert done.returncode == 0, done.stderr
    found = (re.search(r"/seal \w+ .* -o \S*/round-(\d)/(\w+)\.jsonl", line) for line in done.stdout.splitlines())
    return [f"{match[1]} {match[2]}" for match in found if match]


ROUND_2 = {"2 edits", "2 adapters", "2 scores", "2 sft", "2 model"}


@pytest.mark.parametrize(
    ("setting", "expected"),
    [
        ("GENERATE=--top-p 0.5", {"1 edits", "1 adapters", "1 scores", "1 sft", "1 model", *ROUND_2}),
        ("ADAPT=--rank 4", {"1 adapters", "1 scores", "1 sft", "1 model", *ROUND_2}),
        ("EVAL=--judge lexical", {"1 scores", "1 sft", "1 model", *ROUND_2}),
        ("FILTER=--keep gain", {"1 sft", "1 model", *ROUND_2}),
    ],
)
def test_a_changed_flag_makes_its_stage_again_and_what_is_made_from_it(
    finished: Path, setting: str, expected: set[str]
) -> None:
    looked = rounds(finished, "-n", setting)
    assert set(made_by(looked)) == expected
    first = made_by(looked)[0].replace(" ", "/")
    assert f"round-{first}.jsonl: was made with" in looked.stderr
    assert "it is made again, and what is made from it" in looked.stderr


def test_a_finished_run_is_as_new_flags_want_it_and_then_left_alone(place: Path) -> None:
    kept = place / "run/round-1/edits.jsonl"
    before = kept.stat().st_mtime_ns
    done = rounds(place, "ADAPT=--rank 4")
    assert "adapters.jsonl: was made with --rank 8 --alpha 16" in done.stderr
    assert "and it is --rank 4 now" in done.stderr
    assert '"--rank", "4"' in (place / "run/round-1/adapters.jsonl").read_text()
    assert kept.stat().st_mtime_ns == before
    again = rounds(place, "ADAPT=--rank 4")
    assert (made_by(again), again.stderr) == ([], "")
    assert rounds(place, "-q", "ADAPT=--rank 4").returncode == 0


def test_the_ladder_follows_the_flags_too(tmp_path: Path) -> None:
    rounds(tmp_path, "ladder", "ROUNDS=0")
    again = rounds(tmp_path, "-n", "ladder", "ROUNDS=0", "EVAL=--judge lexical")
    stages = [line.split()[1] for line in again.stdout.splitlines() if line.startswith(f"{tmp_path}/seal ")]
    assert stages == ["eval", "eval", "eval", "report"]
    assert "/heldout/self.jsonl: was made with --judge exact, and it is --judge lexical now" in again.stderr


def test_a_file_by_hand_is_kept_and_used_whatever_the_flags(place: Path) -> None:
    edits = place / "run/round-1/edits.jsonl"
    edits.write_text("mine\n")
    done = rounds(place, "GENERATE=--top-p 0.5", "CONTEXTS=9")
    assert {"1 tasks", "1 adapters", "2 edits"} <= set(made_by(done))
    assert "/round-1/edits.jsonl: is not of make, so it is kept; remove it to have it made" in done.stderr
    assert edits.read_text() == "mine\n"


def test_a_file_of_a_command_that_somebody_typed_is_kept(place: Path) -> None:
    typed = place / "run/round-1/edits.jsonl"
    subprocess.run([place / "seal", "generate", "--engine", "openai", "-o", typed], check=True)
    looked = made_by(rounds(place, "-n"))
    assert "1 adapters" in looked and "1 edits" not in looked
    assert "1 edits" not in made_by(rounds(place, "-n", "GENERATE=--top-p 0.5"))


def test_a_run_that_has_moved_is_as_it_was(place: Path) -> None:
    (place / "run").rename(place / "elsewhere")
    again = rounds(place, run="elsewhere")
    assert (made_by(again), again.stderr) == ([], "")


def test_what_was_made_while_its_input_changed_is_made_again(place: Path) -> None:
    (place / "meanwhile").write_text(f"sleep 0.05; echo other > {place}/run/round-2/scores.jsonl; sleep 0.05")
    (place / "run/round-2/sft.jsonl").unlink()
    assert made_by(rounds(place)) == ["2 sft", "2 model"]
    again = rounds(place, "-n")
    assert made_by(again) == ["2 sft", "2 model"]
    assert "/round-2/scores.jsonl has changed since it was begun" in again.stderr


def test_a_file_that_another_make_finishes_as_ours_is_refused_is_not_deleted(tmp_path: Path) -> None:
    (tmp_path / "code").write_text("75")
    done = rounds(tmp_path)
    assert done.returncode != 0
    assert "Error 75" in done.stderr
    assert (tmp_path / "run/round-2/tasks.jsonl").exists()


def test_a_run_whose_name_make_would_misread_is_refused() -> None:
    for name in ("with blanks", "a:b", "", "a#b", "100%", "a;b", "it's", "$$HOME"):
        done = make("-n", "round", "INSTALLED=", f"RUN={name}")
        assert done.returncode != 0
        assert "give a folder's name, without blanks and without what make or the shell read otherwise" in done.stderr
