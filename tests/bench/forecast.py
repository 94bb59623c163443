"""Predicted beside actual: each setting is forecast after a calibration, run, and its manifest read.

    python -m tests.bench.forecast                 all settings, a JSON line each; some ten minutes on a machine at rest
    python -m tests.bench.forecast adapt pool      these
    SHAPE=40M python -m tests.bench.forecast       … and those of a random model of 40 M weights (tests/bench/shapes.py)

A line has `ratios`, predicted / actual: tokens in, out and trained; processor seconds of loading and work together
(`cpu`) and of the work alone (`work_cpu`); seconds on the wall (`wall`); peak memory and bytes of disk. Processor time
says what a machine at rest would take; the wall's is everybody's where others compute, too. The last line counts how
many of each lie within 25 %. Every setting is a command of its own, in a process of its own, with a cache of its own.
"""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from tests.services.behaviours import ok, slow
from tests.services.scripted import Scripted

ROOT = Path(__file__).parents[2]
TINY = ROOT / "examples/tiny/model"
LORA = ("--rank", "8", "--alpha", "16", "--target", "all-linear", "--learning-rate", "6e-3", "--schedule", "constant")
POOL = ("--pool", "--batch-size", "8", "--epochs", "4")
SETTINGS: Mapping[str, tuple[str, Sequence[str]]] = {  # name: (the file that is read, the command without it)
    "generate": ("tasks", ("generate", "-k", "5", "--max-tokens", "170", "--top-p", "1")),
    "generate-one": ("tasks", ("generate", "-k", "1", "--max-tokens", "60", "--batch", "8")),
    "generate-long": ("long", ("generate", "-k", "2", "--max-tokens", "48")),
    "adapt": ("edits", ("adapt", *LORA, "--epochs", "4")),
    "adapt-slots": ("edits", ("adapt", *LORA, "--epochs", "2", "--slots", "4", "--limit", "24")),
    "adapt-rank": ("edits", ("adapt", "--rank", "32", "--epochs", "3", "--seeds", "2", "--limit", "24")),
    "adapt-pads": (
        "edits",
        ("adapt", *LORA, "--epochs", "1", "--pad-mode", "sampled:32", "--pad-to", "512", "--limit", "24"),
    ),
    "peft": ("edits", ("adapt", *LORA, "--epochs", "1", "--trainer", "peft", "--limit", "8")),
    "pool": ("edits", ("adapt", *LORA, *POOL)),
    "pool-full": ("edits", ("adapt", *POOL, "--method", "full")),
    "sequence": ("edits", ("adapt", *LORA, "--epochs", "2", "--sequential", "--limit", "8")),
    "eval": ("adapters", ("eval", "--judge", "exact")),
    "eval-in-context": ("tasks", ("eval", "--judge", "exact", "--in-context")),
    "eval-likelihood": ("adapters", ("eval", "--likelihood", "answers")),
    "rate": ("edits", ("rate", "--max-tokens", "40")),
    "judge-openai": ("scores", ("judge", "-j", "openai:m@URL", "--cache", "none", "--concurrency", "4")),
    "generate-openai": (
        "tasks",
        ("generate", "--engine", "openai", "--base-url", "URL", "-k", "2", "--concurrency", "4"),
    ),
    "sft": ("sft", ("sft", "--epochs", "4", "--batch-size", "8", "--micro-batch", "8", "--rank", "16")),
    "sft-full": ("sft", ("sft", "--epochs", "2", "--batch-size", "4", "--full")),
}
LARGER = {  # of a model with random weights, which never ends by itself
    "generate": ("tasks", ("generate", "-k", "1", "--max-tokens", "24", "--limit", "16")),
    "adapt": ("edits", ("adapt", *LORA, "--epochs", "1", "--limit", "6")),
    "eval": ("tasks", ("eval", "--judge", "exact", "--max-tokens", "8", "--limit", "16")),
}
RATIOS = {  # name: the keys of both that are added up
    "tokens_in": ("tokens_in",),
    "tokens_out": ("tokens_out",),
    "tokens_trained": ("tokens_trained",),
    "calls": ("calls",),
    "cpu": ("load_cpu_s", "work_cpu_s"),
    "work_cpu": ("work_cpu_s",),
    "wall": ("load_s", "work_s"),
    "memory": ("peak_bytes",),
    "disk": ("line_bytes", "model_bytes"),
}


def seal(*arguments: object, cwd: Path) -> str:
    """Run a command to its end, and return what is on stdout. Raises where it fails."""
    around = {**os.environ, "PYTHONPATH": str(ROOT), "XDG_CACHE_HOME": str(cwd / "cache"), "OPENAI_API_KEY": "none"}
    around |= {"OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", "1")}
    words = [sys.executable, "-m", "seal_cli", *map(str, arguments)]
    done = subprocess.run(words, cwd=cwd, env=around, capture_output=True, text=True)
    if done.returncode not in (0, 3):
        raise RuntimeError(f"{' '.join(words)}: {done.stderr}")
    return done.stdout


def make_inputs(folder: Path, names: set[str]) -> None:
    """Make the files that settings read, each by the stage before, as far as they are needed."""
    seal("tasks", ROOT / "examples/tiny/train.jsonl", "--sample", "24", "-o", "tasks.jsonl", cwd=folder)
    tasks = [json.loads(line) for line in (folder / "tasks.jsonl").read_text().splitlines()]
    together = [" ".join(task["task"]["context"] for task in tasks[start : start + 4]) for start in range(0, 24, 3)]
    (folder / "texts").mkdir()
    for number, text in enumerate(together):
        (folder / "texts" / f"{number}.txt").write_text(text)
    seal("tasks", "texts", "-o", "long.jsonl", cwd=folder)
    flags = ("-k", "2", "--max-tokens", "170", "--top-p", "1")
    seal("generate", "tasks.jsonl", "--model", TINY, *flags, "-o", "edits.jsonl", cwd=folder)
    if names & {"adapters", "scores", "sft"}:
        adapt = ("adapt", "edits.jsonl", *LORA, "--epochs", "2", "--model", TINY, "--out", "made")
        seal(*adapt, "-o", "adapters.jsonl", cwd=folder)
    if names & {"scores", "sft"}:
        seal("eval", "adapters.jsonl", "--judge", "exact", "-o", "scores.jsonl", cwd=folder)
        seal("filter", "scores.jsonl", "--keep", "best:2", "-o", "sft.jsonl", cwd=folder)


def measure(name: str, file: str, command: Sequence[str], model: Path, folder: Path, url: str) -> dict[str, Any]:
    """Forecast a setting, run it, and return both, and their ratios."""
    stage, *flags = (word.replace("URL", url) for word in command)
    given = [] if stage == "judge" else ["--model", "m" if "openai" in flags else model]
    out = ["--out", f"out-{name}"] if stage in ("adapt", "sft") else []
    whole = [stage, f"{file}.jsonl", *flags, *given, *out]
    seal(*whole, "--dry-run", "--calibrate", cwd=folder)
    seal(*whole, "-o", f"made-{name}.jsonl", cwd=folder)
    manifest = json.loads((folder / f"made-{name}.jsonl.manifest.json").read_text())
    predicted, actual = manifest["predicted"], manifest["actual"]
    ratios = {}
    for ratio, keys in RATIOS.items():
        foreseen, seen = (sum(each.get(key) or 0 for key in keys) for each in (predicted, actual))
        if seen:
            ratios[ratio] = round(foreseen / seen, 3)
    return {"setting": name, "model": model.name, "ratios": ratios, "predicted": predicted, "actual": actual}


def run_settings(names: Sequence[str]) -> Iterator[dict[str, Any]]:
    """Yield a line for each setting."""
    chosen = {name: setting for name, setting in SETTINGS.items() if not names or name in names}
    server = Scripted(lambda number, body: slow(0.02, ok("yes")))
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        make_inputs(folder, {file for file, _ in chosen.values()})
        for name, (file, command) in chosen.items():
            yield measure(name, file, command, TINY, folder, server.url)
        if shape := os.environ.get("SHAPE"):
            model = make_shape(shape, folder)
            for name, (file, command) in LARGER.items():
                yield measure(f"{shape}-{name}", file, command, model, folder, server.url)
    server.stop()


def make_shape(shape: str, folder: Path) -> Path:
    """Make the directory of a model with random weights, by its name in shapes.py."""
    sys.path.insert(0, str(Path(__file__).parent))
    from shapes import model_of

    texts = [json.loads(line)["task"]["context"] for line in (folder / "tasks.jsonl").read_text().splitlines()]
    found: Path = model_of(shape, folder / shape, texts)
    return found


def main() -> None:
    lines = list[dict[str, Any]]()
    for line in run_settings(sys.argv[1:]):
        print(json.dumps(line), flush=True)
        lines.append(line)
    within = {}
    for ratio in RATIOS:
        found = [line["ratios"][ratio] for line in lines if ratio in line["ratios"]]
        within[ratio] = f"{sum(0.75 <= each <= 1.25 for each in found)} of {len(found)}"
    print(json.dumps({"within 25 %": within, "settings": len(lines)}), flush=True)


if __name__ == "__main__":
    main()
