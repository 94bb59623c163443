"""The adapters to accept, from a directory or from lines, and the texts about which engines are compared."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from stages.domains.base import Domain, TrainingSetup, find_domain
from stages.domains.jobs import make_lesson, set_up_training
from stages.domains.likelihood import LikelihoodMeter
from stages.errors import BadConfig, BadEdit, BadInput, MissingInput, Untrainable
from stages.interfaces import Example, Probe
from stages.models.adapter_checks import find_moved_model, make_adapter_check, read_adapter
from stages.models.config import get_context_length
from stages.records.record import Record
from stages.sources.texts import read_flag_file
from stages.tokens.tokenization import encode_example

_TEXTS = (  # ours; of an adapter about which nothing else is known
    "The first thing that anyone asked was where the road went after the bridge.",
    "Question: What is the capital of France?\nAnswer: Paris",
    "In 1969 the Apollo 11 mission landed two people on the Moon.",
    "Let's read the following passage and produce a list of implications derived from it.",
    "def add(a, b):\n    return a + b",
    "She opened the letter, read it twice, and put it back without a word.",
    "Water boils at 100 degrees Celsius at sea level, and at less on a mountain.",
    "Dear customer, thank you for your order. It will be sent within two working days.",
)


@dataclass(frozen=True)
class Subject:
    """An adapter, the model that it was trained on, and the lines about it, if there are any."""

    name: str
    path: Path
    model: str
    lines: Sequence[Record] = field(default=(), repr=False)


def read_directory(path: Path) -> Subject:
    """Return the adapter of a PEFT directory. Raises MissingInput or BadInput for one that is not whole."""
    return Subject(path.resolve().name, path, read_adapter(path).base or "")


def list_subjects(lines: Iterable[Record]) -> list[Subject]:
    """Return the adapters of lines, in their order. Raises BadInput where no line has one."""
    found: dict[str, list[Record]] = {}
    for line in lines:
        if line.adapter and line.adapter.path:
            found.setdefault(line.adapter.id, []).append(line)
    if not found:
        raise BadInput("no line has an adapter (run `seal adapt` first)")
    firsts = ((name, own, own[0].adapter) for name, own in found.items())
    return [Subject(name, Path(each.path), each.model, own) for name, own, each in firsts if each and each.path]


def find_base(subjects: Sequence[Subject], base: str | None, folders: Sequence[Path]) -> str:
    """Return the checkpoint on which the reference puts the adapters.

    Raises BadConfig where they name none, or several, MissingInput where it is not here.
    """
    names = {subject.path: subject.model for subject in subjects}
    moved = None if base else find_moved_model(names, folders)
    known = sorted({base or moved or name for name in names.values()})
    if len(known) != 1 or not known[0]:
        told = f"the adapters name {' and '.join(known)}" if any(known) else "nothing says what it was trained on"
        raise BadConfig(f"which model? {told}; give --base DIR")
    if not Path(known[0]).exists() and known[0].startswith((".", "/")):
        raise MissingInput(f"{known[0]}: the model that the adapter was trained on is not here; give --base DIR")
    return known[0]


def check_subjects(subjects: Sequence[Subject], base: str) -> None:
    """Raise BadInput or MissingInput for an adapter that is not whole, or not of this model."""
    check = make_adapter_check(base)
    for subject in subjects:
        read_adapter(subject.path)  # a whole model in an adapter's place is nothing to compare
        check(subject.path, base)
        _check_line(subject)


def check_served(folder: Path) -> None:
    """Raise BadInput or MissingInput for what an engine here cannot have as the adapter: no whole one, nor a model."""
    if not is_merged_model(folder):
        read_adapter(folder)


def is_merged_model(folder: Path) -> bool:
    """Return True for a whole model, False for an adapter."""
    return not (folder / "adapter_config.json").exists() and (folder / "config.json").exists()


def _check_line(subject: Subject) -> None:
    """Raise BadInput where a directory is not as its line says that it was trained: other weights, another alpha."""
    adapter = subject.lines[0].adapter if subject.lines else None
    fit = adapter.fit if adapter and not adapter.step else {}  # a sequence's adapter has the ranks of all its steps
    config = read_adapter(subject.path).config
    for field_name, key in (("rank", "r"), ("alpha", "lora_alpha")):
        if field_name in fit and key in config and float(fit[field_name]) != float(config[key]):
            told = f"its settings say {key} {config[key]:g}, its line {fit[field_name]:g}"
            raise BadInput(f"adapter {subject.path}: {told}; take the directory that `seal adapt` wrote")


# ---- texts


@dataclass(frozen=True)
class ProbeTexts:
    """Where texts come from, and how many tokens of them are measured at most."""

    file: Path | None
    tokens: int

    def list_examples(self, subject: Subject) -> Iterator[Example]:
        """Yield the texts of a file, a line each; else those that the adapter was trained on; else some of ours."""
        if self.file:
            rows = read_flag_file(self.file, "--texts").splitlines()
            yield from (Example("", row) for row in rows if row.strip())
        elif subject.lines:
            domain = find_domain({line.task.domain for line in subject.lines})
            yield from _list_training_rows(domain, subject)
            if not domain.judge:
                answerable = [line for line in subject.lines if getattr(line.task, "questions", ())]
                yield from LikelihoodMeter(domain, "answers").list_examples(answerable)
        else:
            yield from (Example("", text) for text in _TEXTS)

    def make_probes(self, subject: Subject, tokenizer: Any, network: Any) -> list[Probe]:
        """Encode the texts, without an end, up to the most tokens; a text that has fewer than two is left out.

        Raises BadInput where none is left.
        """
        found, left, context = list[Probe](), self.tokens, get_context_length(network.config)
        for example in self.list_examples(subject):
            try:
                tokens = encode_example(tokenizer, example, end=False)
            except Untrainable:
                continue
            first = max(tokens.prompt_tokens, 1)
            ids = tokens.ids[: first + left]
            if len(ids) <= first or (context is not None and len(tokens.ids) >= context) or len(ids) < len(tokens.ids):
                continue
            found.append(Probe(example.prompt, example.completion, tuple(ids), first))
            left -= len(ids) - first
        if not found:
            raise BadInput(f"{self.file or subject.name}: no text has two tokens or more, and room; give --texts FILE")
        return found


def _list_training_rows(domain: Domain, subject: Subject) -> Iterator[Example]:
    trained = set_up_training(domain, TrainingSetup(domain.defaults.fit, 0, None, None), "")
    for line in subject.lines:
        if line.edit and line.adapter and not line.adapter.origin:
            try:
                yield from make_lesson(trained, line).examples
            except (BadEdit, Untrainable):
                continue
