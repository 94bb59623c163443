"""The time and memory of `seal tasks` for 1,000 documents of 20 pages: `python -m tests.bench.documents_in`.

`--count N`: for N documents; `--concurrency N`: so many converted at once. Markdown, web pages, PDFs, Word documents
and books in turn, made here; each kind is also read alone. Prints a JSON line of each: seconds, seconds of the
processors (with those of converters), the most memory that the whole tree of processes had at once (MiB), chunks.
"""

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from html import escape
from pathlib import Path

import psutil

from tests.conftest import ROOT
from tests.conversion.made_documents import make_docx, make_epub, make_page, make_pdf

_PAGES, _LINES, _WORDS = 20, 40, 12  # of a document, of a page, of a line
_CHUNK_TOKENS = 512


def _make_lines(seed: int) -> list[str]:
    """The lines of a document, all of them unlike those of others."""
    draw = random.Random(seed)
    words = [
        f"{draw.choice('bdfgklmnprst')}{draw.choice('aeiou')}{draw.choice(('ll', 'nd', 'rt', 's', 'm'))}"
        for _ in "x" * 400
    ]
    return [f"Line {n} of {seed}: {' '.join(draw.choices(words, k=_WORDS))}." for n in range(_PAGES * _LINES)]


def _make_pages(seed: int) -> list[tuple[str, list[str]]]:
    lines = _make_lines(seed)
    return [(f"Page {n} of {seed}", lines[n * _LINES : (n + 1) * _LINES]) for n in range(_PAGES)]


def _make_markdown(seed: int) -> bytes:
    return "\n\n".join(f"# {title}\n\n" + "\n\n".join(lines) for title, lines in _make_pages(seed)).encode()


def _make_page(seed: int) -> bytes:
    return make_page(*(b for title, lines in _make_pages(seed) for b in ((1, title), *lines))).encode()


def _make_docx(seed: int) -> bytes:
    return make_docx(*(b for title, lines in _make_pages(seed) for b in ((1, title), *lines)))


def _make_epub(seed: int) -> bytes:
    pages = enumerate(_make_pages(seed))
    return make_epub(**{f"p{n}": f"<h1>{t}</h1>" + "".join(f"<p>{escape(x)}</p>" for x in ls) for n, (t, ls) in pages})


def _make_pdf(seed: int) -> bytes:
    pages = _make_pages(seed)
    return make_pdf(*(lines for _, lines in pages), marks=[(title, n) for n, (title, _) in enumerate(pages)])


_KINDS: dict[str, Callable[[int], bytes]] = {
    "md": _make_markdown,
    "html": _make_page,
    "pdf": _make_pdf,
    "docx": _make_docx,
    "epub": _make_epub,
}


def _read(folder: Path, out: Path, more: Sequence[str]) -> dict[str, float | int]:
    """Run the command, and look at its processes' memory every fifth of a second."""
    command = [sys.executable, "-m", "seal_cli", "tasks", str(folder), "--chunk-tokens", str(_CHUNK_TOKENS), "--model"]
    command += [str(ROOT / "examples/tiny/model"), "-o", str(out), "--overwrite", "-q", *more]
    began, most = time.monotonic(), 0
    run = subprocess.Popen(command, env={**os.environ, "PYTHONPATH": str(ROOT)})
    while run.poll() is None:
        most = max(most, _measure_tree(run.pid))
        time.sleep(0.2)
    seconds = time.monotonic() - began
    cpu = os.times()
    with out.open("rb") as file:
        chunks = sum(1 for _ in file)
    return {
        "code": run.returncode,
        "seconds": round(seconds, 1),
        "cpu": round(cpu.children_user, 1),
        "mib": most >> 20,
        "chunks": chunks,
    }


def _measure_tree(pid: int) -> int:
    """The resident memory of a process and of all below it, in bytes."""
    total = 0
    try:
        for each in (process := psutil.Process(pid), *process.children(recursive=True)):
            total += each.memory_info().rss
    except psutil.NoSuchProcess:
        pass
    return total


def main() -> None:
    """Make the documents and read them: all, then each kind alone."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=1000)
    parser.add_argument("--concurrency", type=int, help="documents that are converted at once")
    given = parser.parse_args()
    count, more = given.count, ["--concurrency", str(given.concurrency)] if given.concurrency else []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "all"
        for seed in range(count):
            kind = list(_KINDS)[seed % len(_KINDS)]
            (folder / kind).mkdir(parents=True, exist_ok=True)
            (folder / kind / f"{seed:05}.{kind}").write_bytes(_KINDS[kind](seed))
        for kind, place in (("all", folder), *((kind, folder / kind) for kind in _KINDS)):
            files = sum(path.is_file() for path in place.rglob("*"))
            before = os.times().children_user
            found = _read(place, Path(name) / "tasks.jsonl", more)
            found["cpu"] = round(found["cpu"] - before, 1)
            print(json.dumps({"kind": kind, "files": files, **found}), flush=True)


if __name__ == "__main__":
    main()
