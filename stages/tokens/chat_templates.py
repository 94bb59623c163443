"""Render an assistant's turn with a chat template: what stands before it, in it, and behind it.

The same is opened for sampling as is trained on: the template's own text of the finished turn, up to what is said.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from weakref import WeakKeyDictionary

from stages.errors import BadConfig, Untrainable
from stages.tokens.control_tokens import SECRET_PREFIX, ControlTokens

_TODAY = datetime(2024, 7, 26)  # for templates that ask: the day of Llama 3.2's own template where it has no clock
NO_CHAT_ADVICE = "; use --no-chat, or other turns"  # the next move where a template will not do
_SAID = f"{SECRET_PREFIX}said"  # stands for what an assistant says
_MARK = re.compile(r"[<\[].*[>\]]", re.DOTALL)
Turns = Sequence[Mapping[str, str]]


def _get_template_errors() -> tuple[type[Exception], ...]:
    """Return what a template may raise. jinja2 is imported late: help needs none of it."""
    from jinja2 import TemplateError

    return TemplateError, TypeError, ValueError, LookupError, AttributeError, ArithmeticError, RecursionError


@dataclass(frozen=True)
class Turn:
    """A turn of the assistant as texts whose control tokens are the template's own; those of the contents are hidden.

    `front` is what comes before, `said` what is said, with the blank before it where the template puts one, `behind`
    what stands between that and the control tokens `ends`, which end the turn.
    """

    front: str
    said: str
    behind: str
    ends: tuple[int, ...]


def render_chat(tokenizer: Any, messages: Turns, **settings: bool) -> str:
    """Render messages with the chat template, the same on every day, and without thoughts before the answer.

    Its clock stands still (Llama 3.2's writes the date into the system turn). A template that can think (Qwen3's) is
    told not to: a self-edit or an answer begins at once.
    """
    turns, still = [dict(message) for message in messages], _TODAY.strftime
    return str(
        tokenizer.apply_chat_template(turns, tokenize=False, strftime_now=still, enable_thinking=False, **settings)
    )


@dataclass
class _Known:
    """A tokenizer's control tokens and leading blank, while it is in this `state`."""

    state: object
    controls: ControlTokens
    blank: str | None = None


_known: WeakKeyDictionary[Any, _Known] = WeakKeyDictionary()


def get_control_tokens(tokenizer: Any) -> ControlTokens:
    """Return the control tokens of a tokenizer, computed once."""
    return _look_up(tokenizer).controls


def _look_up(tokenizer: Any) -> _Known:
    state, known = (str(tokenizer.chat_template), len(tokenizer)), _known.get(tokenizer)
    if known is None or known.state != state:
        known = _known[tokenizer] = _Known(state, ControlTokens(tokenizer, _find_marks(tokenizer)))
    return known


def _find_marks(tokenizer: Any) -> frozenset[str]:
    """Find added tokens that are not special, but mark the turns of the chat template (DeepSeek's); not thoughts."""
    written = _render_small_chat(tokenizer) + _render_small_chat(tokenizer, _SAID[::-1])
    plain = (str(token) for token in tokenizer.added_tokens_decoder.values() if not token.special)
    return frozenset(text for text in plain if _MARK.fullmatch(text) and "think" not in text and text in written)


def _render_small_chat(tokenizer: Any, *more: str) -> str:
    """Render a question, its answer SAID, and more questions; "" if the template refuses them."""
    turns = [{"role": "user", "content": each} for each in ("Say it.", *more)]
    turns.insert(1, {"role": "assistant", "content": _SAID})
    try:
        return render_chat(tokenizer, turns) if tokenizer.chat_template else ""
    except _get_template_errors():
        return ""


def get_turn_end(tokenizer: Any, tail: str | None = None) -> tuple[str, tuple[int, ...]]:
    """Return what the template puts behind a turn: text, and the control tokens that come together at its end.

    `tail` is what it writes there; by default that of a small chat. Where it has no control token, as in GLM, a turn
    ends with the one that begins the next turn; where there is none either, with the tokenizer's end token.
    """
    controls = get_control_tokens(tokenizer)
    tail = _render_small_chat(tokenizer).partition(_SAID)[2] if tail is None else tail
    if found := re.match(f"(.*?)((?:{controls.pattern.pattern})+)", tail, re.DOTALL):
        return found[1], tuple(controls.ids[each] for each in controls.pattern.findall(found[2]))
    following = _render_small_chat(tokenizer, _SAID[::-1]).partition(_SAID)[2]
    first = controls.pattern.match(following.lstrip())
    return "", (controls.ids[first[0]] if first else int(tokenizer.eos_token_id),)


def open_turn(tokenizer: Any, prompt: Turns) -> Turn:
    """Render the chat up to the assistant's turn; `said` is only the blank that the template puts before the answer.

    Raise BadConfig where the model has no chat template, and where that refuses the turns or does not write them.
    """
    front, blank, tail = _frame(tokenizer, _hide(tokenizer, prompt))
    return Turn(front, blank, *get_turn_end(tokenizer, tail))


def get_leading_blank(tokenizer: Any) -> str:
    """Return the blank that the chat template puts before an answer, mostly "": the model writes it itself."""
    known = _look_up(tokenizer)
    if known.blank is None:
        try:
            known.blank = open_turn(tokenizer, [{"role": "user", "content": "Say it."}]).said
        except BadConfig:
            known.blank = ""
    return known.blank


def complete_turn(tokenizer: Any, prompt: Turns, completion: str) -> Turn:
    """Render the turn that says the completion, as the template writes it: some take blanks from its ends.

    A completion that ends with the text of the turn's end has no other. Raise Untrainable where the template writes
    something else, and BadConfig as `open_turn` does.
    """
    turns = _hide(tokenizer, prompt)
    front, blank, tail = _frame(tokenizer, turns)
    behind, ends = get_turn_end(tokenizer, tail)
    bare = completion.removesuffix("".join(tokenizer.convert_ids_to_tokens(list(ends))))
    given, before = get_control_tokens(tokenizer).hide(bare), front + blank
    try:
        whole = render_chat(tokenizer, [*turns, {"role": "assistant", "content": given}])
    except _get_template_errors() as error:
        raise Untrainable(f"the chat template of {_name(tokenizer)} refuses the completion: {_tell(error)}") from None
    said = whole[len(before) : len(whole) - len(tail)]
    if (given and not said) or whole != before + said + tail or said not in given or said.strip() != given.strip():
        start = f"the chat template of {_name(tokenizer)} does not write the completion {completion[:50]!r} as it is"
        raise Untrainable(f"{start}; leave out what it changes: a thought, or blanks alone")
    return Turn(front, blank + said, behind, ends)


def _hide(tokenizer: Any, turns: Turns) -> list[dict[str, str]]:
    hide = get_control_tokens(tokenizer).hide
    return [{**turn, "content": hide(turn["content"])} for turn in turns]


def _frame(tokenizer: Any, turns: Turns) -> tuple[str, str, str]:
    """Return what the template writes before an answer, text and a blank, and what behind it."""
    name = _name(tokenizer)
    if not tokenizer.chat_template:
        raise BadConfig(f"{name} has no chat template{NO_CHAT_ADVICE}")
    try:
        asked = render_chat(tokenizer, turns, add_generation_prompt=True)
        shown = render_chat(tokenizer, [*turns, {"role": "assistant", "content": _SAID}])
    except _get_template_errors() as error:  # some refuse a system turn
        raise BadConfig(f"the chat template of {name} refuses the prompt: {_tell(error)}{NO_CHAT_ADVICE}") from None
    asking = (turn for turn in turns if turn["role"] != "assistant")  # an earlier answer may lose its thought
    lost = next((turn["role"] for turn in asking if turn["content"].strip() not in shown), None)
    if lost or shown.count(_SAID) != 1:
        what = f"what its {lost} says" if lost else "what an assistant says"
        raise BadConfig(f"the chat template of {name} does not write {what} as it is{NO_CHAT_ADVICE}")
    front, _, tail = shown.partition(_SAID)
    own = front.removeprefix(asked) if front.startswith(asked) else ""  # whoever goes on from `asked` writes it
    blank = own if own.isspace() else own[len(own.rstrip(" ")) :]
    return front[: len(front) - len(blank)], blank, tail


def _name(tokenizer: Any) -> str:
    return str(tokenizer.name_or_path or "the model")


def _tell(error: Exception) -> str:
    return " ".join(str(error).split())[:200]
