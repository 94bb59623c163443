"""What a line carries as `meta`: every stage hands it on as it is, and nothing depends on it."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from seal_cli.runs.journal import Journal
from stages import adapt, filter, generate, merge, tasks
from stages import eval as evaluate
from stages import judge as regrade
from stages.domains.arc.domain import Arc
from stages.domains.qa import QA
from stages.errors import BadInput, BadLine
from stages.judges.exact import ExactJudge
from stages.records.adapter_paths import remove_path
from stages.records.jsonl import to_json
from stages.records.parser import parse_record, read_records
from stages.records.record import Record
from stages.records.schema import SftExample
from stages.records.stored.lines import LineReader
from tests.invented import Backwards, a_line, a_task, plan_lines
from tests.invented_grids import a_choice, an_arc_edit, an_arc_task

META = {"source": "wiki", "tags": ["a", {"b": None}], "n": 1.5, "": {}}
OTHER = {"source": "book"}
NUMBERS = st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False, allow_infinity=False)
JSON = st.recursive(
    st.none() | st.booleans() | NUMBERS | st.text(st.characters(exclude_categories=["Cs"]), max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("ab\x85", max_size=3), inner, max_size=3),
    max_leaves=10,
)


def read(line: str) -> Record:
    (record,) = read_records([line.encode()], "f")
    return record


def having(line: Record, meta: dict[str, Any]) -> Record:
    return line.model_copy(update={"meta": meta})


def carried(lines: Iterator[Any] | list[Any]) -> list[Any]:
    """The meta of each line as it is written."""
    return [json.loads(to_json(line)).get("meta") for line in lines]


@given(st.dictionaries(st.text("ab\x85", max_size=3), JSON, max_size=3))
@settings(deadline=None)
def test_any_object_comes_back_as_it_was(meta: dict[str, Any]) -> None:
    for line in (a_line(a_task(), [True, None]), Record(task=an_arc_task())):
        text = to_json(having(line, meta))
        assert json.dumps(json.loads(to_json(read(text)))["meta"]) == json.dumps(meta)


@pytest.mark.parametrize(
    ("meta", "words"),
    [
        ("7", "meta: input should be a valid dictionary (found 7)"),
        ("[]", "meta: input should be a valid dictionary (found [])"),
        ('{"a": NaN}', "not JSON: NaN is not JSON"),
        ('{"a": 1, "a": 2}', "the key 'a' occurs twice"),
        ('{"a":' + "[" * 101 + "]" * 101 + "}", "not JSON: nested too deeply"),
        ('{"a": [' + "1," * 200_000 + "1]}", "not usable: more than 200,000 values in one object"),
    ],
)
def test_what_is_no_object_or_no_json_is_refused(meta: str, words: str) -> None:
    with pytest.raises(BadInput, match="f:1: ") as caught:
        read(to_json(Record(task=a_task()))[:-1] + f', "meta": {meta}}}')
    assert words in str(caught.value)


def test_null_is_none_and_an_empty_object_stays() -> None:
    line = to_json(Record(task=a_task()))
    assert "meta" not in json.loads(to_json(read(line[:-1] + ', "meta": null}')))
    assert carried([read(line[:-1] + ', "meta": {}}')]) == [{}]


def test_sources_keep_it(tmp_path: Path) -> None:
    own = {"title": "Ada", "context": "Ada was here.", "questions": [], "meta": META}
    pairs = {"train": [{"input": [[1]], "output": [[2]]}], "test": [{"input": [[3]]}]}
    rewarded = {"text": "x", "questions": [], "stats": {"adapter_mean": 0.5, "baseline_mean": 0}}
    sources: dict[str, Any] = {
        "lines.jsonl": own,
        "record.jsonl": {"task": {"context": "C"}, "meta": META},
        "list.json": [own],
        "edits.json": [{**own, "prompt": "Say:", "completions": ["a", "b"]}],
        "squad.json": {"data": [{"title": "Ada", "paragraphs": [{"context": "C", "qas": [], "meta": META}]}]},
        "arc.json": {"swap": {**pairs, "meta": META}},
        "one.json": {**pairs, "meta": META},
        "rewards.json": {"articles": [{**own, "prompt": "Say:", "completions": [rewarded]}]},
    }
    for name, document in sources.items():
        (tmp_path / name).write_text(json.dumps(document) + "\n")
        lines = list(tasks.run(str(tmp_path / name)))
        assert carried(lines) == [META] * (2 if name == "edits.json" else 1), name
    (tmp_path / "bad.jsonl").write_text(json.dumps({**own, "meta": "wiki"}))
    with pytest.raises(BadInput, match=r'bad.jsonl:1: meta: must be an object \(found "wiki"\)'):
        list(tasks.run(str(tmp_path / "bad.jsonl")))


def test_each_sample_of_a_task_carries_that_of_its_first_line() -> None:
    lines = [Record(task=a_task(), meta=META), Record(task=a_task(), meta=OTHER), Record(task=a_task("Bo"))]
    writing = generate.Writing(QA(), samples=2)
    made = list(generate.run(lines, Backwards(lambda _: "x"), writing))
    assert sorted(carried(made), key=str) == [None, None, META, META]
    assert all(generate.plan(lines, samples=2).contains(line) for line in made)
    assert carried(list(generate.write_fixed_edits(lines, QA(), "none", ""))) == [META, None]


def test_every_stage_from_adapt_to_filter_hands_it_on(tmp_path: Path) -> None:
    lines = [having(a_line(a_task(), [True, False], seed=seed), META) for seed in (0, 1)]
    (piece,) = plan_lines(lines[:1], "student", domain=QA(), out=tmp_path).values()
    assert carried([piece.record]) == [META]
    assert carried(list(adapt.show_data(lines[:1], domain=QA()))) == [META]
    grids = an_arc_task()
    arc = Record(task=grids, edit=an_arc_edit(grids, a_choice("basic")), meta=META)
    assert carried(list(adapt.show_data([arc], domain=Arc()))) == [META]
    bare = [line.grow(score=None) for line in lines]
    assert carried(list(evaluate.run(bare, Backwards(lambda _: "Velm"), domain=QA(), judge=ExactJudge()))) == [META] * 2
    assert carried(list(regrade.run(lines, ExactJudge()))) == [META] * 2
    assert carried(list(filter.run(lines).examples)) == [META]


def test_shards_put_together_and_finished_lines_read_again_have_it(tmp_path: Path) -> None:
    pair = SftExample(prompt="p", completion="c", task_id="t", edit_id="e", value=1, baseline=None, meta=META)
    record = having(a_line(a_task(), [True, None]), META)
    for line in (pair, record):
        assert carried(list(merge.run([merge.Shard("a", {"shard": "1/1"}, [line])]))) == [META]
    journal = Journal(tmp_path / "a.part", tmp_path / "a.json")
    journal.append("a", to_json(record).encode() + b"\n")
    assert [remove_path(LineReader(journal.path)(line)) for line in journal.whole_lines(0).splitlines()] == [
        remove_path(record)
    ]
    journal.close()


def test_ids_and_seeds_do_not_depend_on_it(tmp_path: Path) -> None:
    def ids(meta: dict[str, Any]) -> tuple[Any, ...]:
        line = {"task": {"context": "C"}, "edit": {"completion": "x"}, "adapter": {"path": "p"}, "meta": meta}
        record = parse_record(line)
        jobs = plan_lines([record], "student", domain=QA(), out=tmp_path)
        (made,) = generate.run([record], Backwards(lambda _: "x"), generate.Writing(QA(), samples=1))
        assert record.edit and record.adapter and made.edit
        seeds = [piece.job.seed for piece in jobs.values() if piece.job]
        return record.task.id, record.edit.id, record.adapter.id, *jobs, *seeds, made.edit.id, made.edit.sampling

    assert ids(META) == ids(OTHER)


def test_lines_of_one_task_with_another_meta_are_one_task() -> None:
    bare = [
        having(a_line(a_task(), [True, True], seed=seed), meta).grow(score=None)
        for seed, meta in ((0, META), (1, OTHER))
    ]
    scored = evaluate.run(bare, Backwards(lambda _: "Velm"), domain=QA(), judge=ExactJudge())
    assert sorted(carried(list(scored)), key=str) == sorted([META, OTHER], key=str)


def test_other_keys_beside_it_are_told_where_they_belong() -> None:
    with pytest.raises(BadLine, match="note: extra inputs are not permitted; put what is your own under meta"):
        parse_record({"task": {"context": "C"}, "note": "x"})
