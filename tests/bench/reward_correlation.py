"""How well cheaper rewards rank self-edits: rank correlation with the accuracy on the gold questions, tiny world.

    OMP_NUM_THREADS=1 python -m tests.bench.reward_correlation
    SEEDS=3 EDITS=8 BAD=3 RUN=runs/correlation python -m …       more of them; what is finished in RUN is kept

TASKS training passages for each of SEEDS seeds, others for each, EDITS self-edits of a passage, one adapter of a
self-edit. The rewards:

- likelihood of the gold answers, or of the passage (`seal eval --likelihood`), of which nothing is written;
- questions of a quiz, none of them a gold one: the passage's facts asked for in other words, and BAD of each kind of
  bad ones (tests/bench/planted_questions.py) planted among them. `raw`: all as they are. `checked`: what `seal quiz
  --given` leaves, the half that rewards, or both halves. `raw, as many`: as many of the raw ones, drawn at random, as
  there are checked ones, mean of 50 draws. `good`: those that are not planted, what a perfect check would leave.

One JSON line a reward. `bare`: passages without a question, whose self-edits are all worth 0. `against_raw`: its
`spearman` minus that of all raw ones. `seconds` of CPU: what `seal eval` takes for it with all adapters, without
loading the model; those of the gold answers are for generating. `spearman`: the correlation of ranks within tasks,
pooled: each task's ranks without their mean, so that easy and hard passages do not pass for good and bad self-edits.
`_low` and `_high`: the 95 % interval over tasks. `best`: the gold accuracy, mean over tasks, of the self-edit that the
reward ranks first (of equals their mean).
"""

import json
import os
import random
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import get_args

import numpy as np
from numpy.typing import NDArray

from examples.loop import FIT, MODEL
from examples.tiny.tasks import make_entities, make_record
from stages.adapt import Adapt
from stages.domains.likelihood import LikelihoodOf
from stages.engines.local import LocalEngine
from stages.eval import Eval
from stages.generate import Generate
from stages.judges.factory import LocalJudge
from stages.quiz import MakeQuiz, QuizRules
from stages.records.record import Record
from stages.records.task import QaTask, Question, make_task
from stages.trainers.local import LocalTrainer
from stages.work import Work, resume
from tests.bench.planted_questions import plant

Floats = NDArray[np.float64]
Rewards = Mapping[str, Floats]  # by task: the reward of each of its self-edits


def make_tasks(count: int, bad: int, seed: int = 0) -> tuple[list[Record], list[Record]]:
    """The seed's passages with their gold questions, and the same passages with those of the quiz, good and bad."""
    rng = random.Random(seed)
    gold, raw = [], []
    for entity in make_entities()["train"][seed * count : (seed + 1) * count]:
        record = make_record(entity)
        good = [(fact.attribute.questions[-1].format(name=entity.name), fact.value) for fact in entity.facts]
        planted = [(each.question, each.answer) for _ in range(bad) for each in plant(entity, rng, wording=0)]
        own = {(question.question, question.answer) for question in _questions_of(record)}
        pairs = [pair for pair in dict.fromkeys([*good, *planted]) if pair not in own]
        rng.shuffle(pairs)
        gold.append(record)
        raw.append(
            Record(task=make_task(entity.name, record.task.text, pairs).model_copy(update={"id": record.task.id}))
        )
    return gold, raw


def _questions_of(line: Record) -> tuple[Question, ...]:
    assert isinstance(line.task, QaTask)
    return line.task.questions


def train(tasks: Sequence[Record], edits: int, folder: Path, seed: int = 0) -> list[Record]:
    """An adapter of each of the model's self-edits."""
    writer = Generate(LocalEngine(MODEL), samples=edits, sampling={"max_tokens": 170, "top_p": 1.0}, seed=seed)
    written = resume(writer, tasks, folder / "edits.jsonl")
    trainer = Adapt(trainer=LocalTrainer(MODEL), out=folder / "adapters", fit=FIT, seed=seed)
    return resume(trainer, written, folder / "adapters.jsonl")


def ask(adapters: Sequence[Record], tasks: Sequence[Record], file: Path) -> list[Record]:
    """Every adapter's answers to the questions of its passage's task."""
    by_id = {line.task.id: line.task for line in tasks}
    lines = [line.grow(task=by_id[line.task.id]) for line in adapters]
    return resume(Eval(LocalEngine(MODEL), LocalJudge("exact")), lines, file)


def reward_by(answers: Sequence[Record], questions: Mapping[str, Sequence[str]]) -> Rewards:
    """The share of right answers among these questions of each task."""
    found: dict[str, list[float]] = {}
    for line in answers:
        assert line.score is not None
        own = [bool(answer.correct) for answer in line.score.answers if answer.id in questions[line.task.id]]
        found.setdefault(line.task.id, []).append(float(np.mean(own)) if own else 0.0)
    return {task: np.array(values) for task, values in found.items()}


def choose_questions(raw: Sequence[Record], file: Path, seed: int = 0) -> dict[str, dict[str, list[str]]]:
    """Per reward and task the ids of the quiz's questions that count."""
    checker = MakeQuiz(LocalEngine(MODEL), LocalJudge("exact"), QuizRules(given=True), seed=seed)
    checked = resume(checker, raw, file)
    half = {line.task.id: [each.id for each in _questions_of(line)] for line in checked}
    exam = {line.task.id: [each.id for each in line.quiz.exam] for line in checked if line.quiz}
    good = {
        (entity.name, fact.attribute.questions[-1].format(name=entity.name), fact.value)
        for entity in make_entities()["train"]
        for fact in entity.facts
    }
    return {
        "raw": {line.task.id: [each.id for each in _questions_of(line)] for line in raw},
        "good": {
            line.task.id: [q.id for q in _questions_of(line) if (line.task.name, q.question, q.answer) in good]
            for line in raw
        },
        "checked, rewarding half": half,
        "checked, both halves": {task: half[task] + exam[task] for task in half},
    }


def correlate(reward: Rewards, gold: Rewards, tasks: Sequence[str]) -> float:
    """Spearman's correlation within tasks, pooled over these tasks."""
    sides = [np.concatenate([_center(side[task]) for task in tasks]) for side in (reward, gold)]
    norm = float(np.sqrt((sides[0] ** 2).sum() * (sides[1] ** 2).sum()))
    return float((sides[0] * sides[1]).sum()) / norm if norm else 0.0


def _center(values: Floats) -> Floats:
    """Ranks, of equals their mean, without the mean of all."""
    below, equal = values[:, None] > values, values[:, None] == values
    ranks: Floats = below.sum(1) + (equal.sum(1) + 1) / 2
    centered: Floats = ranks - ranks.mean()
    return centered


def pick(reward: Rewards, gold: Rewards) -> float:
    """The gold accuracy of the self-edit that the reward ranks first, mean over tasks."""
    return float(np.mean([gold[task][values == values.max()].mean() for task, values in reward.items()]))


def say(name: str, drawn: Sequence[Rewards], gold: Rewards, raw: Rewards | None = None, **more: object) -> None:
    """Print the figures of a reward, means over several ways to draw it."""
    generator, tasks = np.random.default_rng(0), list(gold)
    samples = [[tasks[i] for i in generator.integers(0, len(tasks), len(tasks))] for _ in range(2000 // len(drawn))]
    figures = _with_interval(
        "spearman",
        [correlate(each, gold, tasks) for each in drawn],
        [correlate(each, gold, sample) for sample in samples for each in drawn],
    )
    if raw is not None:
        known = [correlate(raw, gold, sample) for sample in samples]
        figures |= _with_interval(
            "against_raw",
            [correlate(each, gold, tasks) - correlate(raw, gold, tasks) for each in drawn],
            [
                correlate(each, gold, sample) - other
                for sample, other in zip(samples, known, strict=True)
                for each in drawn
            ],
        )
    figures["best"] = float(np.mean([pick(each, gold) for each in drawn]))
    print(json.dumps({"reward": name, **{key: round(value, 3) for key, value in figures.items()}, **more}), flush=True)


def _with_interval(name: str, found: Sequence[float], resampled: Sequence[float]) -> dict[str, float]:
    """The mean, and 95 % of what it is over resampled tasks."""
    low, high = np.quantile(resampled, [0.025, 0.975])
    return {name: float(np.mean(found)), f"{name}_low": float(low), f"{name}_high": float(high)}


def say_quiz(gold: Rewards, answers: Sequence[Record], questions: Mapping[str, Mapping[str, Sequence[str]]]) -> None:
    """Print the rewards of the quiz, and beside each checked one as many raw questions."""
    rng, raw = random.Random(0), questions["raw"]
    whole = reward_by(answers, raw)
    for name, ids in questions.items():
        asked = {
            "questions": round(sum(map(len, ids.values())) / len(ids), 1),
            "bare": sum(not each for each in ids.values()),
        }
        say(f"quiz, {name}", [reward_by(answers, ids)], gold, None if name == "raw" else whole, **asked)
        if name.startswith("checked"):
            draws = [{task: rng.sample(raw[task], len(ids[task])) for task in ids} for _ in range(50)]
            say("quiz, raw, as many", [reward_by(answers, each) for each in draws], gold, whole, **asked)


def measure(adapters: Sequence[Record], of: LikelihoodOf) -> tuple[Rewards, float]:
    """How likely the gold answers, or the passage, become with each adapter, and the seconds that it takes."""
    lines, seconds = _time(Eval(LocalEngine(MODEL), LocalJudge("exact"), likelihood=of), adapters)
    found: dict[str, list[float]] = {}
    for line in lines:
        assert line.score is not None
        assert line.score.value is not None
        found.setdefault(line.task.id, []).append(line.score.value)
    return {task: np.array(values) for task, values in found.items()}, seconds


def _time(stage: Eval, lines: Sequence[Record]) -> tuple[list[Record], float]:
    """The lines that it makes in the order of these, and the seconds of CPU without loading: it is done twice."""
    work = stage.prepare(lines)
    assert isinstance(work, Work)
    worker, taken = work.open([]), []
    for _ in range(2):
        began = time.process_time()
        made = {work.plan.key_of(line): line for line in worker.make(list(work.plan.wanted))}
        taken.append(time.process_time() - began)
    return [made[key] for key in work.plan.wanted], min(taken)


def main(folder: Path) -> None:
    count, edits, bad, seeds = (
        int(os.environ.get(key, usual)) for key, usual in (("TASKS", 24), ("EDITS", 4), ("BAD", 1), ("SEEDS", 1))
    )
    adapters, gold, answers, questions = (
        list[Record](),
        dict[str, Floats](),
        list[Record](),
        dict[str, dict[str, list[str]]](),
    )
    for seed in range(seeds):
        own = folder / str(seed)
        own.mkdir(parents=True, exist_ok=True)
        gold_tasks, raw = make_tasks(count, bad, seed)
        trained = train(gold_tasks, edits, own, seed)
        scored = ask(trained, gold_tasks, own / "gold.jsonl")
        gold |= reward_by(scored, {line.task.id: [each.id for each in _questions_of(line)] for line in gold_tasks})
        adapters += trained
        answers += ask(trained, raw, own / f"raw-{bad}.jsonl")
        for name, ids in choose_questions(raw, own / f"quiz-{bad}.jsonl", seed).items():
            questions.setdefault(name, {}).update(ids)
    say_quiz(gold, answers, questions)
    _, seconds = _time(Eval(LocalEngine(MODEL), LocalJudge("exact")), adapters)
    say("gold answers, generated", [gold], gold, seconds=round(seconds, 2))
    for of in get_args(LikelihoodOf):
        reward, seconds = measure(adapters, of)
        say(f"likelihood, {of}", [reward], gold, seconds=round(seconds, 2))


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as scratch:
        main(Path(os.environ.get("RUN", scratch)))
