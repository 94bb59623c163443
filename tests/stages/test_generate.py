"""task → edit, with an engine that answers out of order."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from typing import Any

import pytest

from stages import generate
from stages.domains.arc.domain import Arc
from stages.domains.qa import NO_EDIT, QA
from stages.domains.templates.entigraph import ENTIGRAPH, EntityGraph
from stages.domains.writing import Writing, make_edit_key, write_fixed_edits
from stages.engines.local import LocalEngine
from stages.errors import BadConfig, BadInput
from stages.interfaces import Completion, NullProgress, Progress, Request
from stages.records.frozen import derive_seed
from stages.records.record import Record, SelfEdit
from stages.scoring.candidates import EditTracker
from stages.settings import Sampling
from tests.invented import Backwards, Lost, Notes, a_task
from tests.invented_grids import a_choice, an_arc_task

ADA, BO = Record(task=a_task("Ada")), Record(task=a_task("Bo"))


def name_and_sample(request: Request) -> str:
    return f"{'Ada' if 'Ada' in str(request.prompt) else 'Bo'} {request.id[-1]}"


def test_samples_leave_as_they_come_and_belong_to_their_tasks() -> None:
    records = generate.run([ADA, BO], Backwards(name_and_sample, "editor"), Writing(QA(), samples=3))
    edits = [(record.task.title, record.edit.sample, record.edit.completion) for record in records if record.edit]
    assert edits == [(name, sample, f"{name} {sample}") for name in ("Bo", "Ada") for sample in (2, 1, 0)]


def one_is_lost(request: Request) -> str:
    if request.id.endswith("/1"):
        raise Lost("timeout: no answer within 5 s")
    return "a line"


def test_a_completion_that_never_came_is_told_on_its_line_and_asked_for_again() -> None:
    plan = generate.plan([ADA], samples=3)
    records = {
        record.edit.sample: record
        for record in generate.run([ADA], Backwards(one_is_lost), Writing(QA(), samples=3))
        if record.edit
    }
    lost = records[1].edit
    assert lost is not None
    assert (lost.completion, lost.finish, lost.tokens) == ("", "failed", None)
    assert lost.error == "timeout: no answer within 5 s"
    assert [plan.still_valid(records[sample]) for sample in range(3)] == [True, False, True]


def test_what_is_in_work_is_a_self_edit_however_many_calls_it_takes() -> None:
    engine, notes = Backwards(lambda request: '{"entities": ["Ada", "Velm"]}'), Notes()
    writing = Writing(QA(), ENTIGRAPH, samples=1, graph=EntityGraph(pairs=1, triples=0))
    (line,) = generate.run([ADA], engine, writing, progress=notes)
    assert line.edit is not None
    assert notes.started == [make_edit_key(ADA.task, 0)] * len(line.edit.calls) == [make_edit_key(ADA.task, 0)] * 2


def test_stop_strings_end_the_texts_about_entities_and_not_their_list() -> None:
    engine = Backwards(lambda request: '{\n "entities": ["Ada", "Velm"]}')
    graph, sampling = EntityGraph(pairs=1, triples=0), Sampling(stop=("\n",))
    (line,) = generate.run([ADA], engine, Writing(QA(), ENTIGRAPH, samples=1, sampling=sampling, graph=graph))
    assert [request.sampling.stop for request in engine.asked] == [(), ("\n",)]
    assert line.edit and line.edit.sampling["stop"] == ["\n"]


def test_an_edit_says_who_wrote_it_and_how_it_was_asked() -> None:
    sampling = Sampling(temperature=0.5, max_tokens=9, seed=4)
    (record,) = generate.run([ADA], Backwards(name_and_sample, "editor"), Writing(QA(), samples=1, sampling=sampling))
    edit = record.edit
    assert edit is not None
    assert (edit.model, edit.template, edit.finish, edit.tokens) == ("editor", "implications", "stop", 3)
    assert edit.prompt == QA().edit_prompt(ADA.task, "implications", chat=False)
    assert edit.sampling == {
        "temperature": 0.5,
        "top_p": 0.95,
        "max_tokens": 9,
        "seed": derive_seed(4, ADA.task.id, 0),
    }


def test_an_edit_says_by_which_strings_it_was_ended() -> None:
    engine, sampling = Backwards(name_and_sample), Sampling(stop=("\n\n",))
    (record,) = generate.run([ADA], engine, Writing(QA(), samples=1, sampling=sampling))
    assert record.edit is not None
    assert record.edit.sampling["stop"] == ["\n\n"] == list(engine.asked[0].sampling.stop)


def test_lines_of_the_same_task_count_once() -> None:
    records = list(generate.run([ADA, BO, ADA], Backwards(name_and_sample), Writing(QA(), samples=2)))
    assert [record.task.title for record in records] == ["Bo", "Bo", "Ada", "Ada"]


def test_two_different_tasks_with_one_id_are_refused() -> None:
    other = Record(task=BO.task.model_copy(update={"id": ADA.task.id}))
    words = f"two different tasks have the id {ADA.task.id}; give each its own"
    with pytest.raises(BadInput, match=words):
        generate.plan([ADA, other], samples=2)
    with pytest.raises(BadInput, match=words):
        list(generate.run([ADA, other], Backwards(name_and_sample), Writing(QA())))
    with pytest.raises(BadInput, match=words):
        list(write_fixed_edits([ADA, ADA, other], QA(), NO_EDIT, ""))


def test_every_sample_has_its_own_seed_and_other_tasks_do_not_change_it() -> None:
    alone, beside = Backwards(name_and_sample), Backwards(name_and_sample)
    list(generate.run([ADA], alone, Writing(QA())))
    list(generate.run([BO, ADA], beside, Writing(QA())))
    seeds = {request.id: request.sampling.seed for request in beside.asked}
    assert len(set(seeds.values())) == 10
    assert {request.id: request.sampling.seed for request in alone.asked}.items() <= seeds.items()


def test_equal_completions_of_two_samples_are_two_edits() -> None:
    records = generate.run([ADA], Backwards(lambda _: "the same"), Writing(QA(), samples=2))
    assert len({record.edit.id for record in records if record.edit}) == 2


def test_a_chat_prompt_is_kept_as_messages() -> None:
    (record,) = generate.run([ADA], Backwards(name_and_sample), Writing(QA(), samples=1, chat=True))
    assert record.edit is not None
    assert [message.role for message in record.edit.prompt if not isinstance(message, str)] == ["system", "user"]


def test_the_passage_only_baseline_is_one_empty_edit_per_task() -> None:
    records = list(write_fixed_edits([ADA, ADA, BO], QA(), NO_EDIT, ""))
    assert [(record.task.title, record.edit.completion) for record in records if record.edit] == [
        ("Ada", ""),
        ("Bo", ""),
    ]
    assert {record.edit.template for record in records if record.edit} == {NO_EDIT}


def test_an_unknown_template_is_refused_before_anything_is_asked() -> None:
    with pytest.raises(BadConfig, match="--template implied: unknown; take one of implications"):
        generate.Generate(LocalEngine("absent"), template="implied").prepare([ADA])


# ---- self-edits that can be wrong, and the same twice

MIRROR, OTHER = Record(task=an_arc_task("mirror")), Record(task=an_arc_task("other"))


def scripted(answers: dict[str, list[str]]) -> Callable[[Request], str]:
    """Answers in turn for each request id."""
    left = {key: iter(texts) for key, texts in answers.items()}
    return lambda request: next(left[request.id])


def written(answers: dict[str, list[str]], **ways: Any) -> tuple[dict[str, SelfEdit], Backwards]:
    """The self-edits by task and sample, and the engine that was asked."""
    records, seen = ways.pop("records", [MIRROR]), ways.pop("seen", None)
    engine = Backwards(scripted(answers), "editor")
    writing = Writing(Arc(), "tools", samples=len(answers) // len(records), chat=True, **ways)
    lines = list(generate.run(records, engine, writing, seen=seen))
    return {generate.line_key(line): line.edit for line in lines if line.edit}, engine


def test_a_self_edit_that_cannot_be_read_says_why_on_its_line() -> None:
    found, _ = written({"mirror/0": [a_choice("basic", epochs=4)], "mirror/1": ["I would rotate it."]})
    good, bad = found["mirror/0"], found["mirror/1"]
    assert (good.error, bad.error) == (None, "there is no JSON object in the completion")
    assert good.chosen is not None and (good.chosen.tools, good.chosen.epochs) == (("basic",), 4)
    assert (bad.chosen, bad.completion, bad.finish) == (None, "I would rotate it.", "stop")


def test_it_is_asked_for_again_no_more_often_than_allowed() -> None:
    answers = {"mirror/0": ["no", "{}", a_choice()], "mirror/1": ["no", "none", "never", "yes?"]}
    found, engine = written(answers, retries=2)
    assert found["mirror/0"].error is None and found["mirror/0"].completion == a_choice()
    assert (found["mirror/1"].completion, found["mirror/1"].chosen) == ("never", None)
    assert len(engine.asked) == 6
    seeds = {request.sampling.seed for request in engine.asked}
    assert len(seeds) == 6  # another try has another seed
    assert found["mirror/0"].sampling["seed"] in seeds


def test_the_first_try_does_not_depend_on_how_often_one_may_try() -> None:
    _, once = written({"mirror/0": ["no"]})
    _, twice = written({"mirror/0": ["no", "no"]}, retries=1)
    assert once.asked == twice.asked[:1]


def test_a_completion_that_never_came_is_not_the_models_failure() -> None:
    def lost(request: Request) -> str:
        raise Lost("timeout: no answer")

    engine = Backwards(lost)
    (line,) = generate.run([MIRROR], engine, Writing(Arc(), "tools", samples=1, chat=True, retries=3))
    assert line.edit is not None and (line.edit.finish, line.edit.error) == ("failed", "timeout: no answer")
    assert len(engine.asked) == 1


SAME = f"```json\n{a_choice('basic')}\n```"  # chooses what a_choice("basic") does


def test_of_equal_choices_the_one_with_the_lowest_number_stays() -> None:
    answers = {"mirror/0": [a_choice("basic")], "mirror/1": [a_choice("size")], "mirror/2": [SAME]}
    found, _ = written(answers, unique=True)
    assert found.keys() == {"mirror/0", "mirror/1"}
    assert len(written(answers)[0]) == 3


def test_equal_choices_are_asked_for_again_where_that_is_allowed() -> None:
    answers = {
        "mirror/0": [a_choice("basic")],
        "mirror/1": [SAME, a_choice("size")],
        "mirror/2": [SAME, a_choice("size"), a_choice("chain")],
    }
    found, engine = written(answers, unique=True, retries=2)
    assert [found[f"mirror/{n}"].completion for n in range(3)] == [
        a_choice("basic"),
        a_choice("size"),
        a_choice("chain"),
    ]
    assert len(engine.asked) == 6


def test_tasks_may_choose_the_same_and_failures_are_never_equal() -> None:
    answers = {f"{task}/{n}": [a_choice("basic") if n == 0 else "no"] for task in ("mirror", "other") for n in range(3)}
    found, _ = written(answers, unique=True, records=[MIRROR, OTHER])
    assert len(found) == 6


def test_a_run_that_goes_on_does_not_repeat_what_is_there() -> None:
    answers = {"mirror/0": [a_choice("basic")], "mirror/1": [SAME], "mirror/2": [a_choice("size")]}
    engine = Backwards(scripted(answers), "editor")
    writing = Writing(Arc(), "tools", samples=3, chat=True, unique=True)
    first = [line for line in generate.run([MIRROR], engine, writing) if line.edit and line.edit.sample == 0]
    engine = Backwards(scripted(answers), "editor")
    finished: list[Record] = []
    writer = generate._Writer(generate.plan([MIRROR], samples=3).wanted, engine, writing, EditTracker(), None, finished)
    finished += first  # by another worker, since this one has its model
    assert [line.edit.sample for line in writer.make(["mirror/1", "mirror/2"]) if line.edit] == [2]


def test_only_structured_requests_have_a_schema() -> None:
    _, free = written({"mirror/0": [a_choice()]})
    found, bound = written({"mirror/0": [a_choice()]}, structured=True)
    assert [request.schema for request in (*free.asked, *bound.asked)] == [None, Arc().schema()]
    assert found["mirror/0"].sampling["structured"] is True
    asking = generate.Generate(replace(LocalEngine("m"), name="vllm"), structured=True, sampling={"stop": ("\n",)})
    with pytest.raises(BadConfig, match="--structured ends each self-edit; leave one of them out"):
        asking.prepare([MIRROR])


def test_a_humans_self_edit_is_a_line_too() -> None:
    (line,) = write_fixed_edits([MIRROR, MIRROR], Arc(), "oracle", a_choice("basic"))
    assert line.edit is not None
    assert (line.edit.model, line.edit.template, line.edit.prompt) == ("none", "oracle", "")
    assert line.edit.chosen is not None and line.edit.chosen.tools == ("basic",)


def test_completions_are_counted_as_they_come() -> None:
    answers = {"mirror/0": ["no", a_choice("basic")], "mirror/1": [SAME, SAME], "mirror/2": ["no", "never"]}
    seen = EditTracker()
    found, _ = written(answers, unique=True, retries=1, seen=seen)
    assert found.keys() == {"mirror/1", "mirror/2"}  # the first to choose basic was sample 1
    assert (seen.completions, seen.readable, seen.repeats) == (5, 2, 1)
    assert seen.summary == "2 of 5 completions can be read (40.0 %), 1 repeat another of their task"


def test_a_completion_that_never_came_holds_back_the_later_samples_of_its_task() -> None:
    """Or it would be the repeat itself when it is asked for again, and the file not that of a run without failures."""
    answers = {f"{task}/{n}": [a_choice("basic", epochs=n + 1)] for task in ("mirror", "other") for n in range(3)}
    say = scripted(answers)

    def failing(request: Request) -> str:
        if request.id == "mirror/1":
            raise Lost("timeout: no answer")
        return say(request)

    writing = Writing(Arc(), "tools", samples=3, chat=True, unique=True)
    lines = list(generate.run([MIRROR, OTHER], Backwards(failing), writing))
    assert sorted(map(generate.line_key, lines)) == ["mirror/0", "mirror/1", "other/0", "other/1", "other/2"]
    assert generate.plan([MIRROR], samples=3, optional=True).unit_of is not None


def test_an_engine_that_loses_a_request_is_a_bug_also_where_lines_may_be_left_out() -> None:
    class Forgetful(Backwards):
        def sample(self, requests: Iterable[Request], progress: Progress = NullProgress()) -> Iterator[Completion]:
            yield from super().sample(list(requests)[1:])

    for unique in (False, True):
        writing = Writing(Arc(), "tools", samples=2, chat=True, unique=unique)
        with pytest.raises(RuntimeError, match="no completion for 1 requests, the first is mirror/0"):
            list(generate.run([MIRROR], Forgetful(lambda request: a_choice()), writing))


def test_a_killed_run_by_hand_goes_on_with_what_is_missing() -> None:
    lines = list(write_fixed_edits([MIRROR, OTHER], Arc(), "oracle", a_choice(), keys={"other/0"}))
    assert [line.task.id for line in lines] == ["other"]


def test_lines_are_wanted_one_and_all_unless_they_are_to_be_distinct() -> None:
    assert not generate.plan([MIRROR], samples=3).optional
    assert generate.plan([MIRROR], samples=3, optional=True).optional


# ---- thoughts


class Cut(Backwards):
    """All that it says is cut off."""

    def sample(self, requests: Iterable[Request], progress: Progress = NullProgress()) -> Iterator[Completion]:
        return (replace(each, finish="length") for each in super().sample(requests, progress))


def test_a_self_edit_is_kept_with_its_thought_and_read_behind_it() -> None:
    thought = f"<think>\nNot {a_choice('size')}.\n</think>\n\n{a_choice('basic')}"
    (line,) = generate.run([Record(task=an_arc_task())], Backwards(lambda _: thought), Writing(Arc(), "tools", 1))
    assert line.edit is not None and line.edit.chosen is not None
    assert (line.edit.completion, line.edit.error, line.edit.chosen.tools) == (thought, None, ("basic",))
    assert line.edit.chosen.repairs == ()


@pytest.mark.parametrize("record", [ADA, Record(task=an_arc_task())])
@pytest.mark.parametrize("text", ["<think>\nSo", "<think>\nSo\n</think>\n"])
def test_a_self_edit_that_ends_within_its_thought_is_none(record: Record, text: str) -> None:
    kind = Writing(QA(), samples=1) if record is ADA else Writing(Arc(), "tools", 1)
    (line,) = generate.run([record], Cut(lambda _: text), kind)
    assert line.edit is not None
    assert (line.edit.completion, line.edit.finish, line.edit.text) == (text, "length", None)
    assert line.edit.error == "the model thought until --max-tokens; take more of them"
    assert EditTracker().classify(line, unique=False) == "unreadable"  # --retry-invalid asks again
