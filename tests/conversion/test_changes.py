"""What has changed since texts were cut before: only that is a task again, and what is gone is named."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stages import tasks
from stages.errors import BadConfig, BadInput, MissingInput
from stages.records.jsonl import to_json
from stages.records.record import Record
from stages.records.task import make_task
from stages.sources.chunks import similarity
from stages.sources.chunks.changes import Since
from stages.sources.chunks.settings import Chunking
from stages.sources.chunks.similarity import WordIndex
from tests.cli.inside import run_inside
from tests.conftest import ROOT
from tests.conversion.test_chunks import FILLER, MODEL
from tests.sources.test_folders import GRIDS, fill, titles

PARTS = {
    "Length": "The bridge is 470 m long and 12 m wide, and stands on nine pillars of stone.",
    "Opened": "It was opened in 1873 by the mayor of the town, Anna Weiß, before four thousand people.",
    "Colour": "Its railings are green, and were blue until the war, when no blue paint was to be had.",
    "Toll": "A toll of two pence is asked of every cart, and none of those who walk.",
}


def page(parts: dict[str, str]) -> str:
    return "# Bridge\n\n" + "\n\n".join(f"## {name}\n\n{text} {FILLER}" for name, text in parts.items())


def compare(folder: Path, before: dict[str, str], after: dict[str, str]) -> tuple[list[Record], Since, list[Record]]:
    """The new tasks, what was found, and the tasks from before."""
    chunking = Chunking(96, 0, MODEL)
    old = list(tasks.run(str(fill(folder, {"a.md": page(before)}) / "a.md"), chunking=chunking))
    (folder / "old.jsonl").write_text("".join(f"{to_json(record)}\n" for record in old))
    since = Since(folder / "old.jsonl")
    fill(folder, {"a.md": page(after)})
    return list(tasks.run(str(folder / "a.md"), chunking=chunking, since=since)), since, old


def test_only_new_and_changed_chunks_are_tasks_and_each_kind_has_its_ids(tmp_path: Path) -> None:
    after = {**PARTS, "Opened": PARTS["Opened"].replace("1873", "1874"), "Trams": "Trams cross it since 1901."}
    del after["Toll"]
    found, since, old = compare(tmp_path, PARTS, after)
    ids = {record.task.name.rpartition(" › ")[2]: record.task.id for record in old}
    assert titles(found) == ["a › Bridge › Opened", "a › Bridge › Trams"]
    changed, added = found
    assert changed.meta and changed.meta["replaces"] == [ids["Opened"]] and "source" in changed.meta
    assert added.meta and "replaces" not in added.meta
    assert since.facts() == {
        "file": str(tmp_path / "old.jsonl"),
        "new": [added.task.id],
        "changed": {changed.task.id: [ids["Opened"]]},
        "withdrawn": [ids["Toll"]],
        "unchanged": [ids["Length"], ids["Colour"]],
    }
    assert since.describe() == f"since {tmp_path}/old.jsonl: 1 new, 1 changed, 1 withdrawn, 2 unchanged"


def test_what_moved_or_stands_under_another_heading_is_unchanged(tmp_path: Path) -> None:
    chunking = Chunking(96, 0, MODEL)
    fill(tmp_path, {"old.jsonl": "".join(f"{to_json(r)}\n" for r in compare(tmp_path, PARTS, PARTS)[2])})
    (tmp_path / "a.md").rename(tmp_path / "moved.md")
    since = Since(tmp_path / "old.jsonl")
    assert list(tasks.run(str(tmp_path / "moved.md"), chunking=chunking, since=since)) == []
    assert (len(since.unchanged), since.withdrawn, since.added) == (4, {}, [])


def test_a_chunk_with_new_words_under_a_new_heading_changes_the_one_that_it_is_like(tmp_path: Path) -> None:
    after = dict(PARTS)
    after["Width and length"] = after.pop("Length").replace("470", "471")
    found, since, old = compare(tmp_path, PARTS, after)
    assert [each.task.id for each in old if "Length" in each.task.name] == (found[0].meta or {})["replaces"]
    assert (len(since.changed), since.added, since.withdrawn) == (1, [], {})


def test_another_text_under_the_same_heading_is_new_and_the_one_before_withdrawn(tmp_path: Path) -> None:
    other = "Fishing is free on Sundays from either bank; nets need a licence, which costs nothing."
    parts = {name: text for name, text in PARTS.items() if name != "Toll"}
    chunking, since = Chunking(96, 0, MODEL), Since(tmp_path / "old.jsonl")
    old = list(tasks.run(str(fill(tmp_path, {"a.md": f"# T\n\n{PARTS['Toll']}"}) / "a.md"), chunking=chunking))
    (tmp_path / "old.jsonl").write_text(to_json(old[0]))
    found = list(tasks.run(str(fill(tmp_path, {"a.md": f"# T\n\n{other}"}) / "a.md"), chunking=chunking, since=since))
    assert parts and since.added == [found[0].task.id] and list(since.withdrawn) == [old[0].task.id]


def test_questions_of_the_tasks_from_before_do_not_matter(tmp_path: Path) -> None:
    _, _, old = compare(tmp_path, PARTS, PARTS)
    lines = [json.loads(to_json(record)) for record in old]
    for line in lines:
        line["task"]["questions"] = [{"question": "How long?", "answer": "470 m"}]
    fill(tmp_path, {"quiz.jsonl": "".join(f"{json.dumps(line)}\n" for line in lines)})
    since = Since(tmp_path / "quiz.jsonl")
    assert list(tasks.run(str(tmp_path / "a.md"), chunking=Chunking(96, 0, MODEL), since=since)) == []
    assert since.unchanged == [record.task.id for record in old]


def test_other_questions_about_the_same_passage_are_a_changed_task(tmp_path: Path) -> None:
    first, second = {"question": "Who sat?", "answer": "cat"}, {"question": "Where?", "answer": "mat"}
    entry = {"title": "T", "context": "The cat sat on the mat.", "questions": [first]}
    (old,) = tasks.run(str(fill(tmp_path, {"q.json": [entry]}) / "q.json"))
    fill(tmp_path, {"old.jsonl": to_json(old)})
    since = Since(tmp_path / "old.jsonl")
    assert list(tasks.run(str(tmp_path / "q.json"), since=since)) == [] and since.unchanged == [old.task.id]
    fill(tmp_path, {"q.json": [{**entry, "questions": [first, second]}]})
    since = Since(tmp_path / "old.jsonl")
    (new,) = tasks.run(str(tmp_path / "q.json"), since=since)
    assert since.changed == {new.task.id: [old.task.id]} and not since.unchanged and not since.withdrawn


def test_what_was_not_read_this_time_is_not_withdrawn(tmp_path: Path) -> None:
    chunking = Chunking(96, 0, MODEL)
    parts = list(PARTS)
    texts = {f"docs/{name}.md": page({part: PARTS[part]}) for name, part in zip("abcd", parts, strict=True)}
    fill(tmp_path, texts)
    old = list(tasks.run(str(tmp_path / "docs"), chunking=chunking))
    fill(tmp_path, {"old.jsonl": "".join(f"{to_json(record)}\n" for record in old)})
    (tmp_path / "docs/b.md").write_bytes(b"\xff\xfe\xfa broken \x80")  # rejected
    (tmp_path / "docs/c.md").rename(tmp_path / "docs/.c.md")  # gone
    since, rejects = Since(tmp_path / "old.jsonl"), list[Any]()
    assert not list(tasks.run(str(tmp_path / "docs"), chunking=chunking, since=since, refuse=rejects.append))
    assert (len(rejects), len(since.unchanged)) == (1, 2)
    assert list(since.not_read.values()) == ["b"]
    assert list(since.withdrawn.values()) == ["c"]
    assert since.facts()["not_read"] == list(since.not_read) and "1 not read this time" in since.describe()
    part = Since(tmp_path / "old.jsonl")
    assert not list(tasks.run(str(tmp_path / "docs/a.md"), chunking=chunking, since=part))
    assert (len(part.unchanged), len(part.not_read), part.withdrawn) == (1, 3, {})


def compare_with_each(texts: list[Counter[str]], words: Counter[str], least: float) -> list[int]:
    """The plain way: places of those that are alike enough, the most alike first."""
    shares = [((text & words).total() / max(1, text.total(), words.total()), -at) for at, text in enumerate(texts)]
    return [-at for share, at in sorted(shares, reverse=True) if share >= least]


BAGS = st.lists(st.sampled_from("aaabbcdefghij"), max_size=12).map(Counter)


@given(st.lists(BAGS, max_size=60), BAGS, st.sampled_from([0.3, 0.5, 0.6, 1.0]))
@settings(deadline=None, max_examples=25)
def test_alike_texts_are_those_that_a_comparison_with_each_finds(
    texts: list[Counter[str]], words: Counter[str], least: float
) -> None:
    index = WordIndex(list(enumerate(texts)), least)
    assert index.find_alike(words) == compare_with_each(texts, words, least)


def test_a_text_is_compared_with_few_of_many(monkeypatch: pytest.MonkeyPatch) -> None:
    compared: list[int] = []

    class Counted(Counter[str]):
        def __and__(self, other: Counter[str]) -> Counter[str]:
            compared.append(1)
            return super().__and__(other)

    monkeypatch.setattr(similarity, "Counter", Counted)
    texts = [Counter({"the": 9, **{f"{at % 50} {n}": 1 for n in range(9)}, f"{at}": 3}) for at in range(250)]
    found = [WordIndex(list(enumerate(texts)), 0.6).find_alike(text) for text in texts[:9]]
    assert [places[0] for places in found] == list(range(9)) and {len(places) for places in found} == {5}
    assert len(compared) == 5 * 9


def test_a_chunk_replaces_no_more_than_the_few_that_it_is_most_like(tmp_path: Path) -> None:
    old = [make_task(f"a ({n})", f"The {n}th of the stones of the mill is of the grey kind.", []) for n in range(30)]
    (tmp_path / "old.jsonl").write_text("".join(f"{to_json(Record(task=task))}\n" for task in old))
    since = Since(tmp_path / "old.jsonl")
    list(since.pick([Record(task=make_task("a", "The 7th of the stones of the mill is of the red kind.", []))]))
    ((replaced,), gone) = since.changed.values(), since.withdrawn
    assert (len(replaced), replaced[0], len(gone)) == (8, old[7].id, 22)


@pytest.mark.parametrize(
    ("content", "error", "words"),
    [
        (None, MissingInput, r"--since .*old\.jsonl: no such file; give the file of tasks from before"),
        ("{broken", BadInput, r"old\.jsonl:1: not JSON"),
        (json.dumps({"task": GRIDS}), BadInput, r"--since .*old\.jsonl: compares passages, which .* has not"),
        ("# A text", BadInput, r"old\.jsonl:1: not JSON"),
    ],
)
def test_a_file_that_holds_no_tasks_of_passages_is_refused(
    tmp_path: Path, content: Any, error: type[Exception], words: str
) -> None:
    fill(tmp_path, {"a.md": "A"} | ({"old.jsonl": content} if content is not None else {}))
    with pytest.raises(error, match=words):
        list(tasks.run(str(tmp_path / "a.md"), since=Since(tmp_path / "old.jsonl")))


def test_grids_have_no_passages_to_compare(tmp_path: Path) -> None:
    fill(tmp_path, {"g.json": GRIDS, "old.jsonl": ""})
    with pytest.raises(BadConfig, match=r"--since .*: compares passages, which g has not"):
        list(tasks.run(str(tmp_path / "g.json"), since=Since(tmp_path / "old.jsonl")))


def test_the_command_says_what_it_found_and_the_manifest_names_the_ids(tmp_path: Path) -> None:
    model = ("--model", str(ROOT / "examples/tiny/model"), "--chunk-tokens", "96")
    fill(tmp_path, {"docs/a.md": page(PARTS)})
    assert run_inside("tasks", "docs", *model, "-o", "old.jsonl", cwd=tmp_path).code == 0
    settings = json.loads((tmp_path / "old.jsonl.manifest.json").read_text())["settings"]
    assert (settings["chunk_tokens"], settings["overlap"], len(settings["tokenizer"])) == (96, 0, 16)
    same = run_inside("tasks", "docs", *model, "--since", "old.jsonl", "-o", "same.jsonl", cwd=tmp_path)
    assert (same.code, (tmp_path / "same.jsonl").read_text()) == (0, "")
    assert "seal tasks: since old.jsonl: 0 new, 0 changed, 0 withdrawn, 4 unchanged" in same.err
    gone = {name: text for name, text in PARTS.items() if name != "Toll"}
    fill(tmp_path, {"docs/a.md": page(gone)})
    done = run_inside("tasks", "docs", *model, "--since", "old.jsonl", "-o", "new.jsonl", cwd=tmp_path)
    made = json.loads((tmp_path / "new.jsonl.manifest.json").read_text())
    (withdrawn,) = made["since"]["withdrawn"]
    assert f"withdrawn, no source has them any more: a › Bridge › Toll ({withdrawn})" in done.err
    assert made["settings"]["since"] == "old.jsonl"
    kept = tmp_path / "kept.txt"
    kept.write_text("\n".join(made["since"]["unchanged"]))
    again = run_inside("tasks", "old.jsonl", "--ids", "kept.txt", cwd=tmp_path)  # what must not be forgotten
    assert len(again.lines) == 3
    other = ("--model", str(ROOT / "examples/tiny/model"), "--chunk-tokens", "97")
    told = run_inside("tasks", "docs", *other, "--since", "old.jsonl", cwd=tmp_path).err
    assert "old.jsonl was made with chunk_tokens 96, and this is 97: chunks differ for that alone" in told
