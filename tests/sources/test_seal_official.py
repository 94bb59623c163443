"""The official files: passages with self-edits, and rewards."""

import json
from collections import Counter
from pathlib import Path
from statistics import mean
from typing import Any

import pytest

from stages import tasks
from stages.errors import BadConfig, BadInput
from stages.records.jsonl import Reject
from stages.records.record import Record
from tests.conftest import paper_file

REWARDS = ("rank_iter0.json", "rank_iter0_prompt-self-qa.json")
ENTRY = {
    "title": "Ada",
    "context": "Ada was here.",
    "questions": [],
    "completions": ["one\n", " two"],
    "prompt": "Say:",
}


def graded(rep: int, question: str, before: bool, after: bool) -> dict[str, Any]:
    return {
        "rep": rep,
        "question": question,
        "answer": "yes",
        "baseline_answer": "no",
        "adapter_answer": "yes",
        "baseline_correct": before,
        "adapter_correct": after,
    }


def a_reward_file(**article: Any) -> dict[str, Any]:
    """Two completions of one passage: two questions, two repetitions."""
    stats = {"baseline_mean": 0.0, "adapter_mean": 0.75}
    questions = [graded(0, "q1", False, True), graded(0, "q2", False, False)]
    questions += [graded(1, "q1", False, True), graded(1, "q2", True, True)]
    completions = [{"text": text, "stats": stats, "questions": questions} for text in ("first", "second")]
    found = {"title": "Ada", "context": "Ada was here.", "prompt": "Say:", "completions": completions}
    return {"model": "base", "lora_params": {"rank": 32}, "articles": [found | article]}


def load(tmp_path: Path, document: Any) -> list[Record]:
    path = tmp_path / "official.json"
    path.write_text(json.dumps(document), encoding="utf-8")
    return list(tasks.run(str(path)))


def refusal(tmp_path: Path, document: Any) -> str:
    with pytest.raises(BadInput) as caught:
        load(tmp_path, document)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_every_completion_is_an_edit_line_verbatim(tmp_path: Path) -> None:
    edits = [record.edit for record in load(tmp_path, [ENTRY])]
    assert [(edit.sample, edit.completion, edit.prompt, edit.template) for edit in edits if edit] == [
        (0, "one\n", "Say:", "custom"),
        (1, " two", "Say:", "custom"),
    ]
    assert {(edit.model, edit.finish, edit.tokens) for edit in edits if edit} == {("unknown", "unknown", None)}


@pytest.mark.parametrize("name", ["official.json.meta", "official.meta"])  # GPT-4.1's has the other name
def test_the_meta_file_names_the_model_and_its_sampling(name: str, tmp_path: Path) -> None:
    meta = tmp_path / name
    meta.write_text('{"model": "Qwen2.5", "temperature": 1.0, "k": 5}', encoding="utf-8")
    edit = load(tmp_path, [ENTRY])[0].edit
    assert edit is not None
    assert (edit.model, edit.sampling) == ("Qwen2.5", {"temperature": 1.0})


def test_an_editor_that_is_named_wrote_them_whatever_the_meta_file_says(tmp_path: Path) -> None:
    (tmp_path / "official.meta").write_text('{"model": "Qwen2.5"}')
    plain = load(tmp_path, [ENTRY])
    named = list(tasks.run(str(tmp_path / "official.json"), editor="gpt-4.1"))
    assert [line.edit.model for line in named if line.edit] == ["gpt-4.1"] * 2
    assert [line.edit.id for line in named if line.edit] == [line.edit.id for line in plain if line.edit]
    (tmp_path / "own.json").write_text(json.dumps([{"title": "T", "context": "C", "questions": []}]))
    with pytest.raises(BadConfig, match=r"--editor gpt-4.1: the source has no self-edits, only tasks"):
        list(tasks.run(str(tmp_path / "own.json"), editor="gpt-4.1"))


@pytest.mark.parametrize("change", [{"completions": None}, {"completions": [3]}, {"completions": "x"}, {"prompt": 3}])
def test_completions_that_are_no_texts_are_refused(tmp_path: Path, change: dict[str, Any]) -> None:
    message = refusal(tmp_path, [ENTRY, ENTRY | change])
    assert message.endswith("official.json: [1]: prompt must be text, completions a list of texts")


def test_every_repetition_is_a_score_line_with_its_answers(tmp_path: Path) -> None:
    records = load(tmp_path, a_reward_file())
    scores = [record.score for record in records if record.score]
    assert [(score.value, score.baseline) for score in scores] == [(0.5, 0.0), (1.0, 0.5)] * 2
    assert [record.adapter.seed for record in records if record.adapter] == [0, 1] * 2
    assert len({record.adapter.id for record in records if record.adapter}) == 4
    assert len({record.edit.id for record in records if record.edit}) == 2
    assert [answer.id for answer in scores[0].answers] == [question.id for question in records[0].task.questions]


def test_a_file_with_means_only_gives_one_line_per_completion(tmp_path: Path) -> None:
    document = a_reward_file()
    for completion in document["articles"][0]["completions"]:
        del completion["questions"][:]
    records = load(tmp_path, document)
    assert [(record.score.value, record.score.answers) for record in records if record.score] == [(0.75, ())] * 2
    assert [record.adapter for record in records] == [None, None]


@pytest.mark.parametrize(
    ("article", "words"),
    [
        ({"completions": None}, "articles[0]: not an official reward file (TypeError("),
        ({"completions": [{"text": "x"}]}, "articles[0]: not an official reward file (KeyError('questions'))"),
        (
            {"completions": [{"text": "x", "questions": [], "stats": {"adapter_mean": 7, "baseline_mean": 0}}]},
            "articles[0]: not an official reward file (value: input should be less than or equal to 1 (found 7))",
        ),
        (
            {"completions": [{"text": "x", "questions": [graded(rep, "q", True, True) for rep in (0, 1, 1)]}]},
            "articles[0]: completion 0: repetition 1 has other questions, or in another order",
        ),
        (
            {
                "completions": [
                    {
                        "text": "x",
                        "questions": [graded(0, q, True, True) for q in "ab"]
                        + [graded(1, q, True, True) for q in "ba"],
                    }
                ]
            },
            "articles[0]: completion 0: repetition 1 has other questions, or in another order",
        ),
    ],
)
def test_another_layout_is_refused_with_its_place(tmp_path: Path, article: dict[str, Any], words: str) -> None:
    assert words in refusal(tmp_path, a_reward_file(**article))


def split(tmp_path: Path, document: Any) -> tuple[list[str], list[Reject]]:
    """The titles that are read, and the rejects."""
    path = tmp_path / "official.json"
    path.write_text(json.dumps(document), encoding="utf-8")
    rejects: list[Reject] = []
    return [record.task.title for record in tasks.run(str(path), refuse=rejects.append)], rejects


def test_a_bad_entry_is_told_and_the_others_read(tmp_path: Path) -> None:
    titles, rejects = split(tmp_path, [ENTRY, ENTRY | {"prompt": 3}, ENTRY | {"title": "Bo"}])
    assert titles == ["Ada", "Ada", "Bo", "Bo"]
    assert [reject.reason for reject in rejects] == ["[1]: prompt must be text, completions a list of texts"]
    assert json.loads(rejects[0].raw) == ENTRY | {"prompt": 3}


def test_of_a_bad_article_no_completion_is_read_so_that_none_is_compared_with_fewer(tmp_path: Path) -> None:
    document = a_reward_file()
    (article,) = document["articles"]
    bad = json.loads(json.dumps(article))
    del bad["completions"][1]["questions"][3]["rep"]
    nan = json.loads(json.dumps(article))
    nan["completions"][0]["stats"]["adapter_mean"] = float("nan")
    document["articles"] = [bad, article, nan, None]
    titles, rejects = split(tmp_path, document)
    assert titles == ["Ada"] * 4
    assert [reject.reason for reject in rejects] == [
        "articles[0]: not an official reward file (KeyError('rep'))",
        "articles[2]: not JSON: NaN is not JSON",
        """articles[3]: not an official reward file (TypeError("'NoneType' object is not subscriptable"))""",
    ]


@pytest.mark.parametrize("about", [{"model": None}, {"model": {}}, {"lora_params": 3}, {"lora_params": {"a": 1e999}}])
def test_what_is_said_of_the_whole_reward_file_must_be_right(tmp_path: Path, about: dict[str, Any]) -> None:
    with pytest.raises(BadInput, match=r"official\.json: not "):
        split(tmp_path, a_reward_file() | about)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{", "not JSON: "),
        ("3", "not an object whose model is text"),
        ("[]", "not an object whose model is text"),
        ('{"model": null}', "not an object whose model is text"),
        ('{"temperature": "hot"}', "its temperature is no number"),
        ('{"k": NaN}', "not JSON: NaN is not JSON"),
        ('{"k": 1, "k": 1}', "the key 'k' occurs twice"),
        ("\udcff", "not UTF-8 (byte 0)"),
        ("version https://git-lfs.github.com/spec/v1\n", "not JSON: "),
        ("[" * 9999, "not JSON: nested too deeply"),
    ],
)
def test_a_meta_file_that_says_nothing_sure_is_a_note_and_costs_nothing(tmp_path: Path, text: str, words: str) -> None:
    (tmp_path / "official.json").write_text(json.dumps([ENTRY]), encoding="utf-8")
    meta = tmp_path / "official.json.meta"
    meta.write_text(text, encoding="utf-8", errors="surrogateescape")
    told: list[str] = []
    found = list(tasks.run(str(tmp_path / "official.json"), note=told.append))
    assert [record.edit.model for record in found if record.edit] == ["unknown"] * 2
    (note,) = told
    assert note.startswith(f"{meta}: {words}")
    assert note.endswith("; it is passed over, and what wrote the self-edits is unknown")


def test_what_lies_beside_tasks_without_self_edits_is_not_even_read(tmp_path: Path) -> None:
    own = {"title": "T", "context": "C", "questions": []}
    (tmp_path / "official.json").write_text(json.dumps([own]), encoding="utf-8")
    (tmp_path / "official.json.meta").write_text("{")
    told: list[str] = []
    assert len(list(tasks.run(str(tmp_path / "official.json"), note=told.append))) == 1
    assert told == []


@pytest.mark.paper_data
@pytest.mark.parametrize(("name", "passages"), [("iter0_train.json", 100), ("base_val.json", 200)])
def test_the_papers_self_edits_come_in_verbatim(name: str, passages: int) -> None:
    path = paper_file(name)
    entries = json.loads(path.read_bytes())
    records = list(tasks.run(str(path)))
    assert len(records) == len({record.edit.id for record in records if record.edit}) == 1000
    assert len({record.task.id for record in records}) == len(entries) == passages
    texts = [text for entry in entries for text in entry["completions"]]
    assert [record.edit.completion for record in records if record.edit] == texts


@pytest.mark.paper_data
def test_the_paper_asks_974_questions_about_its_200_validation_passages() -> None:
    found = {record.task.id: record.task for record in tasks.run(str(paper_file("base_val.json")))}
    assert sum(len(task.questions) for task in found.values()) == 974


@pytest.mark.paper_data
@pytest.mark.parametrize("name", REWARDS)
def test_the_papers_rewards_are_50_contexts_by_5_edits_by_3_seeds(name: str) -> None:
    records = list(tasks.run(str(paper_file(name))))
    edits = Counter(record.edit.id for record in records if record.edit)
    assert len(records) == len({record.adapter.id for record in records if record.adapter}) == 750
    assert (len(edits), set(edits.values())) == (250, {3})
    assert len({record.task.id for record in records}) == 50


@pytest.mark.paper_data
@pytest.mark.parametrize("name", REWARDS)
def test_the_mean_of_a_reward_file_is_the_one_it_states(name: str) -> None:
    path = paper_file(name)
    by_task: dict[str, list[float]] = {}
    for record in tasks.run(str(path)):
        assert record.score is not None and record.score.value is not None
        by_task.setdefault(record.task.id, []).append(record.score.value)
    stated = json.loads(path.read_bytes())["overall"]["adapter_mean_accuracy"]
    assert round(mean(mean(values) for values in by_task.values()), 4) == stated


@pytest.mark.paper_data
def test_a_passage_has_one_id_in_the_training_and_in_the_reward_file() -> None:
    ids: dict[str, dict[tuple[str, str], str]] = {}
    for name in ("iter0_train.json", "rank_iter0.json"):
        records = tasks.run(str(paper_file(name)))
        ids[name] = {(record.task.title, record.task.context): record.task.id for record in records}
    shared = ids["iter0_train.json"].keys() & ids["rank_iter0.json"].keys()
    assert len(shared) == 50
    assert all(ids["iter0_train.json"][passage] == ids["rank_iter0.json"][passage] for passage in shared)
