"""Pools: which sequences share an adapter, in which order, and what is left out."""

from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from stages.domains.arc.domain import Arc
from stages.domains.pools import PoolPlanner, check_length, refuse_pool
from stages.domains.qa import QA
from stages.errors import BadConfig, BadEdit, BadInput, BadLine, Untrainable
from stages.interfaces import Example, FitJob, TrainingSet
from stages.records.record import Record, SelfEdit
from stages.records.task import Task
from stages.settings import FitConfig, Pooling
from tests.conftest import make_tokenizer
from tests.invented import a_task, an_edit

TITLES = ("Ada", "Bo", "Cy")
ALL = Pooling(pool=True)


def edited(*titles: str, k: int = 2) -> list[Record]:
    """k self-edits of each task, of two lines."""
    tasks = [a_task(title) for title in titles]
    return [
        Record(task=task, edit=an_edit(task, n, f"{task.name} {n} one\n{task.name} {n} two"))
        for task in tasks
        for n in range(k)
    ]


def planned(records: list[Record], pooling: Pooling = ALL, **settings: Any) -> PoolPlanner:
    planner = PoolPlanner("student", domain=settings.pop("domain", QA()), out=Path("ad"), pooling=pooling, **settings)
    for record in records:
        planner.add(record)
    return planner


def jobs_of(planner: PoolPlanner) -> list[FitJob]:
    return list({piece.job.id: piece.job for piece in planner.found.values() if piece.job}.values())


def texts_of(planner: PoolPlanner) -> list[str]:
    (job,) = jobs_of(planner)
    return [example.completion for example in job.lesson.examples]


def test_all_lines_share_one_adapter_for_each_seed() -> None:
    planner = planned(edited(*TITLES), seeds=2)
    first, second = jobs_of(planner)
    assert first.seed != second.seed
    assert len(planner.found) == 12
    assert sum(piece.job is first for piece in planner.found.values()) == 6
    assert first.about == {"pool": {"passages": "each", "edits": 6}}


def test_a_pool_has_the_sequences_of_every_self_edit_and_the_passage_behind_each() -> None:
    texts = texts_of(planned(edited(*TITLES)))
    assert len(texts) == 3 * 2 * 3
    assert texts.count(f"Ada\n{a_task().context}") == 2
    place = texts.index("Ada\nAda 0 one")
    assert texts[place : place + 4] == [
        "Ada\nAda 0 one",
        "Ada\nAda 0 two",
        f"Ada\n{a_task().context}",
        "Ada\nAda 1 one",
    ]


def test_a_passage_may_come_once_with_its_first_self_edit() -> None:
    texts = texts_of(planned(edited(*TITLES), Pooling(pool=True, pool_passages="once")))
    assert len(texts) == 3 * (2 * 2 + 1)
    assert [texts.count(f"{title}\n{a_task(title).context}") for title in TITLES] == [1, 1, 1]
    assert texts.index(f"Ada\n{a_task().context}") == texts.index("Ada\nAda 0 two") + 1


def test_two_tasks_of_one_passage_learn_it_each() -> None:
    tasks = [a_task("Ada"), a_task("Ada", [("Who?", "Ada")])]
    lines = [Record(task=task, edit=an_edit(task, 0, "A line.")) for task in tasks]
    passage = f"Ada\n{tasks[0].text}"
    assert texts_of(planned(lines, Pooling(pool=True, pool_passages="once"))).count(passage) == 2


def test_neither_the_order_of_lines_nor_the_editors_name_changes_a_pool() -> None:
    lines = edited(*TITLES)
    (job,) = jobs_of(planned(lines))
    assert jobs_of(planned(lines[::-1])) == [job]
    moved = [line.grow(edit=line.edit and line.edit.model_copy(update={"id": f"m{n}"})) for n, line in enumerate(lines)]
    assert jobs_of(planned(moved)) == [job]


@pytest.mark.parametrize(
    "change",
    [
        {"config": FitConfig(rank=4)},
        {"config": FitConfig(warmup_ratio=0.03)},
        {"run_seed": 1},
        {"identity": "other weights"},
        {"domain": QA(split_newlines=False)},
        {"pooling": Pooling(pool=True, pool_passages="once")},
        {"records": edited(*TITLES[:2])},
        {"records": edited(*TITLES, k=3)},
    ],
)
def test_another_content_or_way_is_another_adapter(change: dict[str, Any]) -> None:
    lines = change.pop("records", edited(*TITLES))
    assert jobs_of(planned(lines, **change))[0].id != jobs_of(planned(edited(*TITLES)))[0].id


# ---- pools by a key


def test_each_value_of_a_key_has_a_pool_of_its_own() -> None:
    planner = planned(edited(*TITLES), Pooling(pool_by="task.title"))
    assert [len(job.lesson.examples) for job in jobs_of(planner)] == [6, 6, 6]
    assert jobs_of(planned(edited("Bo")))[0].lesson == jobs_of(planner)[1].lesson


def test_a_key_of_meta_may_be_a_number_deep_inside() -> None:
    values = [1, True, "1", 1, 2.5, 2.5]
    lines = [line.grow(meta={"a": {"b": value}}) for line, value in zip(edited(*TITLES), values, strict=True)]  # type: ignore[arg-type]
    assert len(jobs_of(planned(lines, Pooling(pool_by="meta.a.b")))) == 4


@pytest.mark.parametrize("key", ["meta.topic", "task.nothing", "task.questions", "edit.chosen", "task.title.x"])
def test_a_line_without_the_key_is_refused_by_name(key: str) -> None:
    with pytest.raises(BadLine, match=f"task 'Ada' has no text or number at {key}, by which pools are made"):
        planned(edited("Ada"), Pooling(pool_by=key))


# ---- what cannot be trained on


class Picky(QA):
    def make_training_set(self, task: Task, edit: SelfEdit) -> TrainingSet:
        if "unreadable" in edit.completion:
            raise BadEdit("not JSON")
        return super().make_training_set(task, edit)


def lost(line: Record, **update: Any) -> Record:
    return line.grow(edit=line.edit and line.edit.model_copy(update=update))


def test_an_unusable_self_edit_is_left_out_and_its_line_says_so() -> None:
    lines = edited(*TITLES)
    lines[0] = lost(lines[0], completion="unreadable")
    lines[3] = lost(lines[3], finish="failed", error="the server was gone", completion="")
    planner = planned(lines, domain=Picky())
    made = [piece.line.adapter for piece in planner.found.values() if piece.line]
    assert [(each.fault, each.path) for each in made if each] == [("edit", None), ("training", None)]
    assert len(planner.found) == 6
    assert jobs_of(planner) == jobs_of(planned([line for n, line in enumerate(lines) if n not in (0, 3)]))
    assert planner.list_notes() == ["note: 2 of 6 self-edits cannot be trained on, and are in no pool"]
    assert len(list(planner.show())) == 4


def test_a_pool_of_nothing_is_refused() -> None:
    planner = planned([lost(line, completion="unreadable") for line in edited("Ada")], domain=Picky())
    with pytest.raises(BadInput, match=r"a pool of nothing: none of 2 self-edits can be trained on \(not JSON\)"):
        jobs_of(planner)


def test_a_self_edit_that_comes_twice_is_refused() -> None:
    with pytest.raises(BadLine, match="of 'Ada' occurs twice; each line must be another"):
        planned([*edited("Ada"), edited("Ada")[0]])


def test_a_sequence_beyond_the_context_is_left_out_alone(model_dir: Path) -> None:
    lines = edited(*TITLES)
    lines[1] = lost(lines[1], completion="word " * 400)
    planner = PoolPlanner(str(model_dir), domain=QA(), out=Path("ad"), pooling=ALL, checks_length=True)
    for line in lines:
        planner.add(line)
    (bad,) = (piece.line for piece in planner.found.values() if piece.line)
    assert bad.adapter is not None
    assert "is longer than the model's context of 512; split the passage" in str(bad.adapter.error)
    assert len(texts_of(planner)) == 15


# ---- a budget


def test_a_sequence_as_long_as_the_context_is_learned() -> None:
    lesson = TrainingSet((Example("", "x" * 99),))
    for tokens, fits in ((7, True), (8, False)):
        counter: Any = SimpleNamespace(context=7, count=lambda example, end, tokens=tokens: tokens)
        with nullcontext() if fits else pytest.raises(Untrainable, match="is longer than the model's context of 7"):
            check_length(lesson, FitConfig(), counter)


def counted(model_dir: Path, budget: int | None, pad_mode: str = "eos", **pooling: Any) -> PoolPlanner:
    planner = PoolPlanner(
        str(model_dir),
        domain=QA(),
        out=Path("ad"),
        pooling=Pooling(**{"pool": True, **pooling}, max_tokens_budget=budget),
        config=FitConfig(pad_mode=pad_mode),
    )
    for line in edited(*TITLES):
        planner.add(line)
    return planner


def sizes_of(texts: list[str]) -> list[int]:
    """The tokens of each, with the end token."""
    return [len(ids) + 1 for ids in make_tokenizer()(texts)["input_ids"]]


# Of eighteen sequences, three a self-edit and six a task: those of the first self-edits, then those of the second.
TURNS = [6 * task + 3 * turn + n for turn in (0, 1) for task in range(3) for n in range(3)]


def sizes_in_turns(model_dir: Path) -> list[int]:
    sizes = sizes_of(texts_of(counted(model_dir, None)))
    return [sizes[place] for place in TURNS]


def test_a_budget_takes_whole_sequences_of_one_self_edit_a_task_in_turn(model_dir: Path) -> None:
    every = texts_of(counted(model_dir, None))
    sizes = sizes_in_turns(model_dir)
    for count, learned in ((4, 2), (9, 3), (10, 4), (15, 5)):
        planner = counted(model_dir, sum(sizes[: count + 1]) - 1)
        (job,) = jobs_of(planner)
        assert texts_of(planner) == [every[place] for place in sorted(TURNS[:count])]
        assert planner.describe() == f", on {count} sequences of {learned} self-edits in one pool"
        assert job.about == {"pool": {"passages": "each", "max_tokens": sum(sizes[: count + 1]) - 1, "edits": learned}}
    assert texts_of(counted(model_dir, sum(sizes))) == every
    assert counted(model_dir, sum(sizes)).list_notes() == []


def test_a_budget_counts_an_end_token_only_where_it_is_learned(model_dir: Path) -> None:
    sizes = sizes_in_turns(model_dir)
    assert [len(texts_of(counted(model_dir, sum(sizes[:8]) - 8, mode))) for mode in ("none", "eos")] == [8, 7]


def test_what_a_budget_leaves_out_is_told(model_dir: Path) -> None:
    sizes = sizes_in_turns(model_dir)
    for count, none in ((4, "; tasks of which nothing is learned: 1"), (9, "")):
        budget = sum(sizes[:count])
        assert counted(model_dir, budget).list_notes() == [
            f"note: --max-tokens-budget {budget}: {18 - count} of 18 sequences are left out, "
            f"{budget} tokens are kept{none}"
        ]


def test_each_pool_has_the_whole_budget(model_dir: Path) -> None:
    sizes = sizes_of(texts_of(counted(model_dir, None)))
    planner = counted(model_dir, sum(sizes[:4]), pool=False, pool_by="task.title")
    assert [len(job.lesson.examples) for job in jobs_of(planner)] == [4, 4, 4]
    (note,) = planner.list_notes()
    assert ": 6 of 18 sequences are left out, " in note


def test_the_order_of_lines_does_not_change_what_a_budget_takes(model_dir: Path) -> None:
    planner, turned = (counted(model_dir, None) for _ in range(2))
    turned.edits = {name: edits[::-1] for name, edits in planner.edits.items()}
    budget = Pooling(pool=True, max_tokens_budget=150)
    planner.pooling = turned.pooling = budget
    assert jobs_of(planner) == jobs_of(turned)
    assert 0 < len(texts_of(planner)) < 18


def test_a_budget_below_the_first_sequence_is_refused(model_dir: Path) -> None:
    with pytest.raises(BadConfig, match=r"--max-tokens-budget 3: the first sequence has \d\d tokens; give more"):
        jobs_of(counted(model_dir, 3))


# ---- flags


@pytest.mark.parametrize(
    ("pooling", "domain", "told"),
    [
        (Pooling(pool_passages="once"), QA, "--pool-passages once: it is for a pool; give --pool or --pool-by, too"),
        (Pooling(max_tokens_budget=9), QA, "--max-tokens-budget 9: it is for a pool; give --pool or --pool-by, too"),
        (ALL, Arc, "--pool: arc self-edits are trained each at the learning rate and for the epochs"),
        (Pooling(pool_by="task.id"), Arc, "--pool-by task.id: arc self-edits are trained each at"),
        *(
            (Pooling(pool_by=key), QA, f"--pool-by {key}: take a path into the task, the edit or meta, such as")
            for key in ("topic", "", ".", "meta", "task.", "meta..x", "task.id.")
        ),
    ],
)
def test_flags_that_can_do_nothing_are_refused(pooling: Pooling, domain: Callable[[], Any], told: str) -> None:
    with pytest.raises(BadConfig) as caught:
        refuse_pool(domain(), pooling)
    assert str(caught.value).startswith(told)


def test_a_domain_whose_self_edits_choose_is_refused() -> None:
    class Choosing(QA):
        def make_training_set(self, task: Task, edit: SelfEdit) -> TrainingSet:
            return TrainingSet((Example("", "x"),), {"epochs": 2})

    with pytest.raises(BadConfig, match="--pool: qa self-edits choose how they are trained; leave it out"):
        planned(edited("Ada"), domain=Choosing())
