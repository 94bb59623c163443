"""Running a stage, from the shell or a notebook: a Stage prepares Work, whose Worker makes the lines.

examples/loop.py shows it: resume(Generate(LocalEngine("DIR"), samples=2), records, Path("edits.jsonl"))
"""

import json
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

from stages.errors import ExistingOutput
from stages.files import make_folder, replace_file, write_all
from stages.interfaces import Engine, NullProgress, Progress, Request
from stages.judges.base import Case, Judge
from stages.records.adapter_paths import are_same_line
from stages.records.frozen import FrozenModel
from stages.records.jsonl import encode_line
from stages.records.parser import parse_record, read_records
from stages.records.record import Record, Section
from stages.records.stored.by_key import RecordsByKey
from stages.records.strict_json import parse_json
from stages.services.base import Call
from stages.settings import Sampling

WHOLE_INPUT = {"limit": None, "shard": None}  # settings of a run; the shell puts in --limit and --shard


@dataclass(frozen=True)
class Plan:
    """The lines a stage will write, computed up front so that an interrupted run can resume.

    A line's key comes from its content: another order or a shard changes none. `wanted` has each key's line without
    the section that the stage adds. `still_valid` says whether a finished line need not be made again: what it names
    is there, and nothing on it is lacking. `optional`: some lines may be left out. `unit_of`: keys of one unit are
    worked on together; None: each may be alone. `kin_of`: a finished line of a kin saves work on its others. `restore`
    gives the line that was read from a finished one, where the stage does more than to add its section.
    """

    section: Section
    wanted: Mapping[str, Record]
    key_of: Callable[[Record], str]
    still_valid: Callable[[Record], bool] = lambda line: True
    optional: bool = False
    unit_of: Callable[[str], str] | None = None
    kin_of: Callable[[str], str] | None = None
    restore: Callable[[Record], Record] | None = None

    def contains(self, line: Record) -> bool:
        """True if a finished line is one of these, made from the same input."""
        wanted = self.wanted.get(self.key_of(line))
        if wanted is None:
            return False
        return are_same_line(wanted, self.restore(line) if self.restore else line.grow(**{self.section: None}))

    def get_key(self, line: Record) -> str:
        """Return the key of a line, as the plan holds it."""
        key = self.key_of(line)
        return self.wanted.get_held(key) if isinstance(self.wanted, RecordsByKey) else key

    def without(self, keys: Collection[str]) -> "Plan":
        """Return the plan without these lines."""
        wanted = self.wanted
        if isinstance(wanted, RecordsByKey):
            return replace(self, wanted=wanted.without(keys))
        return replace(self, wanted={key: line for key, line in wanted.items() if key not in keys})


class Worker(Protocol):
    """Makes the lines of a Work. It holds the loaded model.

    One that gets lines in bursts has an attribute `has_more`: while it is true, the next line is there already, and a
    journal need not be synced before it.
    """

    def make(self, keys: Collection[str], progress: Progress = NullProgress()) -> Iterator[Record]:
        """Yield the lines of these keys of the plan, in any order, as they are done.

        The shell and `resume` give them as a mapping, in which a key is found at once.
        """

    def report(self) -> Iterable[str]:
        """Say what became of the work so far: calls, cost, what could not be read."""


@dataclass(frozen=True)
class Work:
    """The work of a stage on its records, planned before anything heavy is loaded."""

    plan: Plan
    settings: Callable[[], Mapping[str, Any]]  # for the manifest; a run with others cannot be resumed
    summary: str  # what a dry run says
    open: Callable[[Sequence[Record]], Worker]  # loads the model; the lines that are finished, as of each `make`
    notes: Sequence[str] = ()  # what the user should know beforehand
    unscored_hint: str = ""  # what to do about unscored lines
    count_misfits: Callable[[], tuple[int, str]] = lambda: (0, "")  # lines that the context has no room for; a note
    calls: Callable[[], Iterable[Call]] = tuple  # what a server would be asked
    cost_of: Callable[[str], float] = lambda key: 1.0  # of a line, beside the others: long ones are begun first
    leased: Mapping[str, Any] | None = None  # what the worker makes lines of, where it may come with each lease of keys
    folders: Sequence[Path] = ()  # where the work leaves files that its lines name
    claim: Callable[[], AbstractContextManager[object]] = nullcontext  # held while the work is done
    conclude: Callable[[Sequence[Record]], Iterable[str]] | None = None  # said of all lines when they are there
    countable: bool = True  # False: of the planned lines nobody knows beforehand how many there will be


@dataclass(frozen=True)
class Listing:
    """Cheap work: its lines are made anew each time."""

    settings: Mapping[str, Any]
    lines: Iterable[FrozenModel] = ()
    total: int | None = None


@dataclass
class Facts:
    """Facts of all lines of an input; the records that a stage gets may be a shard of them."""

    lines: int = 0
    domains: set[str] = field(default_factory=set)
    editors: set[str] = field(default_factory=set)  # models that the self-edits name
    students: set[str] = field(default_factory=set)  # models that the adapters name

    def add(self, record: Record) -> None:
        """Note what one line says."""
        self.domains.add(record.task.domain)
        self.editors |= {record.edit.model} if record.edit else set()
        self.students |= {record.adapter.model} if record.adapter else set()


class Source(Protocol):
    """The input that a stage's records are from.

    `folders`: where paths to adapters may lead from. `is_shard`: the other lines are worked on elsewhere.
    """

    facts: Facts
    folders: tuple[Path, ...]
    is_shard: bool

    def sift(self, records: Sequence[Record], check: Callable[[Record], object]) -> Sequence[Record]:
        """Return the records for which `check` raises no BadLine; the others are rejected."""

    def tell_unscored(self, reasons: Sequence[str | None]) -> None:
        """Say of which of the records the work cannot be done, and why: they stay unscored."""


class Stage(Protocol):
    """A stage with its settings."""

    @property
    def name(self) -> str: ...

    @property
    def needs(self) -> tuple[Section, ...]:
        """The sections that its input lines must have."""

    def prepare(self, records: Sequence[Record], source: Source | None = None) -> Work | Listing:
        """Check and plan everything that can be, before a model is loaded. Raises for what cannot be done."""


class WholeSource:
    """A Source whose records are all there is, as in a notebook: a line that cannot be used is an error."""

    def __init__(self, records: Sequence[Record]) -> None:
        self.facts, self.folders, self.is_shard = Facts(len(records)), tuple[Path, ...](), False
        for record in records:
            self.facts.add(record)

    def sift(self, records: Sequence[Record], check: Callable[[Record], object]) -> list[Record]:
        for record in records:
            check(record)
        return list(records)

    def tell_unscored(self, reasons: Sequence[str | None]) -> None:
        """Do nothing: the lines themselves will say it."""


class EngineSource(Protocol):
    """An engine that is not loaded yet, and the model it is to load."""

    @property
    def name(self) -> str:
        """hf, vllm, openai or pkg.mod:Class."""

    @property
    def served(self) -> bool:
        """True if a server does the work."""

    @property
    def chats(self) -> bool:
        """True if prompts are chats where nothing else says so."""

    def choose(self, named: Collection[str], moved: str | None = None) -> str:
        """Return the model: the given one, the one that has `moved`, or the one that all lines name."""

    def settings(self, model: str) -> Mapping[str, Any]:
        """Return what a run's settings say of the engine and its model."""

    def load(self, model: str, adapters: Sequence[Path] = ()) -> Engine:
        """Load the model, for requests with these adapters."""

    def calls(self, model: str, requests: Iterable[Request]) -> Iterator[Call]:
        """Yield what a server would be sent for these requests."""

    def find_unusable(self, adapters: Mapping[Path, str], model: str, folders: Sequence[Path]) -> dict[Path, Exception]:
        """Return the adapters that cannot be used on the model, and why."""

    def find_moved(self, adapters: Mapping[Path, str], folders: Sequence[Path]) -> str | None:
        """Return where the model that all adapters were trained on lies now, if its name leads nowhere."""

    def find_foreign(self, adapters: Mapping[Path, str], model: str) -> set[str]:
        """Return the models other than this one that the adapters were trained on."""


class JudgeSource(Protocol):
    """A judge that is not loaded yet."""

    @property
    def text(self) -> str:
        """What --judge says."""

    @property
    def offline(self) -> bool:
        """True if it answers here and always."""

    def settings(self) -> str:
        """Return what a run's settings say of the judge."""

    def limits(self) -> Mapping[str, Any]:
        """Return how its server is called, for a dry run."""

    def probe(self) -> None:
        """Raise if its server does not answer or refuses the key."""

    def load(self) -> Judge: ...

    def calls(self, cases: Iterable[Case]) -> Iterator[Call]:
        """Yield what a server would be asked."""


def describe_plan(text: str, settings: Sampling | Mapping[str, Any]) -> str:
    """Say what would be done, and how."""
    return f"{text}; {json.dumps(settings.settings if isinstance(settings, Sampling) else settings)}"


def resume(stage: Stage, records: Sequence[Record], file: Path, progress: Progress = NullProgress()) -> list[Record]:
    """Make the lines that the file lacks, add each to it as it comes, and return all in the plan's order.

    Run again after whatever has ended it, it goes on. Settings are not compared: other ones need another file. The
    shell's runs do that, and keep locks, rejects and crashed workers besides. Raises ExistingOutput, and leaves the
    file as it is, where it has lines that are none of these.
    """
    work = stage.prepare(records)
    if isinstance(work, Listing):
        return []
    plan, whole = work.plan, file.read_bytes().split(b"\n")[:-1] if file.exists() else []  # the last may be cut off
    found = list(read_records(whole, str(file)))
    for line in found:
        if not plan.contains(line):
            raise ExistingOutput(
                f"{file}: has a line of task {line.task.id} that is not of this run; give another file"
            )
    made = {plan.key_of(line): line for line in found if plan.still_valid(line)}
    make_folder(file.parent)
    replace_file(file, b"".join(map(encode_line, made.values())))
    missing = {key: None for key in plan.wanted if key not in made}
    if missing:
        with work.claim(), file.open("ab", buffering=0) as out:
            for line in work.open(list(made.values())).make(missing, progress):
                data = encode_line(line)
                write_all(out.fileno(), data)
                made[plan.key_of(line)] = parse_record(parse_json(data))  # as the next run will read it
    return [made[key] for key in plan.wanted if key in made]
