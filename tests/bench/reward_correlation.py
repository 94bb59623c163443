"""How well cheaper rewards rank self-edits: rank correlation with the accuracy on the gold questions, tiny world.

    OMP_NUM_THREADS=1 python -m tests.bench.reward_correlation
    TASKS=48 EDITS=8 BAD=2 RUN=runs/correlation python -m …      more of them; what is finished in RUN is kept

TASKS training passages, EDITS self-edits each, one adapter each. The rewards:

- likelihood of the gold answers, or of the passage (`seal eval --likelihood`), of which nothing is written;
- questions of a quiz, none of them a gold one: the passage's facts asked for in other words, and BAD of each kind of
  bad ones (tests/bench/planted_questions.py) planted among them. `raw`: all as they are. `checked`: what `seal quiz
  --given` leaves, the half that rewards, or both halves. `raw, as many`: as many of the raw ones, drawn at random, as
  there are checked ones, mean of 50 draws.

One JSON line a reward. `seconds` of CPU: what `seal eval` takes for it with all adapters, without loading the model;
those of the gold answers are for generating. `spearman`: the correlation of ranks within tasks, pooled: each task's
ranks without their mean, so that easy and hard passages do not pass for good and bad self-edits. `low` and `high`: the
95 % interval over tasks. `best`: the gold accuracy, mean over tasks, of the self-edit that the reward ranks first (of
equals their mean).
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
    """The passages with their gold questions, and the same passages with those of the quiz, good and bad."""
    rng = random.Random(seed)
    gold, raw = [], []
    for entity in make_entities()["train"][:count]:
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


def train(tasks: Sequence[Record], edits: int, folder: Path) -> list[Record]:
    """An adapter of each of the model's self-edits."""
    writer = Generate(LocalEngine(MODEL), samples=edits, sampling={"max_tokens": 170, "top_p": 1.0})
    written = resume(writer, tasks, folder / "edits.jsonl")
    return resume(
        Adapt(trainer=LocalTrainer(MODEL), out=folder / "adapters", fit=FIT), written, folder / "adapters.jsonl"
    )


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


def choose_questions(raw: Sequence[Record], folder: Path) -> dict[str, dict[str, list[str]]]:
    """Per reward and task the ids of the quiz's questions that count."""
    checker = MakeQuiz(LocalEngine(MODEL), LocalJudge("exact"), QuizRules(given=True))
    checked = resume(checker, raw, folder / "quiz.jsonl")
    half = {line.task.id: [each.id for each in _questions_of(line)] for line in checked}
    exam = {line.task.id: [each.id for each in line.quiz.exam] for line in checked if line.quiz}
    return {
        "raw": {line.task.id: [each.id for each in _questions_of(line)] for line in raw},
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


def say(name: str, drawn: Sequence[Rewards], gold: Rewards, **more: object) -> None:
    """Print the figures of a reward, means over several ways to draw it."""
    generator, tasks = np.random.default_rng(0), list(gold)
    samples = [[tasks[i] for i in generator.integers(0, len(tasks), len(tasks))] for _ in range(2000 // len(drawn))]
    low, high = np.quantile([correlate(each, gold, tasks) for tasks in samples for each in drawn], [0.025, 0.975])
    means = [
        float(np.mean([f(each) for each in drawn]))
        for f in (lambda r: correlate(r, gold, tasks), lambda r: pick(r, gold))
    ]
    figures = {"spearman": means[0], "low": low, "high": high, "best": means[1]}
    print(json.dumps({"reward": name, **{key: round(float(value), 3) for key, value in figures.items()}, **more}))


def say_quiz(gold: Rewards, answers: Sequence[Record], questions: Mapping[str, Mapping[str, Sequence[str]]]) -> None:
    """Print the rewards of the quiz, and beside each checked one as many raw questions."""
    rng, raw = random.Random(0), questions["raw"]
    for name, ids in questions.items():
        asked = round(sum(map(len, ids.values())) / len(ids), 1)
        say(f"quiz, {name}", [reward_by(answers, ids)], gold, questions=asked)
        if name != "raw":
            draws = [{task: rng.sample(raw[task], len(ids[task])) for task in ids} for _ in range(50)]
            say("quiz, raw, as many", [reward_by(answers, each) for each in draws], gold, questions=asked)


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
    count, edits, bad = (int(os.environ.get(key, usual)) for key, usual in (("TASKS", 24), ("EDITS", 4), ("BAD", 1)))
    gold_tasks, raw = make_tasks(count, bad)
    adapters = train(gold_tasks, edits, folder)
    scored = ask(adapters, gold_tasks, folder / "gold.jsonl")
    gold = reward_by(scored, {line.task.id: [each.id for each in _questions_of(line)] for line in gold_tasks})
    say_quiz(gold, ask(adapters, raw, folder / "raw.jsonl"), choose_questions(raw, folder))
    _, seconds = _time(Eval(LocalEngine(MODEL), LocalJudge("exact")), adapters)
    say("gold answers, generated", [gold], gold, seconds=round(seconds, 2))
    for of in get_args(LikelihoodOf):
        reward, seconds = measure(adapters, of)
        say(f"likelihood, {of}", [reward], gold, seconds=round(seconds, 2))


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as scratch:
        main(Path(os.environ.get("RUN", scratch)))
