"""The prompts of EntiGraph, the entities of a reply, and the draw of pairs and triples."""

import json
from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stages.domains.templates.entigraph import EntityGraph, read_entities
from stages.errors import BadConfig
from tests.invented import a_task

NAMES = ("Ada", "Velm", "the bridge")


@pytest.mark.parametrize(
    "reply",
    [
        '{"summary": "Ada built.", "entities": ["Ada", "Velm", "the bridge"]}',
        'Sure!\n```json\n{"summary": "{x}", "entities": ["Ada", "Velm", "the bridge", "ada", ""]}\n```\nDone.',
        '{"note": {"a": 1}} and then {"entities": [ "Ada", "Velm",\n"the  bridge"]}',
        '{"summary": "a "quoted" word", "entities": ["Ada", "Velm", "the bridge"]}',
        '{"summary": "…", "entities": ["Ada", "Velm", "the bridge", "cut of',
        "entities: [Ada, Velm, the bridge]",
        "{'entities': ['Ada', 'Velm', 'the bridge']}",
    ],
)
def test_entities_are_read_from_json_however_it_is_wrapped_or_broken(reply: str) -> None:
    assert read_entities(reply) == NAMES


@pytest.mark.parametrize(
    "reply", ["", "Ada and Velm are in it.", '{"entities": 3}', '{"entities": [["Ada"], {}]}', "{" * 9999]
)
def test_a_reply_without_a_list_names_nothing(reply: str) -> None:
    assert read_entities(reply) == ()


def test_only_the_first_ten_count() -> None:
    assert read_entities(json.dumps({"entities": [f"E{n}" for n in range(30)]})) == tuple(f"E{n}" for n in range(10))


@given(st.text(alphabet="{}[]\"':, entisAB\\\n", max_size=80))
def test_any_reply_is_read(reply: str) -> None:
    found = read_entities(reply)
    assert len(found) <= 10 and all(name.strip() for name in found)


def test_pairs_and_triples_are_drawn_from_the_seed_each_once() -> None:
    names = [f"E{n}" for n in range(10)]
    groups = EntityGraph().draw(names, seed=3)
    assert [len(group) for group in groups] == [2] * 5 + [3] * 5
    assert len(set(groups)) == 10 and set(groups) <= {*combinations(names, 2), *combinations(names, 3)}
    assert groups == EntityGraph().draw(names, seed=3)
    assert groups != EntityGraph().draw(names, seed=4)
    assert groups[:2] == EntityGraph(pairs=2, triples=0).draw(names, seed=3)  # more of them begin with the same


def test_where_there_are_fewer_all_are_taken() -> None:
    assert sorted(EntityGraph().draw(NAMES, 0)) == sorted([*combinations(NAMES, 2), NAMES])
    assert EntityGraph().draw(NAMES[:1], 0) == []


def test_no_relation_at_all_is_refused() -> None:
    with pytest.raises(BadConfig, match="--pairs 0 --triples 0: no relation would be asked for"):
        EntityGraph(0, 0).check()


def test_a_base_model_is_sent_one_text_and_a_chat_a_system_message() -> None:
    text = EntityGraph().ask_relation(a_task(), NAMES, chat=False)  # type: ignore[arg-type]
    assert isinstance(text, str) and text.startswith("You will act as a knowledge analyzer")
    assert (
        text.endswith("### Entities:\n- Ada\n- Velm\n- the bridge\n") and "<entity1>, <entity2> and <entity3>" in text
    )
    system, user = EntityGraph().ask_entities(a_task(), chat=True)  # type: ignore[arg-type]
    assert (system["role"], user["role"]) == ("system", "user")  # type: ignore[index]
    assert user["content"] == f"### Document Content:\nAda\n{a_task().context}"  # type: ignore[index, attr-defined]
