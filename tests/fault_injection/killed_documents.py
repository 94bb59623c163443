"""`make docs`, killed with SIGKILL in every command, one after the other, and begun again: the same files in the end.

    python -m tests.fault_injection.killed_documents        a table on stdout; some minutes

One run is left alone. The other is killed in its first command, begun again and killed in its second one, and so on;
each time the command, all that it has started and the script die in the middle of the work: as soon as there is a
journal, or after a second. Compared are all lines, adapters and the card.
"""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from hashlib import sha256
from pathlib import Path

from tests.conftest import ROOT

SCRIPT = "examples/documents/run.sh"
WORLD = ROOT / "examples/documents/tiny"
DOCUMENTS = ("coast.md", "road.md", "tales.md")
SMALL = {
    "K": "2",
    "BUDGET": "60",
    "RANK": "2",
    "KEEP": "best:1",
    "QUIZ": "--template implications -k 6 --max-tokens 100 --top-p 1 --judge exact",
    "GENERATE": "--max-tokens 32 --top-p 1",
    "TRIAL": "--rank 2 --epochs 1",
    "ADAPT": "--learning-rate 1e-3 --epochs 1 --batch-size 8",
    "GATE": "learned>-101",
    "REPLAY": f"{WORLD}/known.jsonl:0.1",
    "ANCHORS": f"{WORLD}/anchors.jsonl",
    "PROBES": f"{WORLD}/probes.jsonl",
}
WRAPPER = """#!/usr/bin/env bash
# Runs seal; in the call whose number is KILL_AT, seal, what it started and the script that called it are killed.
calls={folder}/calls; echo x >> "$calls"; number=$(wc -l < "$calls")
[ "$number" = "${{KILL_AT:-0}}" ] || exec {python} -m seal_cli "$@"
for last; do :; done
echo "$*" > {folder}/killed
setsid {python} -m seal_cli "$@" & victim=$!
for wait in $(seq 100); do
  [ ! -s "$last.part" ] || break
  kill -0 $victim 2> /dev/null || break
  [ "$wait" -lt {patience} ] || break
  sleep 0.1
done
if kill -9 -- -$victim 2> /dev/null; then how=killed; else how=finished; fi
echo "$how after $wait" >> {folder}/killed
kill -9 $PPID
"""


def run_script(folder: Path, run: Path, kill_at: int) -> int:
    """Run the whole script; returns its code, below 0 for a signal."""
    (folder / "calls").write_text("")
    (folder / "killed").unlink(missing_ok=True)
    around = {
        **os.environ,
        **SMALL,
        "DOCS": str(folder / "documents"),
        "RUN": str(run),
        "SEAL": str(folder / "seal"),
        "KILL_AT": str(kill_at),
    }
    calm = {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "PYTHONPATH": str(ROOT), "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run(
        [SCRIPT], cwd=ROOT, env={**around, **calm}, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL
    )
    return done.returncode


def digest_files(run: Path) -> Mapping[str, str]:
    """A digest of each file of lines and of each adapter's weights, by their paths in the run."""
    found = [path for pattern in ("**/*.jsonl", "**/*.safetensors") for path in run.glob(pattern)]
    kept = [path for path in found if path.name != "versions.jsonl"]  # it has times
    return {str(path.relative_to(run)): sha256(path.read_bytes()).hexdigest() for path in kept}


def list_leftovers(run: Path) -> Iterator[str]:
    """Files that a killed run may leave and a finished one may not."""
    return (str(path.relative_to(run)) for path in run.rglob("*") if path.name.endswith((".part", ".new", ".tmp")))


def main() -> int:
    folder = Path(tempfile.mkdtemp(prefix="killed-documents-"))
    (folder / "documents").mkdir()
    for name in DOCUMENTS:
        shutil.copy(WORLD / "documents" / name, folder / "documents")
    wrapper = folder / "seal"
    patience = int(os.environ.get("PATIENCE", "40"))  # tenths of a second
    wrapper.write_text(WRAPPER.format(folder=folder, python=sys.executable, patience=patience))
    wrapper.chmod(0o755)
    alone, killed = folder / "alone" / "run", folder / "killed-run" / "run"
    began = time.monotonic()
    assert run_script(folder, alone, 0) == 0
    print(
        f"left alone: {len((folder / 'calls').read_text().split())} calls, {time.monotonic() - began:.0f} s", flush=True
    )
    number = 0
    while True:
        number += 1
        code = run_script(folder, killed, number)
        if not (folder / "killed").exists():
            break
        assert code == -signal.SIGKILL, code
        command, how = (folder / "killed").read_text().splitlines()
        named = [word for word in command.split() if word.startswith(str(killed))][-1:] or ["-"]
        print(f"{number:3d}  {command.split()[0]:9s} {Path(named[0]).name:20s} {how} tenths of a second", flush=True)
    same, other = digest_files(alone), digest_files(killed)
    differing = sorted(name for name in same.keys() | other.keys() if same.get(name) != other.get(name))
    left = sorted(list_leftovers(killed))
    print(f"killed {number - 1} times, then finished with {code}; {len(same)} files, differing: {differing or 'none'}")
    print(f"left over: {left or 'nothing'}")
    return int(bool(differing or left or code))


if __name__ == "__main__":
    sys.exit(main())
