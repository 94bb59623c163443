"""question → answers: a person's own question, put to a model as `seal eval` puts it, with and without adapters."""

import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from stages.domains.qa import QA
from stages.errors import BadInput, MissingInput
from stages.file_kinds import check_lines
from stages.interfaces import Engine, Hear, NullProgress, Request, sample_all
from stages.models.adapter_checks import read_adapter_config
from stages.models.tuned_models import is_tuned_model, read_tuned_model
from stages.records.adapter_paths import get_base_folders, locate_adapter
from stages.records.frozen import is_void
from stages.records.jsonl import read_bounded_lines
from stages.records.parser import read_records
from stages.records.task import QaTask, Question
from stages.records.thoughts import extract_answer
from stages.settings import ANSWERING, Sampling
from stages.versions import find_current

_GOLD = "?"  # a question of a task has a gold answer; nobody grades this one


@dataclass(frozen=True)
class NamedAdapter:
    """An adapter to ask: its directory, and the model that it says it was trained on.

    `title`: of the one task that it was trained on, where lines say so.
    """

    path: Path
    base: str
    title: str = ""


@dataclass(frozen=True)
class Wording:
    """What stands around a question in the prompt. Without a passage it is closed-book."""

    title: str = ""
    passage: str = ""
    chat: bool = False


@dataclass(frozen=True)
class SpokenAnswer:
    """What a model said, with an adapter or (None) without: the whole text, and the part behind its thoughts.

    `answer` None: it has none, as `seal eval` would leave it unscored. `seconds`: from when the engine took it up.
    """

    adapter: Path | None
    text: str
    answer: str | None
    finish: str
    tokens: int | None
    seconds: float
    error: str | None


def find_adapter(name: str, model: str) -> NamedAdapter:
    """Return the adapter that a name stands for: its directory, a run whose `current` it is, or a file of lines.

    Raises MissingInput or BadInput where it is none, or where lines name several.
    """
    path = Path(name)
    if path.is_file():
        return _find_on_lines(path)
    if not path.is_dir():
        raise MissingInput(f"--adapter {name}: no such directory or file; give an adapter, a run, or its lines")
    if not (is_tuned_model(path) or (path / "adapter_config.json").exists()):
        path = find_current(path)
    if is_tuned_model(path):
        return NamedAdapter(path, str(read_tuned_model(path).get("model") or model))
    return NamedAdapter(path, str(read_adapter_config(path).get("base_model_name_or_path") or model))


def _find_on_lines(file: Path) -> NamedAdapter:
    """The one adapter that the lines of a file name. They are read until there are two."""
    folders, found, titles = get_base_folders(file), dict[str, str](), set[str]()
    with file.open("rb") as raw:
        for line in read_records(check_lines(read_bounded_lines(raw), str(file)), str(file), ("adapter",)):
            adapter = locate_adapter(line, folders).adapter
            if adapter and adapter.path:
                found[adapter.path] = adapter.model
                titles.add(line.task.name)
            if len(found) > 1:
                told = f"its lines name several adapters; give one of them, as {next(iter(found))}"
                raise BadInput(f"--adapter {file}: {told}")
    if not found:
        raise BadInput(f"--adapter {file}: its lines name no adapter that was trained (run `seal adapt` again)")
    ((path, base),) = found.items()
    return NamedAdapter(Path(path), base, titles.pop() if len(titles) == 1 else "")


def check_question(question: str) -> None:
    """Raise BadInput for a question in which there is nothing to be seen."""
    if is_void(question):
        raise BadInput("the question is empty; ask something")


@dataclass
class _Clock(NullProgress):
    """Notes when the engine takes a request up."""

    began: dict[str, float] = field(default_factory=dict)

    def begin_work(self, names: Iterable[str]) -> None:
        self.began |= dict.fromkeys(names, time.monotonic())


def run(
    question: str,
    engine: Engine,
    adapters: Sequence[Path | None],
    *,
    wording: Wording = Wording(),
    sampling: Sampling = ANSWERING,
    hear: Hear = lambda place, text: None,
) -> Iterator[tuple[int, SpokenAnswer]]:
    """Yield the answer with each adapter, or (None) without, with its place, in the engine's order: without one first.

    `hear` is told the place of an adapter among them, as a string, and the text so far, where the engine can tell it.
    """
    check_question(question)
    asked = (Question(id="asked", question=question, answer=_GOLD),)
    task = QaTask(id="asked", domain="qa", title=wording.title, context=wording.passage, questions=asked)
    (query,) = QA().queries(task, in_context=bool(wording.passage), chat=wording.chat)
    requests = [Request(str(place), query.prompt, sampling, path) for place, path in enumerate(adapters)]
    clock, listening = _Clock(), [hear]
    if hasattr(engine, "hear"):
        engine.hear = lambda place, text: [each(place, text) for each in listening]
    try:
        yield from _answer(requests, engine, clock, adapters)
    finally:
        listening.clear()  # a server may go on to write what nobody waits for any more


def _answer(
    requests: Sequence[Request], engine: Engine, clock: _Clock, adapters: Sequence[Path | None]
) -> Iterator[tuple[int, SpokenAnswer]]:
    for each in sample_all([(request.id, request) for request in requests], engine, clock):
        began = clock.began.get(each.id, time.monotonic())
        answer = None if each.error is not None else extract_answer(each.text, each.finish)
        said = each.text, answer, each.finish, each.tokens
        place = int(each.id)
        yield place, SpokenAnswer(adapters[place], *said, time.monotonic() - began, each.error)
