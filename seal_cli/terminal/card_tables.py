"""A card as text for people: what the update did, the rows beside each other, what it took."""

import html
from collections.abc import Sequence
from typing import TYPE_CHECKING

from seal_cli.terminal.tables import Rows, as_markdown, as_text

if TYPE_CHECKING:
    from stages.card import Card, CardRow
    from stages.reporting.cards.cost import Cost
    from stages.reporting.cards.measures import ChangedAnswer, Difference, Share
    from stages.reporting.page import PageTable

_NOT_MEASURED = "not measured"
_LONGEST = 120  # letters of an answer
_ROWS = (
    *("row", "accuracy %", "95 % interval", "against none", "its 95 % interval", "p", "unscored"),
    *("prompt tokens", "answer tokens"),
)


def format_card(card: "Card", width: int) -> str:
    """Format a card as tables no wider than `width`, on a terminal."""
    parts = [as_text(table.columns, table.rows, width) for table in list_card_tables(card)[:3]]
    return "\n".join([*parts, *(f"{line}\n" for line in [_describe_gate(card), _describe_proof(card)] if line)])


def format_card_page(card: "Card") -> str:
    """Format a card in Markdown, with the answers that were lost and invented."""
    first, *others = list_card_tables(card)
    parts = [f"# {first.title}\n", f"{first.note}\n", as_markdown(first.columns, first.rows)]
    for table in others:
        rows = [[html.escape(cell, quote=False) for cell in row] for row in table.rows]
        parts += [f"## {table.title}\n", *([f"{table.note}\n"] if table.note else []), as_markdown(table.columns, rows)]
    return "\n".join(parts)


def list_card_tables(card: "Card") -> "list[PageTable]":
    """List a card's tables: what it measures, the rows, what was taken, and the answers that were lost and invented."""
    from stages.reporting.page import PageTable

    about = f"{card.questions} questions about {card.tasks} passages, graded by {card.judge}. "
    about += "Intervals are bootstrapped over passages; p is of a paired sign-flip test."
    told = " ".join(f"{each}." for each in (_describe_gate(card), _describe_proof(card)) if each) + f" {about}"
    title = f"Card of the adapter {card.adapter.id}"
    measures = PageTable(title, told, ("measure", "value", "of"), _list_measures(card))
    rows = PageTable("Beside other ways", "", _ROWS, [_list_cells(row) for row in card.rows])
    cost = PageTable("Cost", "", _COST, _list_costs(card))
    changed = [
        PageTable(title, "", ("task", "question", "before", "now"), _list_answers(answers))
        for title, answers in (("Lost", card.lost_answers), ("Invented", card.invented_answers))
        if answers
    ]
    return [measures, rows, cost, *changed]


def _describe_gate(card: "Card") -> str:
    if card.gate is None:
        return ""
    told = "passed" if card.gate.passed else f"failed: {'; '.join(card.gate.reasons)}"
    return f"Gate `{card.gate.expression}`: {told}"


def _describe_proof(card: "Card") -> str:
    """Say that the files are those that answered, or what speaks against it where the gate does not say that."""
    told = [
        each for each in (*card.proof.faults, *card.proof.unknown) if not card.gate or each not in card.gate.reasons
    ]
    if told:
        return f"Not proven: {'; '.join(told)}"
    found = card.proof.fingerprint if not card.proof.faults else None
    return "" if found is None else f"The adapter's files are those that answered ({found})"


def _list_measures(card: "Card") -> Rows:
    """List the four measures, each with its value, and what it is of. What was not measured says why."""
    rows = [("learned", *_tell_difference(card.learned))]
    rows += [
        (name, *_tell_share(share, card.missing.get(name)))
        for name, share in (("kept", card.kept), ("lost", card.lost))
    ]
    found = card.invented
    rows.append(("invented", *_tell_share(found.all if found else None, card.missing.get("invented"))))
    if found:
        rows.append(("- about facts", *_tell_share(found.facts, None)))
        rows.append(("- where there is no answer", *_tell_share(found.unanswerable, None)))
    return rows


def _tell_difference(found: "Difference") -> tuple[str, str]:
    if found.points is None or found.low is None or found.high is None:
        return _NOT_MEASURED, "no question is scored both with the update and without it"
    ends = f"{found.low:+.1f} … {found.high:+.1f}"
    about = f"95 % interval {ends}, p {found.p_value:.4f}"
    if found.least < found.most and (found.most - found.least) > 1e-9:
        about += f"; {found.least:+.1f} … {found.most:+.1f} with unscored answers either way"
    return f"{found.points:+.1f} points", about


def _tell_share(share: "Share | None", missing: str | None) -> tuple[str, str]:
    if share is None or share.percent is None:
        return _NOT_MEASURED, missing or (f"none of {share.asked} could be" if share else "")
    about = f"{share.count} of {share.of}, {share.asked} asked"
    if share.open:
        about += f"; {share.least:.1f} … {share.most:.1f} with the {share.open} unscored either way"
    return f"{share.percent:.1f} %", about


def _list_cells(row: "CardRow") -> Sequence[str]:
    own, gain = row.accuracy, row.difference
    cells = [row.name, _number(own.percent), _span(own.low, own.high)]
    if gain is None:
        cells += ["", "", ""]
    else:
        p_value = "" if gain.p_value is None else f"{gain.p_value:.4f}"
        cells += [_number(gain.points, "+"), _span(gain.low, gain.high, "+"), p_value]
    return [*cells, str(own.unscored or ""), _number(row.prompt_tokens), _number(row.answer_tokens)]


def _number(value: float | None, sign: str = "") -> str:
    return "" if value is None else f"{value:{sign}.1f}"


def _span(low: float | None, high: float | None, sign: str = "") -> str:
    return "" if low is None or high is None else f"{low:{sign}.1f} … {high:{sign}.1f}"


_COST = ("what", "files", "seconds", "tokens read", "tokens written", "tokens trained", "steps", "joules")


def _list_costs(card: "Card") -> Rows:
    made, measured = card.cost.making, card.cost.measuring
    if made is None and measured is None:
        return [["not told: no file has a manifest beside it", *[""] * (len(_COST) - 1)]]
    return [
        _list_cost(name, cost) for name, cost in (("the adapter", made), ("this card", measured)) if cost and cost.files
    ]


def _list_cost(name: str, cost: "Cost") -> Sequence[str]:
    told = "not told" if cost.joules is None else f"{cost.joules:.0f}"
    if cost.joules is not None and cost.joules_of < cost.files:
        told += f" (of {cost.joules_of} files)"
    counts = (str(each or "") for each in (cost.read, cost.written, cost.trained, cost.steps))
    return [name, str(cost.files), f"{cost.seconds:.1f}", *counts, told]


def _list_answers(answers: "Sequence[ChangedAnswer]") -> Rows:
    return [[_shorten(text) for text in (each.task, each.question, each.before, each.after)] for each in answers]


def _shorten(text: str) -> str:
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"
