"""The few-shot self-edit: what is read as it is, what is repaired, and what is refused with which reason."""

import json
from collections.abc import Mapping
from dataclasses import fields
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from torch.utils.data import DataLoader

from stages.domains.arc.self_edit import MAX_EDIT_CHARACTERS, REPAIRS, check_steps, count_steps, parse_edit
from stages.errors import BadEdit
from stages.records.arc import ArcChoice
from stages.settings import FitConfig
from tests.domains.arc_fuzz import fuzz

DATA = {"basic": True, "size": False, "chain": True, "repeat": False}
TRAINING = {"strategy": "train_using_output_tokens", "learning_rate": 1e-4, "num_train_epochs": 2}


def a_choice(tools: tuple[str, ...], strategy: str, learning_rate: float, epochs: int) -> ArcChoice:
    return ArcChoice(tools=tools, strategy=strategy, learning_rate=learning_rate, epochs=epochs, repairs=())


EDIT = a_choice(("basic", "chain"), "train_using_output_tokens", 1e-4, 2)


def text(data: Mapping[str, Any] | None = None, training: Mapping[str, Any] | None = None) -> str:
    """A good self-edit with some values changed; `...` takes a key away."""
    switches = {f"use_{name}_augmentations": on for name, on in DATA.items()}
    sections = {"data_generation": switches | dict(data or {}), "training": TRAINING | dict(training or {})}
    return json.dumps({name: {k: v for k, v in part.items() if v is not ...} for name, part in sections.items()})


GOOD = text()


def refusal(completion: str) -> str:
    with pytest.raises(BadEdit) as caught:
        parse_edit(completion)
    return str(caught.value)


def test_a_good_self_edit_is_read_as_it_is() -> None:
    for completion in (GOOD, f"\n {json.dumps(json.loads(GOOD), indent=2)}\n"):
        assert parse_edit(completion) == EDIT


@given(st.tuples(*[st.booleans()] * 4), st.floats(1e-7, 1e-1), st.integers(1, 375), st.booleans())
@settings(deadline=None)
def test_what_a_self_edit_says_is_what_is_read(on: tuple[bool, ...], rate: float, epochs: int, every: bool) -> None:
    strategy = f"train_using_{'all' if every else 'output'}_tokens"
    data = {f"use_{name}_augmentations": switch for name, switch in zip(DATA, on, strict=True)}
    edit = parse_edit(text(data, {"strategy": strategy, "learning_rate": rate, "num_train_epochs": epochs}))
    groups = tuple(name for name, switch in zip(DATA, on, strict=True) if switch)
    assert edit == a_choice(groups, strategy, rate, epochs)


def test_what_it_chooses_are_fields_of_the_fit_configuration() -> None:
    assert EDIT.fit == {"learning_rate": 1e-4, "epochs": 2}
    assert set(EDIT.fit) <= {field.name for field in fields(FitConfig)}


@pytest.mark.parametrize(
    ("completion", "repairs"),
    [
        (f"```json\n{GOOD}\n```", ["code fence"]),
        (f"```\n{GOOD}```\n", ["code fence"]),
        (f"Here's the config: {GOOD}", ["text around the object"]),
        (f"{GOOD}\nThis isn't too much.", ["text around the object"]),
        (f"Sure!\n```json\n{GOOD}\n```\nDone", ["text around the object"]),
        (f"{GOOD}```", ["text around the object"]),
        (GOOD.replace("true", "True").replace("false", "False"), ["Python constants"]),
        (GOOD.replace("}", ",\n}"), ["trailing comma"]),
        (GOOD.replace('"', "'"), ["single quotes"]),
        (
            f"```python\n{GOOD.replace('true', 'True').replace('}', ',}').replace(chr(34), chr(39))}\n```",
            ["code fence", "single quotes", "Python constants", "trailing comma"],
        ),
    ],
)
def test_a_repair_is_made_and_named(completion: str, repairs: list[str]) -> None:
    edit = parse_edit(completion)
    assert list(edit.repairs) == repairs
    assert a_choice(edit.tools, edit.strategy, edit.learning_rate, edit.epochs) == EDIT


@pytest.mark.parametrize(
    ("completion", "reason"),
    [
        ("", "there is no JSON object in the completion"),
        ("I would use all tools.", "there is no JSON object in the completion"),
        ("[1]", "the self-edit is not a JSON object: [1]"),
        (json.dumps(GOOD)[:9], "the JSON object has no end: is the completion cut off?"),
        (GOOD[:-1], "the JSON object has no end: is the completion cut off?"),
        (GOOD + GOOD, "there is more than one JSON object in the completion"),
        (f"{GOOD} {{", "there is more than one JSON object in the completion"),
        (GOOD.replace("true", "yes", 1), "the self-edit cannot be read: not JSON: Expecting value at column 49"),
        (GOOD.replace("0.0001", "NaN"), "the self-edit cannot be read: not JSON: NaN is not JSON"),
        (GOOD.replace("use_size", "use_basic"), "the key 'use_basic_augmentations' occurs twice"),
        (GOOD.replace('"strategy"', "'strategy'"), "the self-edit cannot be read: not JSON: Expecting property name"),
        (GOOD.replace("}}", ",,}}"), "the self-edit cannot be read: not JSON: Expecting property name"),
        (GOOD.replace("2}", "1" * 30 + "}"), "an integer of 30 digits, which 64 bits do not hold"),
        ("{" * 3000 + "}" * 3000, "the self-edit cannot be read: not JSON"),
        (GOOD + " " * MAX_EDIT_CHARACTERS, f"the completion is longer than {MAX_EDIT_CHARACTERS} characters"),
        ("{}", "no data_generation"),
        ('{"data_generation": [], "training": {}}', "data_generation is not a JSON object: []"),
        ('{"data_generation": {}, "training": {}}', "no use_basic_augmentations in data_generation"),
        ('{"a\\u001b": 1}', 'unknown key "a\\u001b": the keys are data_generation, training'),
        (
            text({"use_flips": True}),
            'unknown key "use_flips" in data_generation: the keys are use_basic_augmentations, ',
        ),
        (text({"use_size_augmentations": ...}), "no use_size_augmentations in data_generation"),
        (text({"use_size_augmentations": 1}), "data_generation.use_size_augmentations is neither true nor false: 1"),
        (text({"use_size_augmentations": "x" * 99}), f'true nor false: "{"x" * 59}…'),
        (GOOD.replace("true", "None"), "data_generation.use_basic_augmentations is neither true nor false: null"),
        (
            text(training={"strategy": "all"}),
            'training.strategy is neither train_using_all_tokens nor train_using_output_tokens: "all"',
        ),
        (text(training={"strategy": ["train_using_all_tokens"]}), "training.strategy is neither"),
        (text(training={"learning_rate": "1e-4"}), 'training.learning_rate is not a number: "1e-4"'),
        (text(training={"learning_rate": True}), "training.learning_rate is not a number: true"),
        (text(training={"learning_rate": 0}), "training.learning_rate is not in 1e-07 to 0.1: 0"),
        (text(training={"learning_rate": 0.11}), "training.learning_rate is not in 1e-07 to 0.1: 0.11"),
        (text(training={"learning_rate": 9e-8}), "training.learning_rate is not in 1e-07 to 0.1: 9e-08"),
        (text(training={"num_train_epochs": 2.0}), "training.num_train_epochs is not a whole number: 2.0"),
        (text(training={"num_train_epochs": True}), "training.num_train_epochs is not a whole number: true"),
        (text(training={"num_train_epochs": 0}), "training.num_train_epochs is not in 1 to 375: 0"),
        (text(training={"num_train_epochs": 376}), "training.num_train_epochs is not in 1 to 375: 376"),
        (text(training={"num_train_epochs": ...}), "no num_train_epochs in training"),
        (text(training={"batch_size": 2}), 'unknown key "batch_size" in training'),
    ],
)
def test_what_cannot_be_used_is_refused_with_the_reason(completion: str, reason: str) -> None:
    assert reason in refusal(completion)


def test_braces_quotes_and_constants_inside_strings_are_left_alone() -> None:
    odd = 'so: {"data_generation": {"a } True, ] \\" }": 1}, "training": {}}'
    assert refusal(odd).startswith('unknown key "a } True, ] \\" }" in data_generation')


@given(st.integers(0, 2**32))
@settings(deadline=None, max_examples=10)
def test_mangled_completions_are_read_or_refused_and_never_raise_anything_else(seed: int) -> None:
    found = fuzz(100, seed)
    assert found["refused"] and found["as it is"]


def test_the_fuzz_makes_every_repair() -> None:
    found = fuzz(1000)
    assert set(REPAIRS) <= {name for outcome in found for name in outcome.split("; ")}
    assert found["grid"] and found["no grid"]


@given(st.text(max_size=80))
@example("{" * 20_000)
@example('{"' * 5_000)
@example(", " * 8_000 + "{}")
@example("```" + " " * 16_000)
@settings(deadline=None)
def test_any_text_is_refused_quickly(completion: str) -> None:
    assert refusal(completion)


@given(st.integers(1, 260), st.integers(1, 375))
@settings(deadline=None)
def test_steps_are_the_batches_of_all_epochs(rows: int, epochs: int) -> None:
    batches: DataLoader[int] = DataLoader(range(rows), batch_size=2)  # type: ignore[arg-type]
    assert count_steps(rows, epochs) == len(batches) * epochs


def test_a_self_edit_that_needs_more_than_375_steps_is_refused() -> None:
    check_steps(parse_edit(text(training={"num_train_epochs": 3})), 250)
    check_steps(parse_edit(text(training={"num_train_epochs": 375})), 2)
    with pytest.raises(BadEdit) as caught:
        check_steps(parse_edit(text(training={"num_train_epochs": 4})), 250)
    assert str(caught.value) == "4 epochs over 250 rows are 500 steps of 2, more than the 375 that are allowed"
    with pytest.raises(BadEdit, match="are 378 steps"):
        check_steps(parse_edit(text(training={"num_train_epochs": 6})), 125)
