"""Three adapters of the tiny model, trained on passages of its world, with their scores: seconds of training."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stages.adapt import Adapt
from stages.engines.local import LocalEngine
from stages.eval import Eval
from stages.judges.factory import LocalJudge
from stages.models.device import Device
from stages.records.jsonl import encode_line
from stages.records.record import Record, SelfEdit
from stages.tasks import Sample
from stages.tasks import run as read_tasks
from stages.trainers.local import LocalTrainer
from stages.work import resume
from tests.conftest import ROOT

MODEL = ROOT / "examples" / "tiny" / "model"
FLOAT32 = Device("cpu", "float32")
FIT: dict[str, Any] = {"rank": 8, "alpha": 16.0, "targets": ("all-linear",), "learning_rate": 6e-3, "epochs": 8}


@dataclass(frozen=True)
class World:
    """Score lines, the directories of their adapters, and their questions as an exam."""

    lines: Path
    adapters: tuple[Path, ...]
    exam: Path


def make_world(folder: Path, count: int = 3) -> World:
    """Train an adapter on each of some passages and score it on the questions of all."""
    tasks = list(read_tasks(str(ROOT / "examples" / "tiny" / "train.jsonl"), sample=Sample(count)))
    edits = [each.grow(edit=_write_edit(each)) for each in tasks]
    trainer = LocalTrainer(str(MODEL), device=FLOAT32)
    trained = resume(Adapt(trainer=trainer, out=folder / "adapters", fit=FIT), edits, folder / "adapters.jsonl")
    engine = LocalEngine(str(MODEL), device=FLOAT32)
    scored = resume(Eval(engine=engine, judge=LocalJudge("exact")), trained, folder / "scores.jsonl")
    exam = folder / "exam.jsonl"
    exam.write_bytes(b"".join(encode_line(Record(task=each.task)) for each in tasks))
    paths = tuple(Path(line.adapter.path) for line in scored if line.adapter and line.adapter.path)
    return World(folder / "scores.jsonl", paths, exam)


def _write_edit(record: Record) -> SelfEdit:
    """A self-edit as one would wish it: each question with its answer in a sentence."""
    pairs = json.loads(record.model_dump_json())["task"]["questions"]
    text = "\n".join(f"{each['question']} {each['answer']}" for each in pairs)
    made = {"id": f"edit-{record.task.id}", "sample": 0, "model": "none", "template": "custom", "prompt": ""}
    told = {"completion": text, "finish": "stop", "tokens": None, "sampling": {}, "error": None}
    return SelfEdit.model_validate({**made, **told})
