"""What a cluster of this machine costs beside a run alone: processor time of all processes, and seconds to the lines.

    python tests/bench/bench_lines.py 10000 > scores.jsonl
    .venv-ray/bin/python -m tests.bench.ray_cost scores.jsonl [WORKERS …]        make test-ray makes .venv-ray

`seal judge --judge exact` of the first forty lines, and of all: the work is next to nothing, so the difference is the
cluster's. One JSON line for each; `first_s` is until the first line is in the journal.
"""

import json
import subprocess
import sys
import tempfile
import time
from itertools import islice
from pathlib import Path

import psutil

FEW = 40


def measure(lines: Path, out: Path, workers: int) -> dict[str, object]:
    """Run the command; `workers` 0: without a cluster."""
    part, processor, first = Path(f"{out}.part"), dict[tuple[int, float], float](), None
    began = time.monotonic()
    cluster = ["--ray", "local", "--workers", str(workers)] if workers else []
    command = [sys.executable, "-m", "seal_cli", "judge", str(lines), "-j", "exact", "-o", str(out), *cluster]
    run = psutil.Popen(command, cwd=out.parent, stderr=subprocess.DEVNULL)
    while run.poll() is None:
        for process in (run, *run.children(recursive=True)):
            try:
                times, born = process.cpu_times(), process.create_time()
            except psutil.Error:  # it has ended
                continue
            processor[process.pid, born] = times.user + times.system
        if first is None and (out.exists() or (part.exists() and part.stat().st_size)):
            first = round(time.monotonic() - began, 1)
        time.sleep(0.3)
    assert run.returncode == 0
    count, seconds = len(out.read_bytes().splitlines()), time.monotonic() - began
    total = round(sum(processor.values()), 1)
    return {"workers": workers, "lines": count, "seconds": round(seconds, 1), "first_s": first, "processor_s": total}


if __name__ == "__main__":
    source = Path(sys.argv[1]).absolute()
    with tempfile.TemporaryDirectory() as name:
        few = Path(name) / "few.jsonl"
        with source.open("rb") as file:
            few.write_bytes(b"".join(islice(file, FEW)))
        for workers in (0, *map(int, sys.argv[2:] or ["1", "2"])):
            for lines in (few, source):
                found = measure(lines, Path(name) / f"{workers}-{lines.name}", workers)
                sys.stdout.write(f"{json.dumps(found)}\n")
                sys.stdout.flush()
