"""What a model says behind its thoughts. Only that is graded, trained on and compared; lines keep the whole text.

A thought stands at the beginning of a completion, between marks. The opening one is missing where the chat template has
written it already. A text that merely mentions such marks is left as it is.
"""

import re
from collections.abc import Mapping

THOUGHT_MARKS: Mapping[str, str] = {
    "<think>": "</think>",  # DeepSeek-R1, QwQ, Qwen3, GLM-4.5, Hunyuan, MiniMax, Nemotron, OLMo 3, Phi-4, SmolLM3
    "<thinking>": "</thinking>",
    "<thought>": "</thought>",  # EXAONE Deep
    "<thoughts>": "</thoughts>",
    "<reasoning>": "</reasoning>",
    "<seed:think>": "</seed:think>",  # Seed-OSS
    "<longcat_think>": "</longcat_think>",  # LongCat
    "[THINK]": "[/THINK]",  # Magistral
    "◁think▷": "◁/think▷",  # Kimi-VL
    "<|begin_of_thought|>": "<|end_of_thought|>",  # Sky-T1, OpenThinker
    "<|START_THINKING|>": "<|END_THINKING|>",  # Command A Reasoning
    "<|inner_prefix|>": "<|inner_suffix|>",  # Apertus
    "<|channel>thought": "<channel|>",  # Gemma 4
    "<unused94>thought": "<unused95>",  # MedGemma
    "Here is my thought process:": "Here is my response:",  # Granite 3.2
    "Here's my thought process:": "Here's my response:",
}
WRAPPERS: Mapping[str, str] = {  # what the answer stands in, behind a thought
    "<answer>": "</answer>",  # Hunyuan-A13B, R1-Zero
    "<response>": "</response>",  # ERNIE 4.5
    "<|begin_of_solution|>": "<|end_of_solution|>",  # Sky-T1, OpenThinker
    "<|START_RESPONSE|>": "<|END_RESPONSE|>",  # Command A Reasoning
}
HARMONY = ("<|channel|>", "<|message|>", "<|start|>", "<|end|>", "<|return|>", "<|call|>", "<|constrain|>")  # gpt-oss
TOKENS = frozenset(
    [*THOUGHT_MARKS, *THOUGHT_MARKS.values(), *WRAPPERS, *WRAPPERS.values(), *HARMONY, "<|channel>", "<unused94>"]
)

_FIRST = re.compile(r"\s*+[<\[◁Ha]")  # every mark at the beginning starts with one of these: quicker to look for
_OPENING = re.compile(rf"\s*+({'|'.join(map(re.escape, THOUGHT_MARKS))})")
_NO_THOUGHT = re.compile(r"[ \t]*+\Z|[,;:!?)]|\.(?:\s|\Z)")  # behind an opening mark that is only mentioned
_OPENED = {
    close: mark for mark, close in THOUGHT_MARKS.items() if not close.startswith(("Here", "<unused"))
}  # those that a template opens
_CLOSING = re.compile("|".join(map(re.escape, _OPENED)))
_CLOSING_SIGNS = ("/", "|>")  # each closing mark has one: quicker to look for
_MENTIONED = re.compile(r"""\s*+\Z|[.,;:!?)\]}"'`”’»]|[ \t]+[a-z]""")  # behind a closing mark within a sentence
_BLANK = re.compile(r"\s*+\Z")
_QUOTES = "\"'`(“‘«"
_WRAPPED = re.compile(rf"\s*+({'|'.join(map(re.escape, WRAPPERS))})")
_CHANNEL = re.compile(r"\s*+(?:<\|start\|>assistant\s*+)?<\|channel\|>")
_FINAL = re.compile(r"<\|channel\|>final[^<]*+(?:<\|constrain\|>[^<]*+)?<\|message\|>")
_MESSAGE_END = re.compile(r"<\|(?:end|return|call|start)\|>")
_BARE_CHANNEL = re.compile(r"\s*+analysis")  # what is left of harmony where its special tokens were dropped
_BARE_FINAL = "assistantfinal"
CUT_OFF, BROKEN_OFF = "the model thought until --max-tokens; take more of them", "the model ended within its thought"
Span = tuple[int, int]


def remove_thoughts(text: str) -> str | None:
    """What stands behind the thoughts at the beginning, verbatim; all of a text that has none. Takes linear time.

    None: the text ends within a thought.
    """
    found: Span | None = (0, len(text))
    closes = any(sign in text for sign in _CLOSING_SIGNS)
    while found is not None:
        start, end = found
        found = _skip_thought(text, start, end)
        if found == (start, end) and closes:
            found = _lone(text, start, end)
        if found == (start, end):
            return text[start:end]
    return None


def extract_answer(text: str, finish: str) -> str | None:
    """The same of a completion; None also where it was cut off before it could say anything behind its thought."""
    said = remove_thoughts(text)
    return None if said != text and not (said or "").strip() and (said is None or finish == "length") else said


def get_learnable_text(text: str) -> str:
    """The same as a training target: without the line ends behind a thought, and "" where nothing is behind it."""
    said = remove_thoughts(text) or ""
    return said if len(said) == len(text) else said.lstrip("\n")


def explain_no_answer(finish: str) -> str:
    """Why a completion that has ended in this way says nothing behind its thought."""
    return BROKEN_OFF if finish == "stop" else CUT_OFF


def join_reasoning(thought: str, answer: str | None) -> str:
    """A thought and an answer that were told apart, as one text; without an answer the thought has no end."""
    return f"<think>\n{thought}" if answer is None else f"<think>\n{thought}\n</think>\n\n{answer}"


def find_opened_thought(prompt: str) -> str:
    """The mark, with the blanks behind it, by which a prompt ends in a thought that the model goes on with; else ""."""
    stripped = prompt.rstrip()
    return next((prompt[len(stripped) - len(mark) :] for mark in THOUGHT_MARKS if stripped.endswith(mark)), "")


def _skip_thought(text: str, start: int, end: int) -> Span | None:
    """Where the text goes on behind a thought that opens it; None where that has no end, the whole where there is none.

    It also opens with harmony's channels: analysis, and then final, which is the answer.
    """
    if not _FIRST.match(text, start, end):
        return start, end
    if opening := _OPENING.match(text, start, end):
        if _NO_THOUGHT.match(text, opening.end(), end):
            return start, end
        close = THOUGHT_MARKS[opening[1]]
        place = text.find(close, opening.end(), end)
        return None if place < 0 else _unwrap(text, place + len(close), end)
    if _CHANNEL.match(text, start, end):
        final = _FINAL.search(text, start, end)
        if final is None:
            return None
        ending = _MESSAGE_END.search(text, final.end(), end)
        return final.end(), ending.start() if ending else end
    if bare := _BARE_CHANNEL.match(text, start, end):
        place = text.find(_BARE_FINAL, bare.end(), end)
        if place >= 0:
            return place + len(_BARE_FINAL), end
        return None if text[bare.end() : bare.end() + 1].isupper() else (start, end)
    return start, end


def _lone(text: str, start: int, end: int) -> Span:
    """Where the text goes on behind the end of a thought that the template has opened; the whole where there is none.

    A mark behind its opening one, or within a sentence, is text about such marks.
    """
    for closing in _CLOSING.finditer(text, start, end):
        if not _is_mentioned(text, start, closing.start(), closing.end(), end):
            if text.find(_OPENED[closing[0]], start, closing.start()) >= 0:
                return start, end
            if start and _BLANK.match(text, closing.end(), end):  # it comes twice, before the answer and behind it
                return start, closing.start()
            return _unwrap(text, closing.end(), end)
    return start, end


def _is_mentioned(text: str, start: int, mark: int, behind: int, end: int) -> bool:
    """True if the mark is a word of a sentence, or quoted: `the </think> tag`."""
    before = text[max(start, mark - 2) : mark]
    word = before[-1:] in (" ", "\t") and (before[:1].isalnum() or before[:1] in ",;")
    return (not before or word or before[-1] in _QUOTES) and _MENTIONED.match(text, behind, end) is not None


def _unwrap(text: str, start: int, end: int) -> Span:
    """The part without what some models wrap an answer in."""
    wrapper = _WRAPPED.match(text, start, end)
    if wrapper is None:
        return start, end
    close = text.find(WRAPPERS[wrapper[1]], wrapper.end(), end)
    return wrapper.end(), close if close >= 0 else end
