"""The invented world: what it states is true, what it asks can be answered, and held-out means unseen."""

import json
import random
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from examples.tiny.continual import main as write_continual
from examples.tiny.documents import Library, make_pool
from examples.tiny.lexicon import CLASS_MAPS, closed_values
from examples.tiny.tasks import make_entities, make_record, task_lines
from examples.tiny.templates import IN_CONTEXT_PROMPT, QUESTION_PROMPT, SELF_EDIT_PROMPT
from examples.tiny.world import (
    KINDS,
    LINE_TYPES,
    Entity,
    Style,
    classify_line,
    is_heldout,
    make_entity,
    make_line,
    make_name,
    make_passage,
    make_questions,
    make_self_edit,
)
from stages.domains import qa
from stages.records.parser import parse_record
from stages.records.record import Record

seeds = st.integers(0, 2**32)


def entity_of(seed: int) -> Entity:
    return make_entity(random.Random(seed))


@given(seeds)
def test_every_answer_is_stated_in_the_passage_or_derived_from_it(seed: int) -> None:
    entity = entity_of(seed)
    passage = make_passage(entity, random.Random(seed))
    derivable = {fact.derived_value() for fact in entity.facts if fact.attribute.derived and fact.value in passage}
    for question in make_questions(entity):
        assert question.answer in (derivable if question.derived else passage)


@given(seeds)
def test_every_question_names_its_entity_and_never_its_answer(seed: int) -> None:
    for question in make_questions(entity_of(seed), random.Random(seed)):
        text = question.text.split()
        assert question.answer not in text
        assert entity_of(seed).name in question.text


@given(seeds)
def test_no_two_questions_about_an_entity_are_the_same(seed: int) -> None:
    texts = [question.text for question in make_questions(entity_of(seed))]
    assert len(texts) == len(set(texts))
    assert 5 <= len(texts) <= 10


@given(seeds)
def test_the_same_seed_writes_the_same_passage_and_self_edit(seed: int) -> None:
    def write() -> tuple[str, list[str]]:
        rng = random.Random(seed)
        entity = make_entity(rng)
        return make_passage(entity, rng), make_self_edit(entity, rng, Style())

    assert write() == write()


@given(seeds, st.sampled_from(LINE_TYPES))
def test_every_line_is_recognised_as_the_type_it_was_made_as(seed: int, line_type: str) -> None:
    entity = entity_of(seed)
    for fact in entity.facts:
        if line_type != "I" or fact.attribute.derived:
            line = make_line(entity, fact, line_type, random.Random(seed))
            assert classify_line(entity, line) == line_type


def test_a_line_that_the_world_does_not_know_counts_as_wrong() -> None:
    assert classify_line(entity_of(0), "Bricks fly.") == "W"


@given(seeds)
def test_a_self_edit_repeats_a_fact_only_after_all_others_of_its_type(seed: int) -> None:
    entity = entity_of(seed)
    pure = Style(shares={"D": 1.0, "I": 0.0001, "R": 0.0001, "V": 0.0001, "W": 0.0001, "Q": 0.0001}, concentration=100)
    lines = make_self_edit(entity, random.Random(seed), pure)
    direct = [line for line in lines if classify_line(entity, line) == "D"]  # once in a while there is another
    stated = Counter(
        fact.value for line in direct for fact in entity.facts if line.rstrip(".").split()[-1] == fact.value
    )
    assert max(stated.values(), default=0) <= 2


def test_shares_of_line_types_come_out_as_the_style_asks() -> None:
    rng, style = random.Random(1), Style()
    counts = Counter[str]()
    for _ in range(3000):
        entity = make_entity(rng)
        counts.update(classify_line(entity, line) for line in make_self_edit(entity, rng, style))
    for line_type, share in style.shares.items():
        assert counts[line_type] / counts.total() == pytest.approx(share, abs=0.04)


def test_every_value_is_one_word_and_its_article_gives_nothing_away() -> None:
    assert all(value.isalpha() for value in closed_values())
    for kind in KINDS.values():
        for attribute in kind.attributes:
            sentences = (*attribute.cue_first, *attribute.value_first, *attribute.direct, *attribute.reversed)
            if any(" a {value}" in f" {sentence.lower()}" for sentence in sentences):
                assert not [value for value in attribute.values if value[0] in "aeiou"], attribute.key


def test_within_a_kind_a_value_belongs_to_one_attribute() -> None:
    for kind in KINDS.values():
        values = [value for attribute in kind.attributes for value in attribute.values]
        assert len(values) == len(set(values))


def test_every_direct_line_names_its_attribute_before_the_value() -> None:
    for kind in KINDS.values():
        prefixes = [line.split("{value}")[0] for attribute in kind.attributes for line in attribute.direct]
        assert len(prefixes) == len(set(prefixes))
        assert all(prefix.replace("{name}", "").strip() for prefix in prefixes)


def test_every_value_of_a_derived_attribute_has_a_class() -> None:
    for kind in KINDS.values():
        for attribute in kind.attributes:
            if attribute.derived:
                assert set(attribute.values) == set(attribute.derived.class_of)
    assert all(len(set(class_of.values())) >= 3 for class_of in CLASS_MAPS)


def test_open_attributes_take_names_that_pretraining_may_see() -> None:
    rng = random.Random(2)
    entities = [make_entity(rng, open_share=1.0) for _ in range(200)]
    open_values = [fact.value for entity in entities for fact in entity.facts if not fact.attribute.values]
    assert len(open_values) == len(entities)
    assert not any(is_heldout(value) for value in open_values)


def test_a_fifth_of_the_names_is_held_out() -> None:
    rng = random.Random(3)
    assert sum(is_heldout(make_name(rng)) for _ in range(5000)) / 5000 == pytest.approx(0.2, abs=0.03)


def test_pretraining_documents_never_name_an_entity_of_the_task_files() -> None:
    rng = random.Random(4)
    library = Library(rng, make_pool(60), Style())
    draws = (library.long, library.first_mini, library.mini, library.short)
    read = "\n".join("".join(draw()) for draw in draws for _ in range(800))
    for entities in make_entities().values():
        assert not [entity.name for entity in entities if f"{entity.name} " in read or f"{entity.name}\n" in read]


def test_train_and_heldout_passages_share_no_name() -> None:
    files = make_entities()
    names = [entity.name for entities in files.values() for entity in entities]
    assert len(names) == len(set(names)) == 448
    assert all(is_heldout(name) for name in names)


def test_a_task_line_is_a_record_of_the_product() -> None:
    entities = make_entities()["heldout"][:3]
    for entity, line in zip(entities, task_lines(entities).splitlines(), strict=True):
        record = Record.model_validate(json.loads(line))
        assert record == make_record(entity)
        assert record.task.title == entity.name
        assert len(record.task.questions) == len(make_questions(entity))


def test_the_prompts_are_the_products_own() -> None:
    assert qa.TEMPLATES["implications"] == SELF_EDIT_PROMPT
    assert qa.QUESTION_PROMPT == QUESTION_PROMPT
    assert qa.IN_CONTEXT_PROMPT == IN_CONTEXT_PROMPT


def test_the_oracle_of_continual_runs_states_every_fact_and_its_anchors_are_known_entities(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.argv", ["continual", "--out", str(tmp_path)])
    write_continual()
    edits = (tmp_path / "oracle.jsonl").read_text().splitlines()
    for entity, line in zip(make_entities()["heldout"], edits, strict=True):
        record = parse_record(json.loads(line))
        assert record.edit and record.task.title == entity.name
        told = [classify_line(entity, each) for each in record.edit.completion.splitlines()]
        derived = [fact for fact in entity.facts if fact.attribute.derived]
        assert Counter(told) == {"D": len(entity.facts), **({"I": len(derived)} if derived else {})}
    titles = [json.loads(line)["task"]["title"] for line in (tmp_path / "anchors.jsonl").read_text().splitlines()]
    assert titles == [entity.name for entity in make_pool(60)][:12]
