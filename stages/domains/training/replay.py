"""Replay: texts that are mixed into every training set, so that an update does not cost what was known before.

They are those of a file, or of the other lines of the run, in a share of all sequences, drawn for each self-edit (or
pool) from the run's seed and what it says. (Own texts as a means against forgetting:
arXiv 2603.22213, and the replay of anchors in continual learning.)
"""

import math
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, field, replace
from fractions import Fraction
from itertools import islice
from pathlib import Path
from random import Random
from typing import Any, cast

from stages.domains.base import Domain
from stages.domains.writing import write_fixed_edits
from stages.errors import BadConfig, BadEdit
from stages.interfaces import Example, TrainingSet
from stages.records.arc import ArcTrainingData
from stages.records.frozen import content_id, derive_seed
from stages.records.parser import read_records
from stages.records.record import Record, SelfEdit
from stages.records.schema import TrainingData
from stages.records.task import Task
from stages.sources.texts import read_flag_file

_SELF = "self"
_PASSAGE = "none"  # the template of a self-edit that says nothing beside the passage


@dataclass(frozen=True)
class _Text:
    """A sequence to replay, and the task that it is of."""

    sequence: str
    task_id: str | None = None


@dataclass(frozen=True)
class ReplaySource:
    """Texts to replay, and which share of a training set's sequences they are, above 0 and below 1."""

    name: str  # as the flag says it
    share: Fraction  # as it is written: 0.7, 0.2 and 0.1 are 1
    texts: tuple[_Text, ...] = ()

    def draw(self, seed: int, own: Collection[str], count: float) -> list[str]:
        """Draw so many of the texts, none of them of its own tasks; a fraction is one more as often as it says."""
        random = Random(seed)
        whole = math.floor(count) + (random.random() < count % 1)
        others = (text.sequence for text in _shuffle(self.texts, random) if text.task_id not in own)
        return list(islice(others, whole))


@dataclass
class ReplayingDomain:
    """A domain whose training sets have replayed sequences before their own. All else is as in `domain`.

    `pooled`: the sets are parts of pools, and are left as they are; the pool asks for its own replayed sequences.
    """

    domain: Domain
    _: KW_ONLY
    sources: Sequence[ReplaySource]
    seed: int
    pooled: bool = False
    short: int = field(default=0, init=False)  # training sets with fewer than their share

    def __getattr__(self, name: str) -> Any:
        return getattr(self.domain, name)

    @property
    def training_settings(self) -> Mapping[str, Any]:
        """Add what is replayed; of other lines of the run, whose texts are the input, only that they are."""
        texts = {each.name: content_id([text.sequence for text in each.texts]) for each in self.sources}
        told = {name: "" if name.startswith(f"{_SELF}:") else digest for name, digest in texts.items()}
        return {**self.domain.training_settings, "replay": told}

    def make_training_set(self, task: Task, edit: SelfEdit) -> TrainingSet:
        """Put the replayed sequences before those of the self-edit. Raises BadEdit as the domain does."""
        found = self.domain.make_training_set(task, edit)
        if self.pooled:
            return found
        texts = self.draw([task.id], edit.get_content_id(task.id), len(found.examples))
        return replace(found, examples=(*(Example("", text) for text in texts), *found.examples), replayed=len(texts))

    def show_data(self, task: Task, edit: SelfEdit) -> TrainingData | ArcTrainingData:
        """Show the replayed sequences before those of the self-edit."""
        found = self.domain.show_data(task, edit)
        if self.pooled or not isinstance(found, TrainingData) or not found.sequences:
            return found
        texts = self.draw([task.id], edit.get_content_id(task.id), len(found.sequences))
        return found.model_copy(update={"sequences": (*texts, *found.sequences)})

    def draw(self, tasks: Collection[str], content: str, own: int) -> list[str]:
        """Draw the texts that go with so many sequences of these tasks, by what the `content` of them says."""
        rest = 1 - sum(each.share for each in self.sources)
        counts = [float(own * each.share / rest) for each in self.sources]
        seeds = [derive_seed(self.seed, content, place) for place in range(len(counts))]
        drawn = [each.draw(seed, tasks, count) for each, seed, count in zip(self.sources, seeds, counts, strict=True)]
        self.short += any(len(texts) < math.floor(count) for texts, count in zip(drawn, counts, strict=True))
        return [text for texts in drawn for text in texts]

    def describe_shortage(self) -> Iterator[str]:
        """Say how many training sets have fewer replayed sequences than they should."""
        if self.short:
            yield f"note: --replay: {self.short} training sets have fewer texts than their share: there are no more"


def _shuffle(texts: Sequence[_Text], random: Random) -> Iterator[_Text]:
    """Yield the texts in a drawn order, one by one: most are not asked for."""
    moved: dict[int, int] = {}
    for place in range(len(texts)):
        other = place + int(random.random() * (len(texts) - place))
        yield texts[moved.get(other, other)]
        moved[other] = moved.get(place, place)


def add_replay(
    domain: Domain,
    flags: Sequence[str],
    records: Sequence[Record],
    seed: int,
    lines: int,
    *,
    pooled: bool = False,
    sequential: bool = False,
) -> Domain:
    """Return the domain with what `--replay` names, or as it is. `lines`: how many the whole input has.

    Raises BadConfig for what cannot be replayed, and BadInput for a file with bad lines.
    """
    if not flags:
        return domain
    if domain.chosen_by_edit:
        raise BadConfig(
            f"--replay {flags[0]}: {domain.name} self-edits are not texts, and choose their rows; leave it out"
        )
    own = next((flag for flag in flags if flag.rpartition(":")[0] == _SELF), None)
    if own and (pooled or sequential):
        why = "a pool is trained on all of its lines" if pooled else "a step would learn passages of later steps"
        raise BadConfig(f"--replay {own}: {why}; give a file: --replay FILE:SHARE")
    sources = [_read_source(flag, domain, records, lines) for flag in flags]
    if sum(each.share for each in sources) >= 1:
        raise BadConfig(f"--replay {' --replay '.join(flags)}: the shares leave nothing to the self-edits")
    names = [flag.rpartition(":")[0] for flag in flags]
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise BadConfig(f"--replay {twice}: twice; give one share for it")
    return cast(Domain, ReplayingDomain(domain, sources=sources, seed=seed, pooled=pooled))


def _read_source(flag: str, domain: Domain, records: Sequence[Record], lines: int) -> ReplaySource:
    name, _, share = flag.rpartition(":")
    try:
        part = Fraction(share)
    except (ValueError, ZeroDivisionError):
        part = Fraction(0)
    if not name or not 0 < part < 1:
        raise BadConfig(f"--replay {flag}: take FILE:SHARE or self:SHARE, a share above 0 and below 1: self:0.25")
    if name == _SELF and len(records) < lines:
        raise BadConfig(
            f"--replay {flag}: of {lines} lines only {len(records)} are here (--shard, --limit), and the "
            "adapters would be others; give the file of all of them: --replay FILE:SHARE"
        )
    found = _list_texts(records, domain) if name == _SELF else _read_texts(Path(name), flag, domain)
    texts = tuple(sorted(set(found), key=lambda text: (text.sequence, text.task_id or "")))
    if name == _SELF and len({text.task_id for text in texts}) < 2:
        raise BadConfig(f"--replay {flag}: the lines are of one task, so there is no other to replay; give a file")
    if not texts:
        raise BadConfig(f"--replay {flag}: no text in it")
    return ReplaySource(flag, part, texts)


def _read_texts(path: Path, flag: str, domain: Domain) -> Iterable[_Text]:
    """Read task or edit lines, or a text whose blank lines lie between sequences."""
    needed = "; give lines of `seal tasks` or `seal generate`, or a text"
    text = read_flag_file(path, f"--replay {flag}", needed).strip()
    if text.startswith("{"):
        return _list_texts(read_records(text.encode().split(b"\n"), str(path)), domain)
    return (_Text(piece.strip()) for piece in text.split("\n\n") if piece.strip())


def _list_texts(records: Iterable[Record], domain: Domain) -> Iterator[_Text]:
    """Yield the training sequences of each line's self-edit; of a line without one its passage."""
    for record in records:
        try:
            line = record if record.edit else next(write_fixed_edits([record], domain, _PASSAGE, ""))
            if line.edit is None or line.edit.error is not None or line.edit.text is None:
                continue
            rows = domain.make_training_set(record.task, line.edit).examples
        except BadEdit:
            continue
        yield from (_Text(f"{row.prompt}{row.completion}", record.task.id) for row in rows)


def describe_replay(domain: Domain) -> list[str]:
    """Say what is wanting in the training sets of a domain that replays."""
    return list(domain.describe_shortage()) if isinstance(domain, ReplayingDomain) else []
