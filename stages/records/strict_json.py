"""JSON as every reader of JSON understands it. What Python's reader takes beyond that is refused with a reason.

`parse_json` reads one value. `parse_loosely` reads a whole document in which single entries may be bad: a JsonFault
stands where something is wrong, and `sanitize` raises it, so that a reader can give up the entry and not the document.
"""

import json
import math
import re
from collections import Counter
from collections.abc import Callable
from typing import Any

JsonObject = dict[str, Any]
MAX_DEPTH = 100  # lists and objects within one another; pydantic cannot write more than some 250
_DIGITS = 20  # of an integer: 64 bits
MAX_VALUES = 200_000  # in a line or entry; a task with 1,000 questions has 10,000. Each may become an error message
STRINGS = re.compile(r'"(?:[^"\\]++|\\.)*+(?:"|\\?\Z)', re.DOTALL)  # the last one may lack its end
_TOO_MANY = f"not usable: more than {MAX_VALUES:,} values in one object"


class JsonFault(ValueError):
    """Something that is not strict JSON, as an error or in the place of the value that was `found`."""

    def __init__(self, reason: str, found: object = None) -> None:
        super().__init__(reason)
        self.found = found


def parse_json(text: str | bytes) -> Any:
    """Strict JSON. Raises ValueError for anything that another JSON reader would not accept or read otherwise."""
    text = text.decode() if isinstance(text, bytes) else text
    if text.count(",") > MAX_VALUES and STRINGS.sub("", text).count(",") > MAX_VALUES:
        raise JsonFault(_TOO_MANY)  # before they fill the memory
    return sanitize(parse_loosely(text))


def parse_loosely(text: str) -> Any:
    """JSON with a JsonFault in the place of each value that is wrong. Raises ValueError for what is not JSON at all."""
    try:
        return json.loads(
            text,
            parse_constant=_refuse_constant,
            parse_int=_make_integer,
            parse_float=_make_float,
            object_pairs_hook=_make_object,
        )
    except RecursionError:
        raise JsonFault("not JSON: nested too deeply") from None


def _refuse_constant(name: str) -> JsonFault:
    return JsonFault(f"not JSON: {name} is not JSON", name)


def _make_integer(digits: str) -> int | JsonFault:
    value = int(digits) if len(digits) <= _DIGITS else None
    if value is None or not -(2**63) <= value < 2**64:
        count = len(digits.lstrip("-"))
        return JsonFault(f"not JSON: an integer of {count} digits, which 64 bits do not hold", digits)
    return value


def _make_float(digits: str) -> float | JsonFault:
    value = float(digits)
    return value if math.isfinite(value) else JsonFault(f"not JSON: {digits[:40]} is larger than any number", digits)


def _make_object(pairs: list[tuple[str, Any]]) -> JsonObject | JsonFault:
    found = dict(pairs)
    if len(found) == len(pairs):
        return found
    ((key, _),) = Counter(key for key, _ in pairs).most_common(1)
    return JsonFault(f"the key {key[:40]!r} occurs twice", found)


def _raise_fault(make: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """The same; where it returns a JsonFault, this raises it."""

    def make_or_raise(found: Any) -> Any:
        value = make(found)
        if type(value) is JsonFault:
            raise value
        return value

    return make_or_raise


STRICT_DECODER = json.JSONDecoder(  # raises the first JsonFault as it comes
    object_pairs_hook=_raise_fault(_make_object),
    parse_int=_raise_fault(_make_integer),
    parse_float=_raise_fault(_make_float),
    parse_constant=_raise_fault(_refuse_constant),
)


def sanitize(value: Any) -> Any:
    """The value with its lone surrogates (half of a character, which UTF-8 cannot carry) replaced by U+FFFD.

    Raises ValueError for over-deep nesting, for too many values, and for the first JsonFault in it.
    """
    count = 0

    def clean(value: Any, depth: int) -> Any:
        nonlocal count
        count += 1
        if count > MAX_VALUES:
            raise JsonFault(_TOO_MANY)
        if depth > MAX_DEPTH:
            raise JsonFault("not JSON: nested too deeply")
        if isinstance(value, str):
            return _replace_surrogates(value)
        if isinstance(value, list):
            return [clean(item, depth + 1) for item in value]
        if isinstance(value, dict):
            pairs = [(_replace_surrogates(key), clean(item, depth + 1)) for key, item in value.items()]
            value = _make_object(pairs)
        if isinstance(value, JsonFault):
            raise value
        return value

    return clean(value, 0)


def _replace_surrogates(text: str) -> str:
    return text if text.isascii() else text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def explain(error: BaseException) -> str:
    """What is wrong with a text that `parse_json` refused, in one line."""
    if isinstance(error, UnicodeDecodeError):
        return explain_bytes(error)
    if isinstance(error, json.JSONDecodeError):
        what = error.msg.removesuffix(" at").removesuffix(" starting")
        place = f"column {error.colno}" if error.lineno == 1 else f"line {error.lineno}, column {error.colno}"
        early = what == "Unterminated string" or error.pos >= len(error.doc.rstrip())
        joined = what == "Extra data" and error.lineno == 1 and error.doc[error.pos] == "{"
        way = "; several objects in a line become lines with: jq -c . FILE" if joined else ""
        return f"not JSON: {what} at {place}{': the line ends early, is the file cut off?' if early else way}"
    return str(error) if isinstance(error, JsonFault) else f"not JSON: {error}"


def explain_bytes(error: UnicodeDecodeError) -> str:
    """What is wrong with bytes that are not UTF-8; where they look like Western European text, the way out."""
    at, raw = error.start, error.object
    beside = raw[max(0, at - 1) : at] + raw[at + 1 : at + 2]
    western = any(map(str.isalpha, map(chr, beside))) and beside.isascii() and b"\0" not in raw
    way = "; if it is Latin-1: iconv -f WINDOWS-1252 -t UTF-8 FILE > NEW" if western else ""
    return f"not UTF-8 (byte {at}){way}"
