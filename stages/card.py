"""score → card: what an update taught, kept, broke and cost, beside what else one could have done, and its gate."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from stages.errors import BadInput, MissingInput
from stages.records.adapter_paths import get_relative_path
from stages.records.record import Adapter
from stages.records.strict_json import parse_json
from stages.reporting.cards.answers import AnswerSheet, check_same_questions
from stages.reporting.cards.baselines import AFTER, BEFORE, check_baseline
from stages.reporting.cards.cost import Cost, FileCost, sum_costs
from stages.reporting.cards.expression import Bounds, GateExpression, Measures, read_gate_expression
from stages.reporting.cards.measures import (
    Accuracy,
    ChangedAnswer,
    Difference,
    Share,
    list_invented,
    list_lost,
    measure_accuracy,
    measure_anchors,
    measure_difference,
    measure_invented,
)
from stages.reporting.cards.proof import Proof, prove_adapter

MEASURES = ("learned", "kept", "lost", "invented")
_NO_ANCHORS = "no anchors were asked: seal eval --retain FILE"
_NO_PROBES = "no probes were asked, questions that the documents do not answer"


@dataclass(frozen=True)
class CardRow:
    """One way to answer the exam. `difference`: to the model without an update; None for that itself.

    `prompt_tokens`, `answer_tokens`: of a question, in the mean; None: no manifest says.
    """

    name: str
    questions: int
    accuracy: Accuracy
    difference: Difference | None
    prompt_tokens: float | None
    answer_tokens: float | None


@dataclass(frozen=True)
class CardAdapter:
    """The adapter that the card is about; `path` from the run's folder, None where the training failed."""

    id: str
    path: str | None
    model: str


@dataclass(frozen=True)
class Invented:
    """Wrong answers to probes that were not wrong before: all, and those about facts and about what has no answer."""

    all: Share
    facts: Share
    unanswerable: Share


@dataclass(frozen=True)
class CardCost:
    """What the adapter took (`making`), and what was asked for the card (`measuring`); None: no manifest says."""

    making: Cost | None
    measuring: Cost | None
    files: Sequence[FileCost]


@dataclass(frozen=True)
class GateResult:
    """Whether the gate held, and if not, why."""

    expression: str
    passed: bool
    reasons: tuple[str, ...]


@dataclass(frozen=True)
class Card:
    """What an update did. `missing` says of a measure without a value why it has none; it is never 0."""

    adapter: CardAdapter
    tasks: int
    questions: int
    judge: str
    learned: Difference
    kept: Share | None
    lost: Share | None
    invented: Invented | None
    rows: Sequence[CardRow]
    cost: "CardCost"
    missing: Mapping[str, str]
    lost_answers: Sequence[ChangedAnswer] = ()
    invented_answers: Sequence[ChangedAnswer] = ()
    proof: Proof = field(default_factory=lambda: Proof(None))  # of a card from before there was one
    gate: GateResult | None = None

    @property
    def measures(self) -> Measures:
        """What a gate may ask about, in points or per cent: the four measures, and each row's accuracy."""
        found: dict[str, Bounds | str] = {"learned": Bounds(self.learned.least, self.learned.most)}
        if self.learned.points is None:
            found["learned"] = "no question is scored both with the update and without it"
        shares = {"kept": self.kept, "lost": self.lost, "invented": self.invented.all if self.invented else None}
        for name, share in shares.items():
            known = share is not None and share.percent is not None and name not in self.missing
            found[name] = Bounds(share.least, share.most) if share and known else self.missing[name]
        return found | {row.name: Bounds(row.accuracy.least, row.accuracy.most) for row in self.rows}


def run(
    rows: Mapping[str, AnswerSheet],
    probes: Mapping[str, AnswerSheet],
    *,
    costs: Sequence[FileCost] = (),
    base: Path = Path(),
    gate: str | None = None,
    released: bool = False,
    seed: int = 0,
) -> Card:
    """Make the card of the rows `none` and `adapter`, and of the others beside them.

    `base`: the folder that the adapter's path is told from. `released`: the adapter will be where the gate holds, so
    that it only does if the files that answered are known. Raises BadInput for rows that were asked other questions, or
    another model, or in another way, or hold no adapter, or several; BadConfig for a gate that cannot be read.
    """
    rule = read_gate_expression(gate, (*MEASURES, *rows)) if gate is not None else None
    check_same_questions([rows[BEFORE], *(sheet for name, sheet in rows.items() if name != BEFORE)])
    before, after = rows[BEFORE], rows[AFTER]
    adapter = _find_adapter(after)
    check_baseline(rows, probes)
    asked = [sheet for each in (rows, probes) for sheet in each.values() if adapter.id in sheet.adapters]
    learned = measure_difference(after, before, seed)
    made = [_make_row(name, sheet, before, seed) for name, sheet in rows.items()]
    missing = dict[str, str]()
    kept, lost = measure_anchors(after) if after.anchors else (None, None)
    invented = _measure_probes(probes, missing)
    if kept is None or kept.percent is None:
        why = f"the model knew none of the {kept.asked} anchors before" if kept else _NO_ANCHORS
        missing |= {"kept": why, "lost": why}
    card = Card(
        adapter=_describe_adapter(adapter, base),
        tasks=len(after.tasks),
        questions=len(after.answers),
        judge=next(iter(after.judges)),
        learned=learned,
        kept=kept,
        lost=lost,
        invented=invented,
        rows=made,
        cost=_add_up(costs),
        missing=missing,
        lost_answers=list_lost(after),
        invented_answers=list_invented(probes[AFTER], probes[BEFORE]) if invented else (),
        proof=prove_adapter(adapter, asked, released=released),
    )
    return _decide(card, rule) if rule else card


def dump_card(card: Card) -> dict[str, Any]:
    """Return the card as card.json has it."""
    return {"v": 1, **asdict(card)}


def read_card(file: Path) -> Card:
    """Read a card.json. Raises MissingInput or BadInput for what is none."""
    if not file.is_file():
        raise MissingInput(f"--card {file}: no such file; `seal card RUN` writes it")
    try:
        found = parse_json(file.read_bytes())
        return TypeAdapter(Card).validate_python({key: value for key, value in found.items() if key != "v"})
    except (ValueError, AttributeError):
        raise BadInput(f"--card {file}: not a card; `seal card RUN` writes RUN/card.json") from None


def _decide(card: Card, rule: GateExpression) -> Card:
    reasons = (*rule.find_failures(card.measures), *card.proof.faults)
    return replace(card, gate=GateResult(rule.text, not reasons, reasons))


def _make_row(name: str, sheet: AnswerSheet, before: AnswerSheet, seed: int) -> CardRow:
    difference = measure_difference(sheet, before, seed) if sheet is not before else None
    accuracy = measure_accuracy(sheet, seed)
    return CardRow(name, len(sheet.answers), accuracy, difference, sheet.prompt_tokens, sheet.answer_tokens)


def _measure_probes(probes: Mapping[str, AnswerSheet], missing: dict[str, str]) -> Invented | None:
    """Compare the probes of both rows; why there is nothing to compare goes to `missing`."""
    if not probes:
        missing["invented"] = _NO_PROBES
        return None
    before, after = probes[BEFORE], probes[AFTER]
    check_same_questions([before, after])
    found = Invented(
        measure_invented(after, before),
        measure_invented(after, before, answerable=True),
        measure_invented(after, before, answerable=False),
    )
    if found.all.percent is None:
        missing["invented"] = f"the model claimed a wrong answer to each of the {found.all.asked} probes before"
    return found


def _find_adapter(sheet: AnswerSheet) -> Adapter:
    if len(sheet.adapters) != 1:
        told = f"{len(sheet.adapters)} adapters" if sheet.adapters else "no adapter"
        raise BadInput(f"{sheet.file}: its lines name {told}; a card is about one: seal eval ADAPTERS --on EXAM")
    return next(iter(sheet.adapters.values()))


def _describe_adapter(adapter: Adapter, base: Path) -> CardAdapter:
    path = get_relative_path(base, adapter.path) if adapter.path else None
    return CardAdapter(adapter.id, path, adapter.model)


def _add_up(files: Sequence[FileCost]) -> CardCost:
    making, measuring = (sum_costs(files, measures=each) if files else None for each in (False, True))
    return CardCost(making, measuring, files)
