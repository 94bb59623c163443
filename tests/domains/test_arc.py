"""The few-shot domain: what is asked, what is trained on, and what the answers come to."""

import json
from pathlib import Path

import pytest

from stages.domains.arc.domain import Arc, get_pairs
from stages.domains.arc.grid_text import numpy_text
from stages.domains.arc.prompts import EDIT_CHOICES, EDIT_SYSTEM, ORACLE_EDIT, SCHEMA
from stages.domains.arc.self_edit import parse_edit
from stages.domains.arc.training_set import make_training_tasks
from stages.domains.arc.voting import prompt_variants
from stages.errors import BadConfig, BadEdit, BadInput, MissingInput, Untrainable
from stages.interfaces import Completion, Example
from stages.records.arc import ArcChoice, ArcTrainingData, Grid
from tests.invented import a_task
from tests.invented_grids import a_choice, an_arc_edit, an_arc_task

TASK = an_arc_task()
RIGHT: Grid = ((2, 1, 8),)
WRONG: Grid = ((8, 1, 2),)


# ---- the prompt


def test_a_self_edit_is_asked_for_in_messages_or_as_one_text() -> None:
    turns = Arc().edit_prompt(TASK, "tools", chat=True)
    text = Arc().edit_prompt(TASK, "tools", chat=False)
    assert isinstance(text, str) and not isinstance(turns, str)
    assert [turn["role"] for turn in turns] == ["system", "user"]
    assert turns[1]["content"].startswith("Input:\n1 2 3\n\nOutput:\n3 2 1\n\nInput:\n4 0 5")
    assert turns[1]["content"].count("Output:\n") == 3
    assert text == f"{EDIT_SYSTEM}\n{turns[1]['content'].rstrip()}\n\n"


def test_a_file_is_a_prompt_around_the_demonstrations(tmp_path: Path) -> None:
    file = tmp_path / "mine.txt"
    file.write_text("Look:\n{demonstrations}Now choose {tools}.")
    turns = Arc().edit_prompt(TASK, str(file), chat=True)
    assert not isinstance(turns, str)
    assert turns[1]["content"].startswith("Look:\nInput:\n1 2 3")
    assert turns[1]["content"].endswith("\n\nNow choose {tools}.")
    assert Arc().template_text("tools") == EDIT_CHOICES


@pytest.mark.parametrize(
    ("template", "error", "words"),
    [
        ("implications", BadConfig, "--template implications: unknown; the templates of ARC tasks are tools, oracle"),
        ("none", BadConfig, "--template none: unknown"),
        ("no/file.txt", MissingInput, "--template no/file.txt: no such file"),
        ("oracle:no/file.json", MissingInput, "--template oracle:no/file.json: no such file"),
    ],
)
def test_a_template_that_is_not_there_is_named(template: str, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        Arc().template_text(template)


def test_a_template_file_must_have_a_place_for_the_demonstrations(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("Choose.")
    (tmp_path / "b.txt").write_bytes(b"\xff {demonstrations}")
    for name, words in (("a.txt", "does not contain {demonstrations}"), ("b.txt", "not UTF-8")):
        with pytest.raises(BadConfig, match=words):
            Arc().template_text(str(tmp_path / name))


def test_the_oracle_is_the_papers_or_your_own(tmp_path: Path) -> None:
    assert Arc().get_fixed_edit("oracle") == ORACLE_EDIT
    found = parse_edit(ORACLE_EDIT)
    assert (found.tools, found.learning_rate, found.epochs, found.repairs) == (
        ("basic", "size", "chain", "repeat"),
        1e-4,
        2,
        (),
    )
    (tmp_path / "mine.json").write_text(a_choice("size"))
    assert Arc().get_fixed_edit(f"oracle:{tmp_path / 'mine.json'}") == a_choice("size")
    assert Arc().get_fixed_edit("tools") is None
    (tmp_path / "bad.json").write_text(f"Sure: {a_choice('size')}")
    with pytest.raises(BadConfig, match="not strict JSON \\(text around the object\\)"):
        Arc().get_fixed_edit(f"oracle:{tmp_path / 'bad.json'}")
    (tmp_path / "worse.json").write_text("{}")
    with pytest.raises(BadConfig, match=r"worse\.json: no data_generation"):
        Arc().get_fixed_edit(f"oracle:{tmp_path / 'worse.json'}")


def test_the_schema_admits_what_the_parser_reads() -> None:
    """Keys, types and nothing else: what the schema demands, the parser demands."""
    edit = json.loads(ORACLE_EDIT)
    for section, keys in edit.items():
        part = SCHEMA["properties"][section]
        assert part["required"] == list(part["properties"]) == list(keys)
        assert part["additionalProperties"] is False
    assert SCHEMA["required"] == list(SCHEMA["properties"]) == list(edit)
    assert SCHEMA["properties"]["training"]["properties"]["strategy"]["enum"] == [
        "train_using_all_tokens",
        "train_using_output_tokens",
    ]


# ---- what is trained on


def test_a_lesson_is_the_training_set_of_the_tools_with_the_chosen_hyper_parameters() -> None:
    lesson = Arc().make_training_set(TASK, an_arc_edit(TASK, a_choice("basic", learning_rate=3e-4, epochs=3)))
    rows = make_training_tasks(get_pairs(TASK), ("basic",), seed=0, is_short=lambda puzzle: True)
    assert len(lesson.examples) == len(rows) > 20
    assert lesson.chosen == {"learning_rate": 3e-4, "epochs": 3}
    assert [example.completion for example in lesson.examples] == [
        f"{numpy_text(row.puzzle.asked.output)}#" for row in rows
    ]
    assert not any(example.loss_on_prompt for example in lesson.examples)


def test_the_strategy_says_where_the_loss_is() -> None:
    strategies = {"train_using_all_tokens": True, "train_using_output_tokens": False}
    for strategy, whole in strategies.items():
        lesson = Arc().make_training_set(TASK, an_arc_edit(TASK, a_choice(strategy=strategy)))
        assert {example.loss_on_prompt for example in lesson.examples} == {whole}


def test_a_base_model_is_trained_on_texts() -> None:
    (first, *_) = Arc(chat=False).make_training_set(TASK, an_arc_edit(TASK, a_choice())).examples
    assert isinstance(first.prompt, str)
    assert first.prompt.endswith(" ->") and first.completion.startswith(" [[")


def test_rows_that_do_not_fit_are_left_out() -> None:
    def small(example: Example) -> bool:
        return len(str(example.prompt)) < 420

    every = Arc().make_training_set(TASK, an_arc_edit(TASK, a_choice("size"))).examples
    some = Arc(fits=small).make_training_set(TASK, an_arc_edit(TASK, a_choice("size"))).examples
    assert 0 < len(some) < len(every)
    assert all(small(example) for example in some)


def test_more_steps_than_are_allowed_are_a_failed_edit() -> None:
    edit = an_arc_edit(TASK, a_choice("basic", "size", "chain", "repeat", epochs=8))
    with pytest.raises(BadEdit, match="8 epochs over 250 rows are 1000 steps of 2, more than the 375"):
        Arc().make_training_set(TASK, edit)
    assert len(Arc(rows_a_step=6).make_training_set(TASK, edit).examples) == 250
    with pytest.raises(BadEdit, match="no JSON object"):
        Arc().make_training_set(TASK, an_arc_edit(TASK, "I would rotate."))


def test_training_tasks_are_shown_as_grids_with_their_tools() -> None:
    shown = Arc().show_data(TASK, an_arc_edit(TASK, a_choice("size")))
    assert isinstance(shown, ArcTrainingData)
    rows = make_training_tasks(get_pairs(TASK), ("size",), seed=0, is_short=lambda puzzle: True)
    assert [(task.tool, task.permuted) for task in shown.tasks] == [(row.tool, row.permuted) for row in rows]
    assert {task.tool for task in shown.tasks} == {"none", "resolution_x2", "height_x2", "width_x2"}
    doubled = next(task for task in shown.tasks if task.tool == "height_x2" and not task.permuted)
    assert len(doubled.test.input) == len(doubled.test.output) == 2
    assert shown.chosen is not None and shown.chosen.tools == ("size",)


def test_a_failed_edit_shows_why_and_no_tasks() -> None:
    many = Arc().show_data(TASK, an_arc_edit(TASK, a_choice(epochs=375)))
    assert isinstance(many, ArcTrainingData) and many.chosen and many.chosen.epochs == 375
    assert (many.tasks, many.error) == (
        (),
        "375 epochs over 11 rows are 2250 steps of 2, more than the 375 that are allowed",
    )
    none = Arc().show_data(TASK, an_arc_edit(TASK, "", error="timeout: no answer within 5 s"))
    assert isinstance(none, ArcTrainingData)
    assert (none.chosen, none.tasks, none.error) == (None, (), "timeout: no answer within 5 s")


def test_a_choice_is_what_the_parser_found() -> None:
    said = f"```json\n{a_choice('chain', epochs=7)}\n```"
    assert Arc().read_choice(said) == ArcChoice(
        tools=("chain",),
        strategy="train_using_output_tokens",
        learning_rate=1e-3,
        epochs=7,
        repairs=("code fence",),
    )


# ---- what the answers come to


def completions(task_answer: Grid, *, in_context: bool = False, **others: Completion) -> list[Completion]:
    """One completion a query: this grid, turned as the query is, unless another is given for its number (q3=…)."""
    from stages.domains.arc.transforms import VARIANTS

    asked = [(test, way) for test in TASK.test for way in prompt_variants(TASK, in_context=in_context)]
    return [
        others.get(f"q{n}", Completion(str(n), f"{numpy_text(VARIANTS[way.variant].apply(task_answer))}#", "stop", 9))
        for n, (_, way) in enumerate(asked)
    ]


def said(text: str) -> Completion:
    return Completion("", text, "stop", 3)


def test_a_prediction_is_turned_back_before_it_votes() -> None:
    (reply,) = Arc().make_answers(TASK, completions(RIGHT), in_context=False)
    assert reply.poll is not None
    assert reply.poll.attempts == (RIGHT,)
    assert (reply.item, reply.prediction) == (type(reply.item)(True, None), numpy_text(RIGHT))
    assert {vote.variant for vote in reply.poll.votes} >= {"identity", "transpose", "rotate_90", "flip_0"}
    assert all(vote.grid == RIGHT for vote in reply.poll.votes)


def test_the_right_grid_may_be_the_second_attempt_but_not_the_third() -> None:
    third = ((1, 1, 1),)
    some = {f"q{n}": said(numpy_text(RIGHT)) for n in range(2)}
    (second,) = Arc().make_answers(TASK, completions(WRONG, **some), in_context=False)
    assert second.poll is not None and second.poll.attempts == (WRONG, RIGHT)
    assert second.item == type(second.item)(True, None)
    more = {f"q{n}": said(numpy_text(third)) for n in range(2, 5)}
    (late,) = Arc().make_answers(TASK, completions(WRONG, **some, **more), in_context=False)
    assert late.poll is not None and late.poll.attempts == (WRONG, third)
    assert late.item == type(late.item)(False, None)


def test_an_answer_ends_at_its_mark() -> None:
    some = {"q0": said(f"{numpy_text(RIGHT)}#\n[[9 9 9]] -> [[9]]#")}
    (reply,) = Arc().make_answers(TASK, completions(WRONG, in_context=True, **some), in_context=True)
    assert reply.poll is not None and reply.poll.attempts == (RIGHT,)
    assert len(reply.poll.votes) == 1


def test_a_grid_that_cannot_be_read_is_the_models_failure() -> None:
    junk = {f"q{n}": said("I do not know") for n in range(40)}
    (reply,) = Arc().make_answers(TASK, completions(RIGHT, **junk), in_context=False)
    assert reply.poll is not None and reply.poll.attempts == ()
    assert reply.prediction == ""
    assert reply.item == type(reply.item)(
        False, "no prediction is a grid: row 1 is not digits with spaces between: 'I do not know'"
    )


def test_a_prediction_that_never_came_leaves_the_answer_unscored() -> None:
    """Also where all the others agree: what it would have said nobody knows."""
    lost = {"q5": Completion("", "", "failed", None, error="timeout: no answer")}
    (reply,) = Arc().make_answers(TASK, completions(RIGHT, **lost), in_context=False)
    assert (reply.prediction, reply.item) == (None, type(reply.item)(None, "timeout: no answer"))
    assert reply.poll is not None and reply.poll.votes[5].prediction is None


def test_without_a_solution_there_is_a_prediction_but_no_verdict() -> None:
    task = an_arc_task(tests=[([[8, 1, 2]], None)])
    (reply,) = Arc().make_answers(task, completions(RIGHT), in_context=False)
    assert (reply.prediction, reply.item) == (numpy_text(RIGHT), type(reply.item)(None, "no solution is known"))


def test_each_test_has_its_own_queries() -> None:
    task = an_arc_task(tests=[([[8, 1, 2]], [[2, 1, 8]]), ([[3, 3, 1]], None)])
    queries = list(Arc().queries(task, in_context=False, chat=True))
    assert len({query.id for query in queries}) == len(queries) == 2 * len(prompt_variants(task, in_context=False))
    assert len(list(Arc().queries(task, in_context=True, chat=True))) == 2
    texts = [query.prompt for query in Arc().queries(task, in_context=True, chat=False)]
    assert all(isinstance(text, str) and text.endswith("]] ->") for text in texts)


def test_no_query_tells_the_solution() -> None:
    task = an_arc_task(tests=[([[8, 1, 2]], [[9, 9, 4]])])
    for in_context in (True, False):
        assert not any("9 9" in str(query.prompt) for query in Arc().queries(task, in_context=in_context, chat=True))


def test_a_task_that_cannot_be_scored_is_refused() -> None:
    with pytest.raises(BadInput, match="task mirror has no test"):
        Arc().check(an_arc_task(tests=[]))
    with pytest.raises(BadInput, match="two tests with one input"):
        Arc().check(an_arc_task(tests=[([[1]], None), ([[1]], [[2]])]))
    with pytest.raises(BadInput, match="is of the domain qa, not of arc"):
        Arc().check(a_task())


# ---- what a line must not say


def test_a_line_that_says_otherwise_than_its_self_edit_is_refused() -> None:
    edit = an_arc_edit(TASK, a_choice("basic"))
    chosen = Arc().read_choice(edit.completion)
    assert Arc().make_training_set(TASK, edit.model_copy(update={"chosen": chosen})).chosen["epochs"] == 2
    other = edit.model_copy(update={"chosen": chosen.model_copy(update={"epochs": 3})})
    with pytest.raises(BadInput, match=r"of 'mirror': chosen is not what its completion says; change the completion"):
        Arc().make_training_set(TASK, other)


def test_a_task_of_which_no_row_fits_cannot_be_trained_on() -> None:
    with pytest.raises(Untrainable, match="no training task of 'mirror' is short enough for the model"):
        Arc(fits=lambda example: False).make_training_set(TASK, an_arc_edit(TASK, a_choice()))


def test_rows_are_measured_as_they_are_trained() -> None:
    """As text where the model has no chat template."""
    seen: list[Example] = []

    def look(example: Example) -> bool:
        seen.append(example)
        return True

    examples = Arc(chat=False, fits=look).make_training_set(TASK, an_arc_edit(TASK, a_choice("size"))).examples
    assert set(examples) <= set(seen)


def test_self_edits_that_choose_the_same_tools_share_their_rows() -> None:
    one, other = (Arc().make_training_set(TASK, an_arc_edit(TASK, a_choice("basic", epochs=n))) for n in (1, 2))
    assert one.examples is other.examples
    assert Arc(seed=1).make_training_set(TASK, an_arc_edit(TASK, a_choice("basic"))).examples != one.examples
