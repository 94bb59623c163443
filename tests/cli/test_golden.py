"""The golden run: what every command writes, byte for byte, on the tiny models of both domains.

Each command is given the golden output of the one before, so that floating-point noise cannot add up. Models sample
greedily. Losses are compared as numbers, adapters and models by their files, configs and tensor shapes. Left out is
only what no two runs share: times, versions, the commit, absolute paths.

    python -m tests.cli.test_golden        rewrites the files

A change to the files is a change that users see: it is a commit of its own, which says why.
"""

import json
import re
import shutil
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import sha256
from math import cos
from pathlib import Path
from typing import Any

import pytest

from seal_cli.app import COMMANDS
from tests.cli.conftest import seal
from tests.conftest import ROOT

GOLDEN = Path(__file__).with_name("golden")
MODELS = {"qa": ROOT / "examples/tiny/model", "arc": ROOT / "examples/tiny/arc/model"}
SMALL = "--rank 1 --alpha 2 --target q_proj"
LONG = 20_000  # characters on stdout of which only the digest is kept
COSTS = ("predicted", "actual")  # of a manifest, left out: tests/cli/test_account.py is about them
UNSTEADY = ("versions", "commit", "machine", "ended", "began", "seconds", "sha256")  # of a manifest
VERSION = re.compile(r'"(peft|transformers)_version": "[^"]*"')
LOSS = re.compile(r'(?<="loss_first": )[\d.e+-]+|(?<="loss_last": )[\d.e+-]+')
FILES = re.compile(r'(?<="fingerprint": ")[0-9a-f]{16}')  # of adapters, whose metadata safetensors has in any order
METER = re.compile(r"^seal [a-z]+: [a-z -]+, \d.*\n", re.MULTILINE)  # progress, on slow machines
SECONDS = re.compile(r"[\d.,]+ s$", re.MULTILINE)


@dataclass(frozen=True)
class Step:
    """A command, the golden files that it is given, and the files that it makes."""

    domain: str
    name: str
    takes: str
    makes: str
    command: str

    def __str__(self) -> str:
        return f"{self.domain}-{self.name}"


LOAD, OUT = "--model model --device cpu", "--out adapters --device cpu"
ANCHORS = "--retain tasks.jsonl --device cpu"
# Step | files that it is given | files that it makes, the first of them by -o | command
QA = f"""
tasks | source.json | tasks.jsonl | tasks source.json --sample 2
generate | tasks.jsonl | edits.jsonl | generate tasks.jsonl {LOAD} -k 2 --temperature 0 --max-tokens 40
none | tasks.jsonl | | generate tasks.jsonl -t none
quiz | tasks.jsonl | quiz.jsonl | quiz tasks.jsonl --given {LOAD} -j exact
exam | quiz.jsonl | | quiz quiz.jsonl --exam
data | edits.jsonl | | adapt edits.jsonl --show-data
adapt | edits.jsonl | adapters.jsonl adapters/ | adapt edits.jsonl {OUT} --seeds 2 --epochs 1 {SMALL}
pool | edits.jsonl | pooled.jsonl pooled/ | adapt edits.jsonl --pool --out pooled --device cpu --epochs 1 {SMALL}
pool-data | edits.jsonl | | adapt edits.jsonl --pool --pool-passages once --show-data
eval | adapters.jsonl adapters/ | scores.jsonl | eval adapters.jsonl --device cpu --judge lexical --max-tokens 8
in-context | tasks.jsonl | | eval tasks.jsonl {LOAD} --in-context --judge exact --max-tokens 8
steps | edits.jsonl | steps.jsonl grown/ | adapt edits.jsonl --sequential --out grown --device cpu --epochs 1 {SMALL}
on | adapters.jsonl adapters/ tasks.jsonl | | eval adapters.jsonl --on tasks.jsonl --device cpu -j exact --max-tokens 8
retain | adapters.jsonl adapters/ tasks.jsonl | kept.jsonl | eval adapters.jsonl {ANCHORS} -j exact
rate | edits.jsonl | rated.jsonl | rate edits.jsonl {LOAD} --max-tokens 8
judge | scores.jsonl | exact.jsonl | judge scores.jsonl -j exact
shard-1 | scores.jsonl | exact-1.jsonl | judge scores.jsonl -j exact --shard 1/2
shard-2 | scores.jsonl | exact-2.jsonl | judge scores.jsonl -j exact --shard 2/2
merge | exact-1.jsonl exact-2.jsonl | merged.jsonl | merge exact-2.jsonl exact-1.jsonl
filter | scores.jsonl | sft.jsonl | filter scores.jsonl
forgetting | kept.jsonl | | filter kept.jsonl --retain-above 0.5 --reward gain-forgetting:1
pairs | judged.jsonl | pairs.jsonl | filter judged.jsonl --pairs
weights | judged.jsonl | weights.jsonl | filter judged.jsonl --weights
sft | sft.jsonl | checkpoint.jsonl next/ | sft sft.jsonl --model model --out next --device cpu --epochs 1 {SMALL}
report | scores.jsonl exact.jsonl | | report scores.jsonl exact=exact.jsonl --against exact
report-json | scores.jsonl exact.jsonl | | report scores.jsonl exact=exact.jsonl --json
report-view | scores.jsonl | | report scores.jsonl --view
report-expect | scores.jsonl | | report self=scores.jsonl --before none --expect 3b
gc | exact-1.jsonl adapters/ | | gc .
"""
ARC = f"""
tasks | my_challenges.json my_solutions.json | tasks.jsonl | tasks my_challenges.json
generate | tasks.jsonl | edits.jsonl | generate tasks.jsonl {LOAD} -k 1 --temperature 0 --max-tokens 64
oracle | tasks.jsonl all.json | oracle.jsonl | generate tasks.jsonl -t oracle:all.json
data | edits.jsonl | | adapt edits.jsonl --model model --show-data
data-all | oracle.jsonl | | adapt oracle.jsonl --model model --show-data
adapt | edits.jsonl | adapters.jsonl adapters/ | adapt edits.jsonl {OUT} {SMALL}
eval | adapters.jsonl adapters/ | scores.jsonl | eval adapters.jsonl --device cpu --max-tokens 24
in-context | tasks.jsonl | | eval tasks.jsonl {LOAD} --in-context --max-tokens 24
filter | scores.jsonl | sft.jsonl | filter scores.jsonl --keep best
sft | sft.jsonl | checkpoint.jsonl next/ | sft sft.jsonl --model model --out next --device cpu --epochs 1 {SMALL}
report | scores.jsonl | | report scores.jsonl
report-view | scores.jsonl | | report scores.jsonl --view
"""
STEPS = [
    Step(domain, *map(str.strip, row.split("|")))
    for domain, rows in (("qa", QA), ("arc", ARC))
    for row in rows.strip().splitlines()
]


@pytest.mark.parametrize("step", STEPS, ids=str)
def test_a_stage_writes_the_golden_bytes(step: Step, tmp_path: Path) -> None:
    made = run(step, tmp_path)
    wanted = {name: (GOLDEN / step.domain / name).read_text() for name in made}
    for name, text in made.items():
        assert is_alike(text, wanted[name]), f"{name} is another: {first_difference(text, wanted[name])}"


@pytest.mark.parametrize("command", ["", *COMMANDS])
def test_the_help_is_the_golden_one(command: str) -> None:
    assert help_of(command) == (GOLDEN / "help" / f"{command or 'seal'}.txt").read_text()


def test_the_schemas_are_the_golden_ones() -> None:
    assert seal("schema").out == (GOLDEN / "schema.json").read_text()


def test_every_golden_file_is_of_a_step() -> None:
    found = {path.relative_to(GOLDEN).as_posix() for path in GOLDEN.rglob("*") if path.is_file()}
    own = {"schema.json", *(f"help/{command or 'seal'}.txt" for command in ("", *COMMANDS))}
    for step in STEPS:
        own |= {f"{step.domain}/{name.replace('/', '.json')}" for name in f"{step.takes} {step.makes}".split()}
        own |= {f"{step.domain}/{name}.manifest.json" for name in step.makes.split() if not name.endswith("/")}
        own.add(f"{step.domain}/{step.name}.txt")
    assert found == own


def help_of(command: str) -> str:
    return seal(*command.split(), "--help", COLUMNS="80").out


# ---- one step


def run(step: Step, folder: Path) -> dict[str, str]:
    """Golden texts by their names: of what it says, and of the files that it makes."""
    (folder / "model").symlink_to(MODELS[step.domain])
    for name in step.takes.split():
        give(GOLDEN / step.domain, name, folder)
    file = ["-o", step.makes.split()[0]] if step.makes else []
    done = seal(*step.command.split(), *file, cwd=folder, COLUMNS="100")
    said = METER.sub("", SECONDS.sub("N s", done.err))
    out = done.out if len(done.out) < LONG else f"{sha256(FILES.sub('', done.out).encode()).hexdigest()}\n"
    made = {f"{step.name}.txt": f"exit code {done.code}\n---- stderr\n{said}---- stdout\n{out}"}
    for name in step.makes.split():
        if name.endswith("/"):
            made[name.replace("/", ".json")] = described(folder, name)
        else:
            made[name] = (folder / name).read_text()
            made[f"{name}.manifest.json"] = steady_manifest(folder / name)
    return made


def give(golden: Path, name: str, folder: Path) -> None:
    """Puts a golden file into the folder, with its manifest; adapters with weights of no meaning."""
    if not name.endswith("/"):
        shutil.copy(golden / name, folder)
        if (manifest := golden / f"{name}.manifest.json").is_file():
            digest = sha256((folder / name).read_bytes()).hexdigest()
            (folder / manifest.name).write_text(json.dumps({**json.loads(manifest.read_bytes()), "sha256": digest}))
        return
    for path, content in json.loads((golden / name.replace("/", ".json")).read_text()).items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        if path.endswith(".safetensors"):
            write_tensors(folder / path, content)
        else:
            (folder / path).write_text(json.dumps(content))


def write_tensors(path: Path, header: dict[str, Any]) -> None:
    """Waves as weights, large enough to change an answer."""
    import numpy
    from safetensors.numpy import save_file

    tensors = {}
    for nth, (name, (dtype, *shape)) in enumerate(header["tensors"].items()):
        assert dtype == "F32"
        waves = [0.25 * cos(3 * nth + 0.5 * n) for n in range(numpy.prod(shape))]
        tensors[name] = numpy.array(waves, numpy.float32).reshape(shape)
    save_file(tensors, path, header["metadata"])


def described(folder: Path, name: str) -> str:
    """The files of adapters or of a model: JSON as it is, tensors by name, type and shape, of others the size."""
    files = sorted(path for path in (folder / name).rglob("*") if path.is_file())
    found = {path.relative_to(folder).as_posix(): content_of(path) for path in files}
    lines = ",\n".join(f"{json.dumps(path)}: {json.dumps(content)}" for path, content in found.items())
    return VERSION.sub(r'"\1_version": ""', f"{{\n{lines}\n}}\n")


def content_of(path: Path) -> Any:
    if path.suffix == ".safetensors":
        from safetensors import safe_open

        with safe_open(path, "np") as file:
            slices = {name: file.get_slice(name) for name in sorted(file.keys())}
            tensors = {name: [each.get_dtype(), *each.get_shape()] for name, each in slices.items()}
            return {"metadata": dict(sorted(file.metadata().items())), "tensors": tensors}
    if path.stat().st_size > 10_000:  # a tokenizer
        return path.stat().st_size
    if path.suffix != ".json":
        return path.read_text()
    found = json.loads(path.read_bytes())
    if "base_model_name_or_path" in found:
        found["base_model_name_or_path"] = Path(found["base_model_name_or_path"]).name
    return found


def steady_manifest(file: Path) -> str:
    """The manifest beside a file, without what no two runs share."""
    manifest = json.loads(file.with_name(f"{file.name}.manifest.json").read_bytes())
    assert manifest["sha256"] == sha256(file.read_bytes()).hexdigest()
    steady = {key: "" if key in UNSTEADY else value for key, value in manifest.items() if key not in COSTS}
    return json.dumps(steady, indent=1) + "\n"


# ---- the comparison


def is_alike(made: str, golden: str) -> bool:
    """Whether the texts are the same, losses within what arithmetic differs by on other machines."""
    own, theirs = (FILES.sub("", LOSS.sub("", text)) for text in (made, golden))
    return own == theirs and losses(made) == pytest.approx(losses(golden), rel=1e-3)


def losses(text: str) -> list[float]:
    return [float(found) for found in LOSS.findall(text)]


def first_difference(made: str, golden: str) -> str:
    pairs = zip(f"{made}\n<end>".split("\n"), f"{golden}\n<end>".split("\n"), strict=False)
    own, other = next((own, other) for own, other in pairs if not is_alike(own, other))
    start = max(next((n for n, (a, b) in enumerate(zip(own, other, strict=False)) if a != b), 0) - 60, 0)
    return f"{own[start : start + 160]!r} is not {other[start : start + 160]!r}"


def texts() -> Iterator[tuple[Path, str]]:
    """Every golden file with its text of today, in an order in which none needs a later one."""
    for step in STEPS:
        with tempfile.TemporaryDirectory() as folder:
            yield from ((GOLDEN / step.domain / name, text) for name, text in run(step, Path(folder)).items())
    yield from ((GOLDEN / "help" / f"{command or 'seal'}.txt", help_of(command)) for command in ("", *COMMANDS))
    yield GOLDEN / "schema.json", seal("schema").out


if __name__ == "__main__":
    for path, text in texts():
        if not path.is_file() or not is_alike(text, path.read_text()):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
            sys.stdout.write(f"{path.relative_to(ROOT)}\n")
