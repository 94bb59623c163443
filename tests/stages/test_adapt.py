"""edit → adapter, with a trainer that finishes the last job first and loses some."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest

from stages import adapt
from stages.domains.arc.domain import Arc
from stages.domains.qa import QA
from stages.errors import BadConfig, BadEdit, BadInput
from stages.interfaces import Example, FitJob, FitResult, NullProgress, Progress, Trainer, TrainingSet
from stages.models.device import Device
from stages.records.frozen import derive_seed
from stages.records.record import Record, SelfEdit
from stages.records.task import Task
from stages.settings import FitConfig
from stages.trainers.local import TRAINERS, LocalTrainer
from stages.work import Work
from tests.invented import a_line, a_task, an_edit, plan_lines
from tests.invented_grids import a_choice, an_arc_edit, an_arc_task

OUT = Path("adapters")


class Pretender:
    """Trains nothing, says so backwards, and diverges on texts with "diverge" in them."""

    model = "student"

    def __init__(self) -> None:
        self.jobs: list[FitJob] = []

    def fit(self, jobs: Iterable[FitJob], progress: Progress = NullProgress()) -> Iterator[FitResult]:
        self.jobs = list(jobs)
        for job in reversed(self.jobs):
            lost = any("diverge" in example.completion for example in job.lesson.examples)
            path, error = (None, "the loss is not finite") if lost else (job.out, None)
            yield FitResult(job.id, path, len(job.lesson.examples), 20, 10, 2.0, 1.0, error)


class Picky(QA):
    """A domain that cannot read every self-edit, and lets one choose its own epochs."""

    def make_training_set(self, task: Task, edit: SelfEdit) -> TrainingSet:
        if "unreadable" in edit.completion:
            raise BadEdit("not JSON")
        return TrainingSet((Example("", edit.completion),), {"epochs": 2})


def edited(*completions: str) -> list[Record]:
    task = a_task()
    return [Record(task=task, edit=an_edit(task, n, completion)) for n, completion in enumerate(completions)]


def adapted(records: Iterable[Record], trainer: Trainer, **settings: Any) -> Iterator[Record]:
    return adapt.run(plan_lines(records, trainer.model, **settings), trainer)


def test_each_edit_gets_an_adapter_per_seed_that_belongs_to_it() -> None:
    records = list(adapted(edited("one", "two"), Pretender(), domain=QA(), out=OUT, seeds=3))
    assert [record.edit.completion for record in records if record.edit] == ["two"] * 3 + ["one"] * 3
    for record in records:
        assert record.adapter is not None
        assert record.adapter.path == str(OUT / record.adapter.id)
        assert record.edit is not None
        said = record.edit.get_content_id(record.task.id)
        assert record.adapter.seed in {derive_seed(0, said, replica) for replica in range(3)}
    assert len({record.adapter.id for record in records if record.adapter}) == 6


def test_a_training_costs_its_characters_however_many_lines_share_its_adapter() -> None:
    todo = plan_lines(edited("four", "a longer line"), "student", domain=QA(), out=OUT, config=FitConfig(epochs=3))
    short, long = todo.values()
    cost_of = adapt._make_cost({"short": short, "long": long})
    alone = sum(len(str(row.prompt)) + len(row.completion) for row in long.job.lesson.examples) * 3 if long.job else 0
    assert cost_of("long") == alone > cost_of("short") > 0
    shared = adapt._make_cost({str(line): long for line in range(4)})
    assert sum(shared(str(line)) for line in range(4)) == alone


@pytest.mark.parametrize("sequential", [False, True])
def test_adapters_of_another_precision_and_of_the_trainers_of_others_do_not_replace_each_other(
    sequential: bool,
) -> None:
    def ids(dtype: str, trainer: str = "batched") -> list[str]:
        local = LocalTrainer("owner/student", trainer, device=Device("cpu", dtype))
        stage = adapt.Adapt(trainer=local, sequential=sequential and trainer in TRAINERS)
        work = stage.prepare(edited("one", "two"))
        assert isinstance(work, Work)
        return list(work.plan.wanted)

    assert ids("auto") == ids("float32") == ids("float32", "peft")
    assert len({*ids("float32"), *ids("bfloat16"), *ids("float32", "mine:Trainer"), *ids("bfloat16", "peft")}) == 6


def test_an_adapter_says_how_it_was_trained() -> None:
    config = FitConfig(rank=4, targets=("q_proj",))
    (record,) = adapted(edited("one"), Pretender(), domain=QA(), out=OUT, config=config)
    adapter = record.adapter
    assert adapter is not None and adapter.train is not None
    assert (adapter.model, adapter.fit["rank"], adapter.fit["targets"]) == ("student", 4, ("q_proj",))
    assert (adapter.train.sequences, adapter.train.steps, adapter.train.loss_last) == (2, 10, 1.0)
    assert (adapter.fault, adapter.error) == (None, None)


def test_a_self_edit_that_never_came_is_no_failure_of_the_model() -> None:
    (line,) = edited("")
    assert line.edit is not None
    never = line.grow(edit=line.edit.model_copy(update={"finish": "failed", "error": "timeout: no answer"}))
    refused = line.grow(edit=line.edit.model_copy(update={"id": "r", "finish": "refused", "error": "it would not"}))
    first, second = (record.adapter for record in adapted([never, refused], Pretender(), domain=QA(), out=OUT))
    assert first is not None and second is not None
    assert (first.fault, first.path) == ("training", None)
    assert first.error == "there is no self-edit (timeout: no answer); run `seal generate` again"
    assert (second.fault, second.error, second.path) == ("edit", "it would not", None)


def test_an_unreadable_edit_is_the_models_failure_and_the_run_goes_on() -> None:
    records = list(adapted(edited("unreadable", "one"), Pretender(), domain=Picky(), out=OUT, seeds=2))
    assert [record.adapter.fault for record in records if record.adapter] == ["edit", None, None]
    lost = records[0].adapter
    assert lost is not None
    assert (lost.path, lost.train, lost.error) == (None, None, "not JSON")


def test_a_failed_training_is_ours_and_the_run_goes_on() -> None:
    records = list(adapted(edited("diverge", "one"), Pretender(), domain=QA(), out=OUT))
    assert [record.adapter.fault for record in records if record.adapter] == [None, "training"]
    lost = records[1].adapter
    assert lost is not None
    assert (lost.path, lost.train, lost.error) == (None, None, "the loss is not finite")


def test_a_self_edit_may_choose_its_own_hyper_parameters() -> None:
    trainer = Pretender()
    list(adapted(edited("one"), trainer, domain=Picky(), out=OUT, config=FitConfig(rank=4)))
    assert (trainer.jobs[0].config.epochs, trainer.jobs[0].config.rank) == (2, 4)


def one_id(domain: QA, *, config: FitConfig = FitConfig(), run_seed: int = 0, text: str = "one\ntwo") -> str:
    (record,) = adapted(edited(text), Pretender(), domain=domain, out=OUT, config=config, run_seed=run_seed)
    assert record.adapter is not None
    return record.adapter.id


def test_an_adapter_is_identified_by_what_it_was_trained_on_and_how() -> None:
    qa = QA()
    assert one_id(qa) == one_id(qa)
    others = {one_id(QA(split_newlines=False)), one_id(qa, config=FitConfig(rank=4)), one_id(qa, run_seed=1)}
    assert len(others | {one_id(qa), one_id(qa, text="one")}) == 5


def test_an_edit_that_comes_twice_is_refused() -> None:
    with pytest.raises(BadInput) as caught:
        list(adapted(edited("one") * 2, Pretender(), domain=QA(), out=OUT))
    assert str(caught.value).endswith("of 'Ada' occurs twice; each line must be another")
    assert str(caught.value).startswith(f"self-edit {an_edit(a_task(), 0, 'one').id} ")


def test_a_line_without_an_edit_names_the_stage_before() -> None:
    with pytest.raises(BadInput) as caught:
        list(adapted([Record(task=a_task())], Pretender(), domain=QA(), out=OUT))
    assert str(caught.value) == f"task {a_task().id} has no edit (run `seal generate` first)"


def test_an_old_score_does_not_outlive_a_new_adapter() -> None:
    scored = a_line(a_task(), [True, True])
    (record,) = adapted([scored], Pretender(), domain=QA(), out=OUT)
    assert record.score is None


def test_the_training_data_is_shown_without_training() -> None:
    (data,) = adapt.show_data(edited("one\ntwo"), domain=QA())
    assert data.sequences == ("Ada\none", "Ada\ntwo", f"Ada\n{a_task().context}")
    assert data.task_id == a_task().id


def test_a_model_that_moved_trains_with_the_same_seeds() -> None:
    def seeds(editor: str) -> set[int]:
        lines = [
            line.grow(edit=line.edit.model_copy(update={"id": editor, "model": editor}))
            for line in edited("one")
            if line.edit
        ]
        found = adapted(lines, Pretender(), domain=QA(), out=OUT, seeds=3)
        return {record.adapter.seed for record in found if record.adapter}

    assert seeds("runs/a/model") == seeds("/elsewhere/model")
    assert len(seeds("x")) == 3


def test_a_trainer_that_forgets_a_job_is_a_bug_and_not_a_shorter_file() -> None:
    class Forgetful(Pretender):
        def fit(self, jobs: Iterable[FitJob], progress: Progress = NullProgress()) -> Iterator[FitResult]:
            yield from list(super().fit(jobs))[1:]

    with pytest.raises(RuntimeError, match="no result for 1 jobs"):
        list(adapted(edited("one", "two"), Forgetful(), domain=QA(), out=OUT))


# ---- thoughts

THOUGHT = "<think>\nShould I say that Ada is tall?\nNo.\n</think>\n\n"


def test_nothing_of_a_thought_is_trained_on() -> None:
    trainer = Pretender()
    list(adapted(edited(f"{THOUGHT}one\ntwo", "one\ntwo"), trainer, domain=QA(), out=OUT))
    first, second = (job.lesson for job in trainer.jobs)
    assert first == second
    assert [each.completion for each in first.examples][:2] == ["Ada\none", "Ada\ntwo"]
    (shown, _) = adapt.show_data(edited(f"{THOUGHT}one\ntwo", "x"), domain=QA())
    assert "tall" not in str(shown)


@pytest.mark.parametrize("error", [None, "the model thought until --max-tokens; take more of them"])
def test_a_self_edit_that_ends_within_its_thought_is_not_trained_and_not_worth_0(error: str | None) -> None:
    task = a_task()
    edit = an_edit(task, completion="<think>\nAda is").model_copy(update={"error": error, "finish": "length"})
    trainer = Pretender()
    (line,) = adapted([Record(task=task, edit=edit)], trainer, domain=QA(), out=OUT)
    assert line.adapter is not None
    assert (trainer.jobs, line.adapter.path, line.adapter.fault) == ([], None, "training")
    assert "there is no self-edit (the model thought until --max-tokens" in str(line.adapter.error)
    (shown,) = adapt.show_data([Record(task=task, edit=edit)], domain=QA())
    assert shown.sequences == ()  # type: ignore[union-attr]


def test_grids_are_made_by_what_stands_behind_the_thought() -> None:
    task = an_arc_task()
    lines = [
        Record(task=task, edit=an_arc_edit(task, text, n))
        for n, text in enumerate([f"<think>{{}}</think>{a_choice('size')}", a_choice("size"), "<think>{"])
    ]
    trainer = Pretender()
    (lost, *_) = adapted(lines, trainer, domain=Arc(), out=OUT)
    assert trainer.jobs[0].lesson == trainer.jobs[1].lesson
    assert lost.adapter is not None
    assert lost.adapter.fault == "training"


def test_a_warm_up_by_ratio_stands_instead_of_the_domains_steps_and_is_told_only_where_it_is() -> None:
    plain, arc = FitConfig(), FitConfig(warmup_steps=11)
    assert "warmup_ratio" not in plain.settings
    assert arc.change({"warmup_ratio": 0.0}).settings == arc.settings
    assert arc.change({"warmup_ratio": 0.03}).count_warmup_steps(200) == 6
    assert plain.change({"warmup_ratio": 0.03}).settings == {**plain.settings, "warmup_ratio": 0.03}
    with pytest.raises(BadConfig, match=r"--warmup-ratio 0.1 and --warmup-steps 5: both are the warm-up; give one"):
        plain.change({"warmup_ratio": 0.1, "warmup_steps": 5})
