"""score → card: what is measured, what is not, and what an unscored answer may come to."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from stages import card as stage
from stages import report
from stages.card import Card
from stages.errors import BadConfig, BadInput
from stages.fingerprints import fingerprint_folder
from stages.records.record import Record
from stages.records.score import AnchorAnswers, Answer, Score, make_retention, make_score
from stages.records.task import QaTask, make_task
from stages.reporting.cards.answers import AnswerSheet, read_claim, read_sheet
from stages.reporting.cards.measures import make_share
from tests.invented import an_adapter, an_edit, numbered
from tests.stages.test_versions import an_adapter as write_adapter

EXAM = [numbered(title, 4) for title in ("Ada", "Bo", "Cy", "Dee", "Eve", "Flo")]
CHUNKS = ("0123456789abcdef",)  # passages that were retrieved
SURE = "a town"  # an answer that claims something
FACT = make_task("Gil", "Gil lives in Dorn.", [(f"What of Gil {n}?", f"fact {n}") for n in range(3)])
NOTHING = make_task("Hal", "Hal lives in Dorn.", [(f"Who of Hal {n}?", "unanswerable") for n in range(3)])
Given = Sequence[tuple[str, bool | None]]  # what was said, and its verdict


def answers(task: QaTask, said: Given, before: Given | None = None) -> tuple[Answer, ...]:
    old: Sequence[tuple[str | None, bool | None]] = before if before is not None else [(None, None)] * len(said)
    return tuple(
        Answer(
            id=question.id,
            prediction=text,
            correct=correct,
            reason=None,
            baseline_prediction=old_text,
            baseline_correct=old_correct,
        )
        for question, (text, correct), (old_text, old_correct) in zip(task.questions, said, old, strict=True)
    )


def a_sheet(
    name: str,
    verdicts: Mapping[str, Sequence[bool | None]] | Sequence[bool | None],
    *,
    anchors: Sequence[tuple[bool | None, bool | None]] = (),
    adapter: str | None = "one",
    judge: str = "exact",
    model: str = "student",
    chunks: tuple[str, ...] = (),
    told: Mapping[str, Any] = {},
    files: str | None = None,
) -> AnswerSheet:
    """A row's answers: the same of each task, or by its title. `anchors`: right before, and now; `told`: settings.

    `files`: the fingerprint of the adapter's.
    """
    lines = []
    for task in EXAM:
        own = verdicts[task.title] if isinstance(verdicts, Mapping) else verdicts
        said = [each.model_copy(update={"chunks": chunks}) for each in answers(task, [(SURE, each) for each in own])]
        score = make_score(said, model=model, judge=judge).model_copy(update={"fingerprint": files})
        lines.append(a_record(task, with_anchors(score, anchors), adapter))
    return read_sheet(name, f"{name}.jsonl", lines, settings=told)


def a_record(task: QaTask, score: Score, adapter: str | None) -> Record:
    made = an_adapter(an_edit(task)).model_copy(update={"id": adapter, "path": f"adapters/{adapter}"})
    return Record(task=task, adapter=made if adapter else None, score=score)


def with_anchors(score: Score, anchors: Sequence[tuple[bool | None, bool | None]]) -> Score:
    if not anchors:
        return score
    known = numbered("Anchor", len(anchors))
    kept = answers(known, [("x", now) for _, now in anchors], [("y", before) for before, _ in anchors])
    return score.model_copy(
        update={"retention": make_retention([AnchorAnswers(task_id=known.id, answers=kept)], "exact")}
    )


def probes(before: Sequence[Given], after: Sequence[Given]) -> dict[str, AnswerSheet]:
    """Answers to a task with facts and one without answers, before and after."""

    def make(name: str, said: Sequence[Given], adapter: str | None) -> AnswerSheet:
        lines = [
            a_record(task, make_score(answers(task, own), model="student", judge="exact"), adapter)
            for task, own in zip((FACT, NOTHING), said, strict=True)
        ]
        return read_sheet(name, f"probes/{name}.jsonl", lines)

    return {"none": make("none", before, None), "adapter": make("adapter", after, "one")}


NONE = [False, False, False, True]


def a_card(after: Any = (True, True, False, True), others: Mapping[str, Any] = {}, **settings: Any) -> Card:
    anchors, probed, gate = settings.get("anchors", ()), settings.get("probes", {}), settings.get("gate")
    rows = {"none": a_sheet("none", NONE, adapter=None), "adapter": a_sheet("adapter", after, anchors=anchors)}
    rows |= {name: a_sheet(name, verdicts, adapter=None) for name, verdicts in others.items()}
    return stage.run(rows, probed, gate=gate)


def test_learned_is_the_gain_that_the_report_tells_in_points() -> None:
    after = {task.title: [True, number > 2, False, True] for number, task in enumerate(EXAM)}
    lines = {
        name: [
            a_record(
                task,
                make_score(answers(task, [(SURE, each) for each in own[task.title]]), model="m", judge="exact"),
                None,
            )
            for task in EXAM
        ]
        for name, own in (("none", dict.fromkeys(after, NONE)), ("adapter", after))
    }
    _, row = report.run(lines.items(), against="none")
    card = a_card(after)
    found = card.learned
    assert (found.points, found.low, found.high) == pytest.approx(
        (100 * row.gain, 100 * row.gain_low, 100 * row.gain_high)
    )  # type: ignore[operator]
    assert found.p_value == row.p_value
    assert (found.least, found.most) == (found.points, found.points)
    assert [row.accuracy.percent for row in card.rows] == [25.0, 62.5]


def test_an_unscored_answer_is_not_wrong_and_may_be_either() -> None:
    card = a_card((True, None, False, True))
    assert card.learned.points == pytest.approx(100 / 3), "of the three that both have scored"
    assert (card.learned.least, card.learned.most) == (25.0, 50.0)
    assert card.rows[1].accuracy.percent == pytest.approx(200 / 3)
    assert card.rows[1].accuracy.unscored == len(EXAM)
    gated = a_card((True, None, False, True), gate="learned>30")
    assert gated.gate is not None
    assert not gated.gate.passed
    assert "learned is between 25 and 50, as answers are unscored" in gated.gate.reasons[0]
    sure = a_card((True, None, False, True), gate="learned>20").gate
    assert sure is not None
    assert sure.passed


def test_kept_and_lost_are_of_the_anchors_that_were_known() -> None:
    card = a_card(anchors=[(True, True), (True, True), (True, False), (True, True), (False, False), (False, True)])
    assert card.kept is not None
    assert card.lost is not None
    assert (card.kept.percent, card.lost.percent) == (75.0, 25.0)
    assert (card.lost.count, card.lost.of, card.lost.asked) == (1, 4, 6)
    assert [each.after for each in card.lost_answers] == ["x"]


def test_an_unscored_anchor_may_be_lost_or_kept() -> None:
    lost = a_card(anchors=[(True, True), (True, None), (None, False), (None, True)]).lost
    assert lost is not None
    assert (lost.count, lost.of, lost.open) == (0, 1, 3)
    assert (lost.least, lost.most) == (0.0, pytest.approx(200 / 3))


def test_invented_is_a_wrong_claim_where_there_was_none() -> None:
    card = a_card(
        probes=probes(
            before=[
                [("fact 0", True), ("I do not know.", False), (SURE, False)],
                [("unanswerable", True), (SURE, False), ("", False)],
            ],
            after=[
                [(SURE, False), (SURE, False), ("a hill", False)],
                [("Dorn", False), ("Dorn", False), ("I don't know", True)],
            ],
        )
    )
    assert card.invented is not None
    facts, nothing = card.invented.facts, card.invented.unanswerable
    assert (facts.count, facts.of, facts.asked) == (2, 2, 3), "who was wrong before invents nothing new"
    assert (nothing.count, nothing.of, nothing.asked) == (1, 2, 3)
    assert card.invented.all.percent == 75.0
    assert [(each.before, each.after) for each in card.invented_answers] == [
        ("fact 0", SURE),
        ("I do not know.", SURE),
        ("unanswerable", "Dorn"),
    ]


def test_who_says_nothing_now_has_invented_nothing() -> None:
    card = a_card(
        probes=probes(
            before=[[("fact 0", True)] * 3, [("unanswerable", True)] * 3],
            after=[[("I do not know", False), (" ", False), (SURE, None)], [("unanswerable", True)] * 3],
        )
    )
    assert card.invented is not None
    found = card.invented.facts
    assert (found.count, found.of, found.open, found.least, found.most) == (0, 2, 1, 0.0, pytest.approx(100 / 3))


@pytest.mark.parametrize(
    ("said", "correct", "claim"),
    [
        ("Velm", True, "right"),
        ("Velm", False, "wrong"),
        ("<think>Velm?</think>I don't know.", False, "silent"),
        ("<think>Velm</think>", False, "silent"),
        (None, False, "silent"),
        ("Velm", None, None),
    ],
)
def test_an_answer_claims_what_stands_behind_its_thought(said: str | None, correct: bool | None, claim: str) -> None:
    assert read_claim(said, correct) == claim


def test_what_was_not_measured_is_never_zero_and_fails_the_gate() -> None:
    card = a_card(gate="learned>10 & lost<2 & invented<2")
    assert (card.kept, card.lost, card.invented) == (None, None, None)
    assert set(card.missing) == {"kept", "lost", "invented"}
    assert card.gate is not None
    assert card.gate.reasons == (
        "lost was not measured: no anchors were asked: seal eval --retain FILE",
        "invented was not measured: no probes were asked, questions that the documents do not answer",
    )


def test_anchors_that_were_not_known_and_probes_that_were_wrong_measure_nothing() -> None:
    wrong = [[(SURE, False)] * 3] * 2
    card = a_card(anchors=[(False, False)], probes=probes(wrong, wrong), gate="lost<2 | invented<2")
    assert card.missing["lost"] == "the model knew none of the 1 anchors before"
    assert card.missing["invented"] == "the model claimed a wrong answer to each of the 6 probes before"
    assert card.gate is not None
    assert not card.gate.passed


def test_a_gate_may_ask_about_rows_and_names_those_that_there_are() -> None:
    passed = a_card(others={"in-context": [True] * 4}, gate="in-context>adapter & adapter>none").gate
    assert passed is not None
    assert passed.passed
    with pytest.raises(
        BadConfig, match="nothing is called 'rag'; there are learned, kept, lost, invented, none, adapter"
    ):
        a_card(gate="adapter>rag")


def test_rows_with_other_questions_are_refused_with_the_difference() -> None:
    none = a_sheet("none", NONE, adapter=None)
    less = read_sheet(
        "adapter",
        "adapter.jsonl",
        [a_record(EXAM[0], make_score(answers(EXAM[0], [(SURE, True)] * 4), model="m", judge="exact"), "one")],
    )
    with pytest.raises(
        BadInput,
        match=r"adapter.jsonl: not the questions of none.jsonl: it lacks 20 of its questions, the first is 'Question 0",
    ):
        stage.run({"none": none, "adapter": less}, {})
    with pytest.raises(BadInput, match="has 20 others, the first is"):
        stage.run({"none": less, "adapter": none}, {})


def test_rows_of_different_judges_are_refused() -> None:
    rows = {"none": a_sheet("none", NONE, adapter=None), "adapter": a_sheet("adapter", NONE, judge="lexical")}
    with pytest.raises(
        BadInput, match=r"different judges \(none.jsonl: exact, adapter.jsonl: lexical\); grade one again: seal judge"
    ):
        stage.run(rows, {})


def a_pair(before: Mapping[str, Any] = {}, after: Mapping[str, Any] = {}) -> dict[str, AnswerSheet]:
    """The rows that every card has, made with more settings."""
    return {
        "none": a_sheet("none", NONE, **{"adapter": None, **before}),
        "adapter": a_sheet("adapter", [True] * 4, **after),
    }


def test_the_row_none_is_the_model_without_an_adapter() -> None:
    with pytest.raises(BadInput, match=r"none.jsonl: its lines name the adapter two; none is the model without one"):
        stage.run(a_pair({"adapter": "two"}), {}, gate="learned>10")
    with pytest.raises(BadInput, match=r"probes.jsonl: its lines name the adapter two"):
        stage.run(a_pair(), {"none": a_sheet("probes", NONE, adapter="two"), "adapter": a_sheet("adapter", NONE)})


@pytest.mark.parametrize("name", ["none", "passage", "adapter"])
def test_a_row_without_retrieval_has_no_retrieved_passages(name: str) -> None:
    adapter = {"none": None, "passage": "two", "adapter": "one"}[name]
    found = a_sheet(name, NONE, adapter=adapter, chunks=CHUNKS)
    with pytest.raises(BadInput, match=rf"{name}.jsonl: 'Question 0 .* was answered with retrieved passages, and the"):
        stage.run(a_pair() | {name: found}, {})
    stage.run(a_pair() | {"rag": a_sheet("rag", NONE, adapter=None, chunks=CHUNKS)}, {})


def test_rows_of_different_models_are_refused() -> None:
    with pytest.raises(BadInput, match=r"adapter.jsonl: was answered by student, and none.jsonl by other; answer both"):
        stage.run(a_pair({"model": "other"}), {})
    with pytest.raises(BadInput, match=r"rag.jsonl: was answered by other, and none.jsonl by student"):
        stage.run(a_pair() | {"rag": a_sheet("rag", NONE, adapter=None, model="other", chunks=CHUNKS)}, {})
    stage.run(a_pair() | {"a larger one": a_sheet("larger", NONE, adapter=None, model="other")}, {})
    score = [make_score(answers(task, [(SURE, True)] * 4), model=task.title, judge="exact") for task in EXAM[:2]]
    two = read_sheet("none", "none.jsonl", [a_record(EXAM[at], score[at], None) for at in (0, 1)])
    after = read_sheet("adapter", "adapter.jsonl", [a_record(EXAM[at], score[at], "one") for at in (0, 1)])
    with pytest.raises(BadInput, match=r"none.jsonl: was answered by several models \(Ada, Bo\); a row is of one"):
        stage.run({"none": two, "adapter": after}, {})


def test_the_weights_say_whether_two_names_are_of_one_model() -> None:
    def tell(name: str, weights: str) -> dict[str, Any]:
        return {"model": name, "told": {"model": name, "weights": weights}}

    stage.run(a_pair(tell("here/student", "1"), tell("/there/student", "1")), {})
    with pytest.raises(BadInput, match=r"adapter.jsonl: was answered by other weights of student; answer both with"):
        stage.run(a_pair(tell("student", "1"), tell("student", "2")), {})
    of_others = {"model": "other", "told": {"model": "student", "weights": "1"}}
    with pytest.raises(BadInput, match=r"was answered by student, and none.jsonl by other"):
        stage.run(a_pair(of_others, tell("student", "1")), {})


@pytest.mark.parametrize(
    ("before", "after", "told"),
    [
        ({"sampling": {"max_tokens": 1}}, {"sampling": {"max_tokens": 64}}, "max_tokens 64, and none.jsonl with 1"),
        (
            {"sampling": {"max_tokens": 1}},
            {"sampling": {"max_tokens": 1, "stop": ["\n"]}},
            r"stop \['\\n'\], and none.jsonl with \[\]",
        ),
        ({"chat": True}, {"chat": False}, "chat False, and none.jsonl with True"),
        ({"weights": "1"}, {"weights": "1", "quantize": "nf4"}, "quantize nf4, and none.jsonl with none"),
    ],
)
def test_the_adapter_and_the_model_without_it_are_asked_the_same_way(
    before: dict[str, Any], after: dict[str, Any], told: str
) -> None:
    with pytest.raises(BadInput, match=f"adapter.jsonl: was asked with {told}; ask both the same way"):
        stage.run(a_pair({"told": before}, {"told": after}), {})
    stage.run(a_pair({"told": before}, {"told": {}}), {})
    stage.run(a_pair({"told": before}, {"told": before}), {})


@pytest.mark.parametrize(
    ("row", "other", "told"),
    [
        ("in-context", {"adapter": "one"}, "name the adapter one; in-context is the model without one; make it again"),
        ("rag", {"adapter": "one"}, "rag is the model without one; make it again: seal eval EXAM --model DIR --retrie"),
        ("adapter-rag", {"adapter": "two"}, "is of the adapter two, and adapter.jsonl of the adapter one"),
        ("adapter-rag", {"adapter": None}, "is of no adapter, and adapter.jsonl of the adapter one"),
        ("adapter-rag", {"files": "b"}, r"other files of the adapter one answered than in adapter.jsonl \(a, b\)"),
        ("passage", {"adapter": "one"}, "names the adapter one of adapter.jsonl; the row passage is of one that"),
        ("passage", {"adapter": None}, "names no adapter; the row passage is of one that learned the passages alone"),
        ("in-context", {"told": {"in_context": False}}, "asked without the passage in sight, and the row in-context"),
        ("none", {"told": {"in_context": True}}, "asked with the passage in sight, and the row none is not"),
        ("rag", {"chunks": ()}, "no question was answered with a retrieved passage, as the row rag is"),
        ("adapter-rag", {"told": {"chunks": 5}}, "asked with chunks 5, and rag.jsonl with 3"),
        ("passage", {"told": {"sampling": {"max_tokens": 1}}}, "asked with max_tokens 1, and none.jsonl with 64"),
    ],
)
def test_a_file_in_the_place_of_another_row_is_refused(row: str, other: dict[str, Any], told: str) -> None:
    asked = {"sampling": {"max_tokens": 64}, "in_context": False}
    usual: dict[str, dict[str, Any]] = {
        "none": {"adapter": None, "told": asked},
        "in-context": {"adapter": None, "told": {"in_context": True}},
        "rag": {"adapter": None, "chunks": CHUNKS, "told": {"chunks": 3}},
        "passage": {"adapter": "two", "told": asked},
        "adapter": {"files": "a", "told": asked},
        "adapter-rag": {"files": "a", "chunks": CHUNKS, "told": {"chunks": 3}},
    }
    stage.run({name: a_sheet(name, NONE, **way) for name, way in usual.items()}, {})
    usual[row] |= other
    with pytest.raises(BadInput, match=rf"{row}.jsonl: .*{told}"):
        stage.run({name: a_sheet(name, NONE, **way) for name, way in usual.items()}, {})


@pytest.mark.parametrize(
    ("name", "other", "told"),
    [
        ("adapter", {"adapter": "two"}, "is of the adapter two, and adapter.jsonl of the adapter one"),
        ("adapter", {"adapter": None}, "is of no adapter, and adapter.jsonl of the adapter one"),
        ("adapter", {"files": "b"}, "other files of the adapter one answered than in adapter.jsonl"),
        ("none", {"adapter": "one"}, "none is the model without one"),
        ("none", {"model": "other"}, "was answered by other, and none.jsonl by student"),
        ("adapter", {"model": "other"}, "was answered by other, and none.jsonl by student"),
        ("none", {"judge": "lexical"}, "were graded by lexical, and none.jsonl by exact"),
    ],
)
def test_probes_of_another_adapter_model_or_judge_are_refused(name: str, other: dict[str, Any], told: str) -> None:
    def ask(**given: Any) -> None:
        ways: dict[str, dict[str, Any]] = {"none": {"adapter": None}, "adapter": {"files": "a"}}
        ways[name] |= given
        if "judge" in given:
            ways["adapter"] |= given
        probed = {each: a_sheet(f"probes/{each}", NONE, **way) for each, way in ways.items()}
        stage.run(a_pair(after={"files": "a"}), probed)

    ask()
    with pytest.raises(BadInput, match=f"probes/{name}.jsonl.*{told}"):
        ask(**other)


def test_anchors_of_another_judge_and_other_gold_answers_under_the_same_ids_are_refused() -> None:
    rows = a_pair({"judge": "lexical"}, {"judge": "lexical", "anchors": [(True, True)]})
    with pytest.raises(BadInput, match=r"the anchors of adapter.jsonl were graded by exact, and none.jsonl by lexical"):
        stage.run(rows, {})
    rows = a_pair()
    task = rows["adapter"].tasks[EXAM[0].id]
    first = task.questions[0].model_copy(update={"answer": "another"})
    rows["adapter"].tasks[task.id] = task.model_copy(update={"questions": (first, *task.questions[1:])})
    with pytest.raises(BadInput, match=r"adapter.jsonl: 'Question 0 .* has other words or gold answers than in none"):
        stage.run(rows, {})


def test_an_adapter_of_another_model_than_the_one_that_answered_holds_no_gate(tmp_path: Path) -> None:
    place = write_adapter(tmp_path / "adapters/one")  # its base is 1234
    pair = a_pair(*({"told": {"model": "student", "weights": "5678"}} for _ in range(2)))
    rows = pair | {"adapter": a_sheet("adapter", [True] * 4, told={"model": "student", "weights": "5678"})}
    (adapter,) = rows["adapter"].adapters.values()
    rows["adapter"].adapters["one"] = adapter.model_copy(update={"path": str(place)})
    rows["adapter"].fingerprints = {fingerprint_folder(place): None}
    card = stage.run(rows, {}, gate="learned>10")
    assert card.gate is not None
    told = "was trained on the weights 1234, and adapter.jsonl was answered with the weights 5678; ask it on its own"
    assert (card.gate.passed, told in card.gate.reasons[0]) == (False, True)
    for sheet in rows.values():
        sheet.settings = {"model": "student", "weights": "1234"}
    right = stage.run(rows, {}, gate="learned>10", released=True).gate
    assert right is not None
    assert right.passed
    for sheet in rows.values():
        sheet.settings = {**sheet.settings, "quantize": "nf4"}
    coarse = stage.run(rows, {}, gate="learned>10", released=True).gate
    assert coarse is not None
    told = "was trained with --quantize none, and adapter.jsonl was answered with --quantize nf4; ask it on its own"
    assert (coarse.passed, told in coarse.reasons[0]) == (False, True)


def test_without_a_run_what_nobody_knows_is_told_and_fails_no_gate() -> None:
    card = a_card(gate="learned>10")
    assert card.gate is not None
    assert card.gate.passed
    assert "the adapter adapters/one is not there" in card.proof.unknown[0]
    assert "adapter.jsonl does not say which files of the adapter answered" in card.proof.unknown[1]


def test_a_card_is_about_one_adapter() -> None:
    none = a_sheet("none", NONE, adapter=None)
    with pytest.raises(BadInput, match="its lines name no adapter"):
        stage.run({"none": none, "adapter": a_sheet("adapter", NONE, adapter=None)}, {})
    score = make_score(answers(EXAM[0], [(SURE, True)] * 4), model="m", judge="exact")
    with pytest.raises(BadInput, match="is answered by two adapters, one and two"):
        read_sheet("adapter", "adapter.jsonl", [a_record(EXAM[0], score, name) for name in ("one", "two")])


def test_the_lines_of_a_pool_say_the_same_once() -> None:
    score = make_score(answers(EXAM[0], [(SURE, True)] * 4), model="m", judge="exact")
    sheet = read_sheet("adapter", "adapter.jsonl", [a_record(EXAM[0], score, "one")] * 3)
    assert len(sheet.answers) == 4


def test_a_question_that_is_answered_twice_and_not_the_same_is_refused() -> None:
    def read(*said: tuple[str, bool | None]) -> AnswerSheet:
        scores = [make_score(answers(EXAM[0], [each] * 4), model="m", judge="exact") for each in said]
        return read_sheet("adapter", "adapter.jsonl", [a_record(EXAM[0], score, "one") for score in scores])

    told = r"'Question 0 about Ada\?' \(of 'Ada'\) is answered twice, and not the same: 'a town' \(right\), "
    with pytest.raises(BadInput, match=told + r"then 'a hill' \(wrong\); make the file again: seal eval"):
        read((SURE, True), ("a hill", False))
    with pytest.raises(BadInput, match=told + r"then 'a town' \(unscored\)"):
        read((SURE, True), (SURE, None))
    score = make_score(answers(EXAM[0], [(SURE, True)] * 4), model="m", judge="exact")
    kept = [a_record(EXAM[0], with_anchors(score, [(True, now)]), "one") for now in (True, False)]
    with pytest.raises(BadInput, match="is answered twice, and not the same"):
        read_sheet("adapter", "adapter.jsonl", kept)


def test_lines_without_answers_are_refused() -> None:
    empty = Score(value=0.5, baseline=None, model="m", judge="exact", answers=())
    with pytest.raises(BadInput, match="has no answers"):
        read_sheet("none", "none.jsonl", [a_record(EXAM[0], empty, None)])
    with pytest.raises(BadInput, match=r"none.jsonl: no lines in it"):
        read_sheet("none", "none.jsonl", [])


def test_the_ends_of_a_share_are_those_of_every_way_to_fill_in_what_is_open() -> None:
    share = make_share([{"hit"}, {"miss"}, {"out"}, {"hit", "miss"}, {"out", "hit"}, {"out", "miss"}])
    assert (share.count, share.of, share.asked, share.open, share.percent) == (1, 2, 6, 3, 50.0)
    assert (share.least, share.most) == (25.0, 75.0)
    nothing = make_share([{"out"}])
    assert (nothing.percent, nothing.least, nothing.most) == (None, 0.0, 100.0)
