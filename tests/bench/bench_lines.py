"""What the stages that run no model cost a line: seconds, lines a second and peak memory. One JSON line each.

LINES=200000 python tests/bench/bench_lines.py        make bench takes 20,000
python tests/bench/bench_lines.py 200000 > scores.jsonl        the lines alone, 2,300 bytes each
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from stages.records.frozen import content_id
from stages.records.jsonl import to_json
from stages.records.record import Adapter, Record, SelfEdit, TrainStats
from stages.records.score import Answer, make_score
from stages.records.task import make_task

ROOT = Path(__file__).parents[2]
LINES = int(os.environ.get("LINES", "20000"))
EDITS, SEEDS, QUESTIONS = 10, 5, 5  # of a task, of an edit, of a task
WORDS = "the harbour of Velm was built in the year that its first bridge fell into the river".split()  # noqa: SIM905
SEAL = [os.environ["SEAL"]] if "SEAL" in os.environ else [sys.executable, "-m", "seal_cli"]  # as for the scripts


def prose(start: int, words: int) -> str:
    """Text of so many words, another for every start."""
    return f"{start} " + " ".join(WORDS[(start * 7 + n * n) % len(WORDS)] for n in range(words))


def lines() -> Iterator[Record]:
    """Score lines without end, as `seal eval` writes them: all of an edit, then of a task, together."""
    number = 0
    while True:
        pairs = [(f"What is {prose(number + n, 9)}?", prose(number + n, 3)) for n in range(QUESTIONS)]
        task = make_task(f"Passage {number}", prose(number, 42), pairs)
        for sample in range(EDITS):
            completion = prose(number + sample, 42)
            edit = SelfEdit(
                id=content_id(task.id, sample, completion),
                sample=sample,
                model="editor",
                template="implications",
                prompt=f"Read this, and write what follows.\n\n{task.context}",
                completion=completion,
                finish="stop",
                tokens=90,
                sampling={"temperature": 1.0, "top_p": 0.95, "max_tokens": 512},
                error=None,
            )
            for seed in range(SEEDS):
                number += 1
                yield scored(Record(task=task, edit=edit), edit, seed, number)


def scored(record: Record, edit: SelfEdit, seed: int, number: int) -> Record:
    """The line with an adapter and answers to its questions."""
    assert record.task.domain == "qa"
    fit = {"rank": 32, "alpha": 64, "targets": ["q_proj", "v_proj"], "learning_rate": 1e-3, "epochs": 10}
    train = TrainStats(sequences=6, tokens=640, steps=60, loss_first=2.5, loss_last=0.25)
    path = f"adapters/{content_id(edit.id, seed)}"
    adapter = Adapter(
        id=content_id(edit.id, seed),
        seed=seed,
        model="student",
        path=path,
        fit=fit,
        train=train,
        fault=None,
        error=None,
    )
    answers = [
        Answer(
            id=question.id,
            prediction=question.answer,
            correct=(number + n) % 3 != 0,
            reason=None,
            baseline_prediction="a bridge",
            baseline_correct=n == 0,
        )
        for n, question in enumerate(record.task.questions)
    ]
    return record.grow(adapter=adapter, score=make_score(answers, model="student", judge="exact"))


def write(path: Path, count: int, **dropped: None) -> None:
    """So many lines, without the sections that are named."""
    with path.open("w", encoding="utf-8") as file:
        for line, _ in zip(lines(), range(count), strict=False):
            file.write(to_json(line.grow(**dropped)) + "\n")


def measure(name: str, arguments: list[str], count: int, folder: Path) -> None:
    """The command in a process of its own; its peak memory is what the system says of it."""
    started = time.perf_counter()
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [*SEAL, *arguments]
    process = subprocess.Popen(command, cwd=folder, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    assert process.stderr
    said = process.stderr.read().decode()
    _, status, used = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - started
    if os.waitstatus_to_exitcode(status):
        raise SystemExit(f"{name}: {said}")
    peak = used.ru_maxrss / (1 << 20 if sys.platform == "darwin" else 1 << 10)
    line = {"bench": name, "seconds": round(seconds, 2), "lines": count, "lines_per_s": round(count / seconds)}
    print(json.dumps({**line, "peak_mb": round(peak), "cpu_s": round(used.ru_utime + used.ru_stime, 2)}), flush=True)


def main() -> None:
    if len(sys.argv) > 1:
        for line, _ in zip(lines(), range(int(sys.argv[1])), strict=False):
            sys.stdout.write(to_json(line) + "\n")
        return
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write(folder / "scores.jsonl", LINES)
        for part in ("1/2", "2/2"):
            shard = ["tasks", "scores.jsonl", "--shard", part, "-o", f"shard{part[0]}.jsonl"]
            subprocess.run(
                [*SEAL, *shard],
                cwd=folder,
                env={**os.environ, "PYTHONPATH": str(ROOT)},
                check=True,
                stderr=subprocess.DEVNULL,
            )
        for stage in STAGES:
            measure(stage.split()[0], [*stage.split(), "-o", "out.jsonl", "--overwrite"], LINES, folder)
        measure("report", ["report", "scores.jsonl"], LINES, folder)


STAGES = (
    "filter scores.jsonl",
    "tasks scores.jsonl",
    "judge scores.jsonl -j exact",
    "judge scores.jsonl -j lexical",
    "merge shard1.jsonl shard2.jsonl",
)

if __name__ == "__main__":
    main()
