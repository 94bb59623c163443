"""Whether the rows and probes are about one adapter, one model and one exam, each asked as its name says."""

from collections.abc import Mapping
from typing import Any

from stages.errors import BadInput
from stages.reporting.cards.answers import AnswerSheet

WAYS = ("chat", "max_tokens", "stop", "quantize")  # settings of a question that rows share
BEFORE, AFTER = "none", "adapter"  # the rows that every card has
_OF_ONE_MODEL = (BEFORE, "passage", "in-context", "rag", AFTER, "adapter-rag")  # a row of another name may be anyone's
_WITHOUT_ADAPTER = {BEFORE: "", "in-context": " --in-context", "rag": " --retrieve FILE"}  # and how each is asked
_RETRIEVED = ("rag", "adapter-rag")
Sheets = Mapping[str, AnswerSheet]


def check_baseline(rows: Sheets, probes: Sheets) -> None:
    """Raise BadInput where a difference between rows, or between probes, would not be what the adapter does."""
    before, after = rows[BEFORE], rows[AFTER]
    for asked in (rows, probes):
        for name in _OF_ONE_MODEL:
            if name in asked:
                _check_adapter(name, asked[name], after)
                _check_passages(name, asked[name])
                _check_model(asked[name], before)
                _check_settings(asked[name], asked[BEFORE])
    if "rag" in rows and "adapter-rag" in rows:
        _check_settings(rows["adapter-rag"], rows["rag"], ("retrieve", "chunks"))
    _check_judges(rows, probes)


def _check_adapter(name: str, sheet: AnswerSheet, after: AnswerSheet) -> None:
    """Without an adapter, with another one (`passage`), or with the card's, and the same files of it."""
    if name in _WITHOUT_ADAPTER:
        for owner in sheet.adapters:
            way = f"make it again: seal eval EXAM --model DIR{_WITHOUT_ADAPTER[name]} -o {sheet.file}"
            told = f"its lines name the adapter {owner}; {name} is the model without one"
            raise BadInput(f"{sheet.file}: {told}; {way}")
        return
    own, theirs = set(sheet.adapters), set(after.adapters)
    if name == "passage":
        if own & theirs or not own:
            told = f"names the adapter {min(own & theirs)} of {after.file}" if own else "names no adapter"
            way = "adapt the edits of seal generate --template none, and ask that one"
            raise BadInput(f"{sheet.file}: {told}; the row passage is of one that learned the passages alone; {way}")
        return
    if own != theirs:
        told = f"is of {_name(own)}, and {after.file} of {_name(theirs)}"
        raise BadInput(f"{sheet.file}: {told}; a card is about one: seal eval ADAPTERS --on EXAM, for both")
    files = {each for each in (*sheet.fingerprints, *after.fingerprints) if each}
    if len(files) > 1:
        told = f"other files of the adapter {min(own)} answered than in {after.file} ({', '.join(sorted(files))})"
        raise BadInput(f"{sheet.file}: {told}; ask again those whose files are no longer there: the same `seal eval`")


def _name(adapters: set[str]) -> str:
    return f"the adapter {', '.join(sorted(adapters))}" if adapters else "no adapter"


def _check_passages(name: str, sheet: AnswerSheet) -> None:
    """Nothing stands in the prompt that the row's name does not say, and what it says does."""
    found = next((key for key, answer in sheet.answers.items() if answer.chunks), None)
    if found and name not in _RETRIEVED:
        raise BadInput(
            f"{sheet.file}: {sheet.describe(found)} was answered with retrieved passages, and the row {name} is asked "
            f"without; make it again without --retrieve, or call it {'rag' if name == BEFORE else 'adapter-rag'}"
        )
    if not found and name in _RETRIEVED:
        told = "no question was answered with a retrieved passage"
        raise BadInput(f"{sheet.file}: {told}, as the row {name} is; make it again with --retrieve FILE")
    shown = sheet.settings.get("in_context")
    if isinstance(shown, bool) and shown != (name == "in-context"):
        told, way = ("", "without") if shown else ("out", "with")
        raise BadInput(
            f"{sheet.file}: was asked with{told} the passage in sight, and the row {name} is not; make it again {way} "
            "--in-context"
        )


def _check_model(sheet: AnswerSheet, before: AnswerSheet) -> None:
    """The models' names must be one, unless the manifests say that their weights are."""
    if len(sheet.models) > 1:
        raise BadInput(f"{sheet.file}: was answered by several models ({', '.join(sheet.models)}); a row is of one")
    (own,), (theirs,) = sheet.models, before.models
    weights = get_weights(sheet, own), get_weights(before, theirs)
    if weights[0] != weights[1] if None not in weights else own != theirs:
        told = f"other weights of {own}" if own == theirs else f"{own}, and {before.file} by {theirs}"
        way = "answer both with the same model: seal eval FILE --model DIR"
        raise BadInput(f"{sheet.file}: was answered by {told}; {way}")


def get_weights(sheet: AnswerSheet, model: str) -> str | None:
    """Return the fingerprint of the model, where the manifest tells it of the one that the lines name."""
    found = sheet.settings.get("weights")
    return found if isinstance(found, str) and sheet.settings.get("model") == model else None


def _check_settings(sheet: AnswerSheet, other: AnswerSheet, names: tuple[str, ...] = WAYS) -> None:
    own, theirs = (list_ways(each.settings) for each in (sheet, other))
    for name in names:
        if None not in (own[name], theirs[name]) and own[name] != theirs[name]:
            raise BadInput(
                f"{sheet.file}: was asked with {name} {own[name]}, and {other.file} with {theirs[name]}; "
                "ask both the same way: seal eval FILE --on EXAM"
            )


def list_ways(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return how the questions were put, and to which form of the model; None: the settings do not say."""
    sampling = settings.get("sampling")
    found = {name: settings.get(name) for name in ("chat", "retrieve", "chunks")}
    found["quantize"] = settings.get("quantize") or ("none" if "weights" in settings else None)  # a server may have any
    if not isinstance(sampling, dict):
        return {**found, "max_tokens": None, "stop": None}
    return {**found, "max_tokens": sampling.get("max_tokens"), "stop": sampling.get("stop", [])}


def _check_judges(rows: Sheets, probes: Sheets) -> None:
    """The card names one judge, of the exam, the probes and the anchors."""
    (judge,), after = rows[BEFORE].judges, rows[AFTER]
    graded = [(sheet.file, each) for sheet in probes.values() for each in sheet.judges]
    graded += [(f"the anchors of {after.file}", each) for each in after.anchor_judges]
    for told, other in graded:
        if other != judge:
            way = "ask again with one --judge" if "anchors" in told else "grade one again: seal judge FILE"
            raise BadInput(f"{told} were graded by {other}, and {rows[BEFORE].file} by {judge}; {way}")
