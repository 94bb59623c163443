"""One round of SEAL as a library, on the tiny model: tasks, self-edits, adapters, scores, the best self-edits, a model.

Each stage is an object with its settings; `resume` makes the lines that its file lacks. So run this again after
whatever has ended it, and it goes on:

    python -m examples.loop [FOLDER]
"""

import sys
from pathlib import Path

from stages import filter as filtering
from stages import sft, tasks
from stages.adapt import Adapt
from stages.engines.local import LocalEngine
from stages.eval import Eval
from stages.generate import Generate
from stages.judges.factory import LocalJudge
from stages.records.record import Record
from stages.settings import SftConfig
from stages.sources.training_pairs import read_pair
from stages.trainers.local import LocalTrainer
from stages.trainers.sft import SupervisedTrainer
from stages.work import resume

MODEL = "examples/tiny/model"
FIT = {"rank": 8, "alpha": 16.0, "targets": ("all-linear",), "learning_rate": 6e-3, "schedule": "constant", "epochs": 4}
NEXT = SftConfig(rank=16, alpha=32.0, learning_rate=2e-3, epochs=4, batch_size=8, micro_batch=8)


def run_round(folder: Path, contexts: int = 4, samples: int = 2) -> list[Record]:
    """Run one round in a folder and return its score lines; the next round's model lies in FOLDER/model."""
    engine = LocalEngine(MODEL)
    records = list(tasks.run("examples/tiny/train.jsonl", sample=tasks.Sample(contexts)))
    writer = Generate(engine=engine, samples=samples, sampling={"max_tokens": 170, "top_p": 1.0})
    edits = resume(writer, records, folder / "edits.jsonl")
    adapters = resume(
        Adapt(trainer=LocalTrainer(MODEL), out=folder / "adapters", fit=FIT), edits, folder / "adapters.jsonl"
    )
    scores = resume(Eval(engine=engine, judge=LocalJudge("exact")), adapters, folder / "scores.jsonl")
    kept = filtering.run(scores).examples
    if not (folder / "model").exists():
        pairs = [read_pair(example.model_dump()) for example in kept]
        sft.run(pairs, SupervisedTrainer(MODEL), out=folder / "model", config=NEXT)
    return scores


if __name__ == "__main__":
    for line in run_round(Path(sys.argv[1] if len(sys.argv) > 1 else "runs/loop")):
        print(line.task.name, line.score.value if line.score else None)
