"""Read the gold answers of a question, in the ways that datasets write them.

One text, a list of texts, SQuAD's {"text": […], "answer_start": […]}, TriviaQA's {"value", "aliases"}; in a table the
same as JSON, or as Python or numpy print it. Whole numbers are text; fractions are not, since 1.50 would be 1.5.
"""

import ast
import io
import re
import tokenize
from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import Any

from stages.errors import BadLine
from stages.records.frozen import is_void
from stages.records.jsonl import excerpt
from stages.records.strict_json import parse_json, sanitize

_PLAIN = "answer"
GOLDS = (_PLAIN, "answers", "other_answers", "aliases", "answer_aliases")  # beside a question
_INNER = ("text", "value", _PLAIN, "aliases")  # of one answer that is an object
_NEEDS = "an answer is text, a list of texts, or an object with text, or with value and aliases"
_NO_ANSWER = ("cannotanswer", "no answer present.")  # QuAC's and MS MARCO's words for it
_OPTIONS = re.compile(r"(options|choices|candidates)|[A-H]|(option|choice|answer|ending|opt)[_ ]?([a-hA-H]|\d)")
_RIGHT_ONE = ("label", "correct_answer_id", "answerKey", "correct_option", "answer_idx")  # of several answers
_RIGHT = ("label", "is_correct", "correct")  # whether the answer beside it is right
_TRUTHS = ("ground_truth", "ground_truths", "gold_answer", "correct_answer", "reference_answer", "expected_answer")
_JOINED = re.compile(r"""['"]\s+['"]""")  # two texts, with nothing but blanks between them


def read_gold_answers(entry: Mapping[str, Any], *, may_be_blank: bool) -> list[str]:
    """Return a question's gold answers, each once; none if all are null, blank or empty lists.

    Raises BadLine where no key is of answers, for what is no answer, and for a blank text in the place of the one
    answer unless that `may_be_blank`.
    """
    here = [key for key in GOLDS if key in entry]
    if not here:
        named = ", ".join(str(key)[:30] for key in list(entry)[:7])
        raise BadLine(f"a question without a key answer or answers: it has {named}; {_NEEDS}")
    found: list[str] = []
    for key in here:
        value = entry[key]
        if isinstance(value, str) and is_void(value) and not may_be_blank:
            told = excerpt(entry.get("question"))
            raise BadLine(f"{key} of the question {told} is empty; one without an answer has null, or is_impossible")
        found += _texts(key, value)
    golds = list(dict.fromkeys(text.strip() for text in found if not is_void(text)))
    golds = [] if all(gold.lower() in _NO_ANSWER for gold in golds) else golds
    if golds:
        _check_right(entry, golds)
    return golds


def _check_right(entry: Mapping[str, Any], golds: list[str]) -> None:
    """Raise BadLine where the answers are not those that are right: an option's letter, all options, a wrong one."""
    told = excerpt(golds[0])
    options = [text for key, value in entry.items() if _OPTIONS.fullmatch(str(key)) for text in _list_texts(value)]
    if len(options) > 1 and not {gold.lower() for gold in golds} <= {text.strip().lower() for text in options}:
        raise BadLine(f"the answer {told} is none of its options; give the text of the right one as answer")
    which = next((key for key in _RIGHT_ONE if str(entry.get(key)) in map(str, range(len(golds)))), None)
    if which and (len(golds) > 1 or (len(options) > 1 and len(golds) == len(options))):
        found = f"{which} is {entry[which]}, as if one of the {len(golds)} answers were right"
        raise BadLine(f"{found}; give that alone as answer, or leave {which} out")
    if wrong := next((key for key in _RIGHT if str(entry.get(key)).lower() in ("0", "0.0", "false")), None):
        raise BadLine(f"{wrong} is {entry[wrong]}, as if the answer {told} were wrong; leave the row or {wrong} out")
    for key in _TRUTHS:
        texts = [text.strip() for text in _list_texts(entry.get(key)) if not is_void(text)]
        if texts and set(golds).isdisjoint(texts):
            raise BadLine(f"the answer {told} is another than {key}; --column answer={key} takes that")


def _list_texts(value: Any) -> list[str]:
    """The texts of options or right answers, were they under text beside their labels."""
    value = value.get("text") if isinstance(value, Mapping) else value
    with suppress(ValueError):
        value = parse_literal(value) if isinstance(value, str) and value.lstrip()[:1] in ("[", "{") else value
    each = value if isinstance(value, list | tuple) else [value]
    inner = [item.get("text") if isinstance(item, Mapping) else item for item in each]
    return [str(item) for item in inner if isinstance(item, str | int) and not isinstance(item, bool)]


def _texts(key: str, value: Any) -> Iterator[str]:
    value = _unpack_answers(key, value) if isinstance(value, str) else value
    for each in value if isinstance(value, list | tuple) else [value]:
        if isinstance(each, Mapping):
            named = [name for name in _INNER if name in each]
            if not named:
                raise BadLine(f"{key} has the keys {', '.join(map(str, each))[:80]}; {_NEEDS}")
            for name in named:
                inner = each[name]
                yield from (_text(key, item) for item in (inner if isinstance(inner, list | tuple) else [inner]))
        else:
            yield _text(key, each)


def _text(key: str, value: Any) -> str:
    """One answer as text; null as an empty one."""
    if isinstance(value, str):
        return value
    if value is None or (isinstance(value, int) and not isinstance(value, bool)):
        return "" if value is None else str(value)
    raise BadLine(f"{key}: {excerpt(value)} is no text; {_NEEDS}")


def _unpack_answers(key: str, text: str) -> Any:
    """The list or object that a text was printed from; any other text as it is. Raises BadLine.

    The text of one answer may begin with a bracket: it is taken apart only if it is wholly a list of texts, or objects.
    """
    if not text.lstrip().startswith(("[", "{", "array(")):
        return text
    try:
        value = parse_literal(text)
    except ValueError as error:
        if key == _PLAIN and not text.lstrip().startswith(("{'", '{"')):
            return text
        raise BadLine(f"{key}: cannot be read as a list or an object ({error}): {excerpt(text)}") from None
    items = value if isinstance(value, list) else [value]
    printed = bool(items) and all(isinstance(item, str) or not set(_INNER).isdisjoint(_keys(item)) for item in items)
    return value if printed or key != _PLAIN else text


def _keys(item: object) -> Mapping[str, Any]:
    return item if isinstance(item, dict) else {}


def parse_literal(text: str) -> Any:
    """Parse a value written as JSON, or as Python or numpy print it. Raises ValueError for anything else."""
    try:
        return parse_json(text)
    except ValueError:
        pass
    try:
        return sanitize(Printed(text.strip()).value())
    except SyntaxError:
        pass
    except (MemoryError, RecursionError):
        raise ValueError("nested too deeply") from None
    try:
        return sanitize(Printed(" ".join(_with_commas(text.strip()))).value())
    except (SyntaxError, tokenize.TokenError, MemoryError, RecursionError):
        raise ValueError("neither JSON nor as Python prints it") from None


def _with_commas(text: str) -> Iterator[str]:
    """The pieces of a literal, with a comma between two objects that only blanks divide, as numpy prints them."""
    before = ""
    for kind, piece, *_ in tokenize.generate_tokens(io.StringIO(text).readline):
        if kind in (tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT):
            continue
        if before in ("}", "]", ")") and piece in ("{", "[", "(", "array"):
            yield ","
        yield piece
        before = piece


class Printed:
    """A literal as Python prints it, with numpy's array(…, dtype=object), and its ['a' 'b'] for two texts.

    Python itself would join these two. Raises ValueError for `...`, which numpy puts for what it leaves out.
    """

    def __init__(self, text: str) -> None:
        self.text, self.may_join = text, bool(_JOINED.search(text))

    def value(self) -> Any:
        return self._value(ast.parse(self.text, mode="eval").body)

    def _value(self, node: ast.expr) -> Any:
        match node:
            case ast.Constant(value=str() | int() | float() | None as value):
                return value
            case ast.List(elts=items) | ast.Tuple(elts=items):
                return [value for item in items for value in self._values(item)]
            case ast.Dict(keys=keys, values=values):
                return {str(self._value(key)): self._value(each) for key, each in zip(keys, values, strict=True) if key}
            case ast.Call(func=ast.Name(id="array"), args=[inner, *_]):
                return self._value(inner)
            case ast.Name(id="nan"):
                return None
            case ast.Constant(value=value) if value is ...:
                raise ValueError("cut short: a part is left out as ...")
        raise ValueError("neither JSON nor as Python prints it")

    def _values(self, node: ast.expr) -> list[Any]:
        """The values in the place of one: of texts that only blanks divide each."""
        if self.may_join and isinstance(node, ast.Constant) and isinstance(node.value, str):
            source = io.StringIO(f"({ast.get_source_segment(self.text, node)})").readline
            pieces = [each.string for each in tokenize.generate_tokens(source) if each.type == tokenize.STRING]
            return [ast.literal_eval(piece) for piece in pieces]
        return [self._value(node)]
