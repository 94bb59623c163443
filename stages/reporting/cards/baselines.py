"""Whether the row `none` is the baseline of `adapter`: the same model, asked the same way, without an update."""

from collections.abc import Mapping
from typing import Any

from stages.errors import BadInput
from stages.reporting.cards.answers import AnswerSheet

BEFORE, AFTER = "none", "adapter"  # the rows that every card has
_OF_ONE_MODEL = (BEFORE, "passage", "in-context", "rag", AFTER, "adapter-rag")  # a row of another name may be anyone's
_FROM_MEMORY = (BEFORE, "passage", AFTER)  # nothing is looked up


def check_baseline(rows: Mapping[str, AnswerSheet]) -> None:
    """Raise BadInput where a difference between the rows would not be what the adapter does."""
    before = rows[BEFORE]
    for owner in before.adapters:
        way = f"make it again: seal eval EXAM --model DIR -o {before.file}"
        raise BadInput(f"{before.file}: its lines name the adapter {owner}; {BEFORE} is the model without one; {way}")
    for name in _FROM_MEMORY:
        _check_memory(name, rows)
    for name in _OF_ONE_MODEL:
        if name in rows:
            _check_model(rows[name], before)
    _check_settings(rows[AFTER], before)


def _check_memory(name: str, rows: Mapping[str, AnswerSheet]) -> None:
    sheet = rows.get(name)
    found = next((key for key, answer in sheet.answers.items() if answer.chunks), None) if sheet else None
    if sheet and found:
        raise BadInput(
            f"{sheet.file}: {sheet.describe(found)} was answered with retrieved passages, and the row {name} is asked "
            f"without; make it again without --retrieve, or call it {'rag' if name == BEFORE else 'adapter-rag'}"
        )


def _check_model(sheet: AnswerSheet, before: AnswerSheet) -> None:
    """The models' names must be one, unless the manifests say that their weights are."""
    if len(sheet.models) > 1:
        raise BadInput(f"{sheet.file}: was answered by several models ({', '.join(sheet.models)}); a row is of one")
    (own,), (theirs,) = sheet.models, before.models
    weights = _get_weights(sheet, own), _get_weights(before, theirs)
    if weights[0] != weights[1] if None not in weights else own != theirs:
        told = f"other weights of {own}" if own == theirs else f"{own}, and {before.file} by {theirs}"
        way = "answer both with the same model: seal eval FILE --model DIR"
        raise BadInput(f"{sheet.file}: was answered by {told}; {way}")


def _get_weights(sheet: AnswerSheet, model: str) -> str | None:
    """The fingerprint of the model, where the manifest tells it of the one that the lines name."""
    found = sheet.settings.get("weights")
    return found if isinstance(found, str) and sheet.settings.get("model") == model else None


def _check_settings(after: AnswerSheet, before: AnswerSheet) -> None:
    own, theirs = (_list_ways(sheet.settings) for sheet in (after, before))
    for name in own:
        if name in theirs and own[name] != theirs[name]:
            raise BadInput(
                f"{after.file}: was asked with {name} {own[name]}, and {before.file} with {theirs[name]}; "
                "ask both the same way: seal eval FILE --on EXAM"
            )


def _list_ways(settings: Mapping[str, Any]) -> dict[str, Any]:
    """How the questions were put, as far as the settings say."""
    sampling = settings.get("sampling")
    found = {name: settings.get(name) for name in ("chat", "in_context")}
    found["max_tokens"] = sampling.get("max_tokens") if isinstance(sampling, dict) else None
    return {name: value for name, value in found.items() if value is not None}
