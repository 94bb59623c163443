"""The folder of documents of the tiny world: reproducible, new to the model, and about nothing that others measure."""

import re
from pathlib import Path

import pytest

from examples.tiny.folder import NAMES, main, make_documents
from examples.tiny.tasks import make_entities
from examples.tiny.world import is_heldout
from stages.records.parser import read_records
from stages.records.task import UNANSWERABLE, QaTask
from tests.conftest import ROOT

COMMITTED = ROOT / "examples/documents/tiny"


def test_the_committed_files_are_what_the_generator_writes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["folder", "--out", str(tmp_path)])
    main()
    written = {path.relative_to(tmp_path): path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    assert written == {
        path.relative_to(COMMITTED): path.read_bytes() for path in COMMITTED.rglob("*") if path.is_file()
    }
    assert len(list((tmp_path / "documents").iterdir())) == len(NAMES) == 12


def test_their_names_are_in_no_other_file_and_new_to_the_model() -> None:
    names = [entity.name for entities in make_documents().values() for entity in entities]
    others = {entity.name for entities in make_entities().values() for entity in entities}
    assert len(set(names)) == len(names) == 24
    assert not others & set(names)
    assert all(map(is_heldout, names))
    others = {entity.name for entities in make_documents(seed=7).values() for entity in entities}
    assert not others & set(names)  # on which settings were tried out


def test_a_document_has_a_section_for_each_entity_with_all_its_facts() -> None:
    for name, entities in make_documents().items():
        text = (COMMITTED / "documents" / f"{name}.md").read_text(encoding="utf-8")
        assert re.findall(r"^## (.*)", text, re.MULTILINE) == [entity.name for entity in entities]
        assert all(fact.value in text for entity in entities for fact in entity.facts)


def test_probes_ask_what_no_document_says_and_known_texts_are_none_that_are_asked() -> None:
    texts = "\n".join(path.read_text(encoding="utf-8") for path in (COMMITTED / "documents").iterdir())
    tasks = {
        name: [line.task for line in read_records((COMMITTED / f"{name}.jsonl").read_bytes().split(b"\n"), name)]
        for name in ("anchors", "probes", "known", "exam")
    }
    asked = [task for task in tasks["probes"] if isinstance(task, QaTask)]
    neighbours = [task for task in asked if task.questions[0].answer != UNANSWERABLE]
    assert (len(neighbours), len(asked)) == (12, 24)
    for task in asked:
        if task in neighbours:
            assert task.title not in texts
        else:
            assert {question.answer for question in task.questions} == {UNANSWERABLE}
            assert task.title.partition(" › ")[2] in texts
    chunks = {f"{name} › {each.name}" for name, entities in make_documents().items() for each in entities}
    assert {task.name for task in tasks["exam"]} == chunks
    titles = [[task.name for task in found] for found in (tasks["anchors"], neighbours, tasks["known"])]
    assert len({title for each in titles for title in each}) == 60
