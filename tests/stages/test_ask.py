"""`seal ask` as a library: what is said is what `seal eval` measures, and what a name of an adapter stands for."""

from pathlib import Path

import pytest

from stages.ask import NamedAdapter, Wording, find_adapter, run
from stages.domains.qa import QA
from stages.engines.hf import HFEngine
from stages.errors import BadInput, MissingInput
from stages.eval import run as evaluate
from stages.judges.exact import ExactJudge
from stages.records.record import Record
from stages.settings import ANSWERING, Sampling
from stages.versions import release
from tests.cli.conftest import jsonl
from tests.invented import a_task, an_adapter, an_edit
from tests.tiny_models import make_adapter


@pytest.fixture(scope="module")
def adapter(model_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_adapter(model_dir, tmp_path_factory.mktemp("ask") / "adapter", seed=3)


def a_line(adapter: Path | None, title: str = "Ada") -> Record:
    task = a_task(title)
    edit = an_edit(task)
    made = an_adapter(edit, path=str(adapter)) if adapter else an_adapter(edit, fault="training")
    return Record(task=task, edit=edit, adapter=made)


@pytest.mark.parametrize("in_context", [False, True], ids=["closed-book", "in context"])
@pytest.mark.parametrize("chat", [False, True], ids=["text", "chat"])
def test_what_is_said_is_what_eval_measures(
    model_dir: Path, chat_dir: Path, adapter: Path, in_context: bool, chat: bool
) -> None:
    line, engine = a_line(adapter), HFEngine(str(chat_dir if chat else model_dir))
    (scored,) = evaluate([line], engine, domain=QA(), judge=ExactJudge(), in_context=in_context, chat=chat)
    assert scored.score
    passage = line.task.text if in_context else ""
    for question, answer in zip(line.task.questions, scored.score.answers, strict=True):  # type: ignore[attr-defined]
        found = run(question.question, engine, [None, adapter], wording=Wording(line.task.name, passage, chat))
        texts = {each.adapter: each.text for _, each in found}
        assert texts == {None: answer.baseline_prediction, adapter: answer.prediction}
        assert texts[None] != texts[adapter]


def test_a_text_is_heard_while_it_is_written_with_each_adapter(model_dir: Path, adapter: Path) -> None:
    engine, heard = HFEngine(str(model_dir)), dict[str, list[str]]()
    whole = dict(
        run("Who?", engine, [None, adapter], hear=lambda place, text: heard.setdefault(place, []).append(text))
    )
    assert sorted(heard) == ["0", "1"]
    for place, texts in heard.items():
        answer = whole[int(place)]
        assert len(texts) in (answer.tokens, (answer.tokens or 0) + 1)  # the end token has no letters
        assert texts[-1] == answer.text.rstrip("\ufffd")
        assert sorted(texts, key=len) == texts
        assert answer.seconds > 0


def test_the_same_question_with_the_same_seed_has_the_same_answer(model_dir: Path) -> None:
    engine = HFEngine(str(model_dir))

    def ask(seed: int) -> str:
        ((_, found),) = run("Who?", engine, [None], sampling=Sampling(1.0, 1.0, 12, seed))
        return found.text

    assert ask(1) == ask(1)
    assert ask(1) != ask(2)


def test_an_answer_that_ends_within_its_thought_is_none() -> None:
    class Thinker:
        model = "thinker"

        def sample(self, requests, progress):  # type: ignore[no-untyped-def]
            from stages.interfaces import Completion

            for request in requests:
                assert request.sampling == ANSWERING
                yield Completion(request.id, "<think>hm", "length", 3)

    ((_, found),) = run("Who?", Thinker(), [None])
    assert (found.text, found.answer, found.finish) == ("<think>hm", None, "length")


def test_a_name_is_an_adapter_a_run_or_lines(model_dir: Path, adapter: Path, tmp_path: Path) -> None:
    own = find_adapter(str(adapter), "m").base
    assert find_adapter(str(adapter), "m") == NamedAdapter(adapter, own)
    run_folder = tmp_path / "run"
    run_folder.mkdir()
    with pytest.raises(MissingInput, match=r"run: has no current version; release an adapter"):
        find_adapter(str(run_folder), "m")
    (run_folder / "card.json").write_text("{}")
    release(run_folder, adapter, adapter_id="a", gate="learned>1", card=run_folder / "card.json")
    assert find_adapter(str(run_folder), "m").path == adapter.resolve()
    lines = tmp_path / "adapters.jsonl"
    lines.write_text(jsonl([a_line(adapter), a_line(None, "Bo")]))
    assert find_adapter(str(lines), "m") == NamedAdapter(adapter, "student", "Ada")
    lines.write_text(jsonl([a_line(adapter), a_line(adapter, "Bo")]))  # a pool's
    assert find_adapter(str(lines), "m") == NamedAdapter(adapter, "student")


def test_lines_with_several_adapters_or_none_are_refused(adapter: Path, tmp_path: Path) -> None:
    lines = tmp_path / "adapters.jsonl"
    lines.write_text(jsonl([a_line(adapter), a_line(adapter.with_name("other"), "Bo")]))
    with pytest.raises(BadInput, match=r"adapters.jsonl: its lines name several adapters; give one of them, as .*adap"):
        find_adapter(str(lines), "m")
    lines.write_text(jsonl([a_line(None)]))
    with pytest.raises(BadInput, match="name no adapter that was trained"):
        find_adapter(str(lines), "m")
    with pytest.raises(MissingInput, match="--adapter nowhere: no such directory or file"):
        find_adapter("nowhere", "m")


def test_a_question_without_letters_is_refused(model_dir: Path) -> None:
    with pytest.raises(BadInput, match="the question is empty"):
        list(run(" \x07", HFEngine(str(model_dir)), [None]))
