"""Encode prompts and examples as token ids and decode completions: one place, for sampling and training alike."""

from collections.abc import Container, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import pairwise
from typing import Any

from stages.errors import BadConfig, BadInput, Untrainable
from stages.interfaces import Completion, Example, Finish, Prompt, Request, TrainingSet
from stages.models.config import get_context_length, get_sliding_window
from stages.records.thoughts import TOKENS, find_opened_thought, remove_thoughts
from stages.settings import FitConfig, PadMode, Sampling
from stages.tokens.chat_templates import (
    Turn,
    complete_turn,
    get_control_tokens,
    get_leading_blank,
    get_turn_end,
    open_turn,
)
from stages.tokens.control_tokens import ControlTokens
from stages.tokens.stop_strings import find_stop

_SPARE_TOKENS = 8  # without letters, such as control tokens, that may stand within a stop string
_MARK_TOKENS = 32  # at the end of a prompt: no mark of a thought has more
MARKUP_TOKENS = 256  # that a template and a tokenizer may put around a text: Llama 3.2 puts 30 around a system's


@dataclass(frozen=True)
class Padding:
    """End tokens behind a sequence, which the official recipe trains on. Each sees the sequence and no other pad.

    Each must predict another `token`; weights[i] says for how many pads the one at positions[i] stands.
    """

    token: int
    positions: tuple[int, ...] = ()
    weights: tuple[int, ...] = ()


@dataclass(frozen=True)
class Tokens:
    """A training sequence: its ids, the number of prompt tokens without loss at the front, and the pads behind."""

    ids: tuple[int, ...]
    prompt_tokens: int
    pads: Padding | None = None

    @property
    def labels(self) -> list[int]:
        """The ids with -100 where there is no loss, as transformers expects them."""
        return [-100] * self.prompt_tokens + list(self.ids[self.prompt_tokens :])

    @cached_property
    def cells(self) -> list[tuple[int, int, int, int]]:
        """(token, position, the token it must predict or -100, weight of that) of each token and of each pad.

        The last token predicts the first pad where there are pads.
        """
        end = -100 if self.pads is None else self.pads.token
        targets = [*self.labels[1:], end]
        own = [(token, place, targets[place], 1) for place, token in enumerate(self.ids)]
        pads = self.pads or Padding(end)
        return own + [(end, place, end, weight) for place, weight in zip(pads.positions, pads.weights, strict=True)]

    @cached_property
    def weight(self) -> int:
        """Number of targets in the job's mean loss; a pad counts for all it stands for."""
        return sum(weight for _, _, target, weight in self.cells if target >= 0)


def encode_prompt(tokenizer: Any, prompt: Prompt) -> list[int]:
    """Encode a text (with the start token if the model has one) or chat messages up to the assistant's turn.

    Control tokens are the tokenizer's and the template's alone: those that stand in the text are letters.
    """
    controls = get_control_tokens(tokenizer)
    if isinstance(prompt, str):
        return controls.encode(controls.hide(prompt), start=True)
    return controls.encode(open_turn(tokenizer, prompt).front)


def encode_example(tokenizer: Any, example: Example, *, end: bool) -> Tokens:
    """Encode an example with the loss on its completion; on all tokens without a prompt, or if `loss_on_prompt`.

    `end` adds a last target, so that the model learns where to stop: the end token, behind a chat what its template
    puts there. A completion that ends with the text of it gets no other. Raise Untrainable for a completion that the
    template does not write as it is.
    """
    controls = get_control_tokens(tokenizer)
    if not example.prompt:
        tail = [tokenizer.eos_token_id] if end else []
        return Tokens((*encode_prompt(tokenizer, example.completion), *tail), 0)
    if isinstance(example.prompt, str):
        said = example.completion.removesuffix(tokenizer.eos_token if end else "")
        turn = Turn(controls.hide(example.prompt), controls.hide(said), "", (tokenizer.eos_token_id,))
    else:
        turn = complete_turn(tokenizer, example.prompt, example.completion)
    starts = isinstance(example.prompt, str)
    front = controls.encode(turn.front, start=starts)
    text = turn.said + (turn.behind if end else "")
    back = controls.continuation(turn.front, front, text, start=starts)
    return Tokens((*front, *back, *(turn.ends if end else ())), 0 if example.loss_on_prompt else len(front))


def encode_training_set(
    tokenizer: Any, network: Any, lesson: TrainingSet, config: FitConfig, *, packed: bool = False
) -> list[Tokens]:
    """Encode and pad a training set's sequences as configured. `packed`: none may exceed a sliding window.

    Raise Untrainable for one that is too long, and where there is nothing to learn; BadConfig where --pad-to is more
    than the model holds.
    """
    mode = PadMode.parse(config.pad_mode)
    sequences = [encode_example(tokenizer, example, end=mode.end) for example in lesson.examples]
    if not sequences or not all(sequence.ids for sequence in sequences):
        raise Untrainable("there are no tokens to train on")
    context, most = (get_max_length(network.config, packed=each) for each in (False, packed))
    what = "context" if most == context else "window"
    way_out = "split the passage into several tasks" if most == context else "use --trainer peft"
    if mode.padded and most is not None and config.pad_to > most:
        raise BadConfig(f"--pad-to {config.pad_to}: the model's {what} is {most}; give --pad-to {most}")
    limit, name = (config.pad_to, "--pad-to") if mode.padded else (most, f"the model's {what} of")
    for example, sequence in zip(lesson.examples, sequences, strict=True):
        if limit is not None and len(sequence.ids) > limit:
            raise Untrainable(f"{describe_overlong(example, len(sequence.ids), f'{name} {limit}')}; {way_out}")
    if mode.padded:
        sequences = [pad_sequence(each, mode.samples, config.pad_to, tokenizer.eos_token_id) for each in sequences]
    if not any(sequence.weight for sequence in sequences):  # a single token predicts nothing
        raise Untrainable("there are no tokens to train on")
    return sequences


def get_max_length(config: Any, *, packed: bool = True) -> int | None:
    """Return the longest sequence that a model takes, None for any. `packed`: its sliding window counts, too."""
    context, window = get_context_length(config), get_sliding_window(config) if packed else None
    return min((limit for limit in (context, window) if limit is not None), default=None)


def pad_sequence(sequence: Tokens, samples: int | None, to: int, token: int) -> Tokens:
    """Pad a sequence up to `to` tokens with all pads, or with `samples` that each stand for a stratum of equal size.

    The last of the `to` tokens predicts nothing, as in transformers. A stratum is represented by its middle.
    """
    first, count = len(sequence.ids), max(0, to - 1 - len(sequence.ids))
    kept = min(count, count if samples is None else samples)
    if len(sequence.ids) == to:
        return sequence
    edges = [first + (count * i + kept // 2) // kept for i in range(kept + 1)] if kept else []
    positions = tuple((start + end - 1) // 2 for start, end in pairwise(edges))
    return replace(sequence, pads=Padding(token, positions, tuple(end - start for start, end in pairwise(edges))))


def get_stop_ids(tokenizer: Any, model: Any) -> set[int]:
    """Return the ids at which a model stops: the tokenizer's end token, its chat's, and those of the settings."""
    more = model.generation_config.eos_token_id
    declared = more if isinstance(more, Sequence) else [] if more is None else [more]
    return {tokenizer.eos_token_id, get_turn_end(tokenizer)[1][0], *declared}


def limit_completion(sampling: Sampling, prompt_length: int, context: int | None, model: str) -> int:
    """Return the most tokens of a completion: what was asked, or what the context still holds after the prompt."""
    room = sampling.max_tokens if context is None else min(sampling.max_tokens, context - prompt_length)
    if room < 1:
        raise BadInput(f"a prompt of {prompt_length} tokens leaves no room in {model}'s context of {context}")
    return room


def context_overflow(tokenizer: Any, request: Request, context: int | None, model: str) -> Completion | None:
    """Return a failed completion if the prompt leaves no room in the context, else None."""
    bound = token_upper_bound(Example(request.prompt, ""))
    if context is None or (bound is not None and bound < context):
        return None
    try:
        limit_completion(request.sampling, len(encode_prompt(tokenizer, request.prompt)), context, model)
    except BadInput as error:
        return Completion(request.id, "", "failed", None, error=str(error))
    return None


def decode_completion(
    tokenizer: Any,
    ends: Container[int],
    request_id: str,
    row: Sequence[int],
    prompt: Sequence[int] = (),
    stops: Sequence[str] = (),
    *,
    chat: bool = False,
) -> Completion:
    """Decode the tokens of a completion (cut at their own limit) up to the first end token or stop string.

    If the prompt ends in the mark that opens a thought, the text begins with it, so that the thought's end is known. Of
    a `chat`, the blank that the template puts before what is said is left out.
    """
    end = next((place for place, token in enumerate(row) if token in ends), len(row))
    opening = find_opened_thought(tokenizer.decode(prompt[-_MARK_TOKENS:], skip_special_tokens=False)) if prompt else ""
    text = _decode(get_control_tokens(tokenizer), row[:end], opening)
    text = text.removeprefix(get_leading_blank(tokenizer)) if chat else text
    cut = find_stop(text, stops, len(opening) if text.startswith(opening) else 0)
    finish: Finish = "stop" if cut is not None or end < len(row) else "length"
    return Completion(request_id, text[:cut], finish, end, prompt_tokens=len(prompt) or None)


@dataclass(frozen=True)
class StopCheck:
    """Tells whether the tokens of a completion have reached a stop string. Its fields are as in `decode_completion`."""

    tokenizer: Any
    stops: tuple[str, ...]
    prompt: Sequence[int] = ()
    chat: bool = False

    @cached_property
    def tail_tokens(self) -> int:
        """How many of the last tokens `may_end` has to see: each token of a stop string has a byte of it or more."""
        return max(len(stop.encode("utf-8", "replace")) for stop in self.stops) + _SPARE_TOKENS

    def may_end(self, tail: Sequence[int]) -> bool:
        """Return True if the last tokens may have completed a stop string. Quick: it errs on this side alone."""
        text = get_control_tokens(self.tokenizer).decode(tail, keep=TOKENS)
        return find_stop(text, self.stops) is not None

    def has_ended(self, row: Sequence[int]) -> bool:
        """Return True if the text of all tokens has reached a stop string."""
        return decode_completion(self.tokenizer, (), "", row, self.prompt, self.stops, chat=self.chat).finish == "stop"


def _decode(controls: ControlTokens, ids: Sequence[int], opening: str) -> str:
    """Decode without control tokens, save those that mark a thought at the beginning (Magistral, gpt-oss)."""
    whole = opening + controls.decode(ids, keep=controls.ids)
    return controls.decode(ids) if remove_thoughts(whole) == whole else opening + controls.decode(ids, keep=TOKENS)


def token_upper_bound(example: Example) -> int | None:
    """Return a bound for ASCII texts, where each token stands for one byte or more; None for others.

    Some tokenizers lengthen other texts first (Unicode normalization). Without a system turn, a template may say more
    of its own than the bound allows for.
    """
    prompt = [example.prompt] if isinstance(example.prompt, str) else [turn["content"] for turn in example.prompt]
    texts = [*prompt, example.completion]
    return sum(len(text) + MARKUP_TOKENS for text in texts) if all(text.isascii() for text in texts) else None


def describe_overlong(example: Example, count: int, limit: str) -> str:
    """Say that an example of so many tokens is longer than a limit."""
    return f"a training sequence of {count} tokens ({example.completion[:50]!r}…) is longer than {limit}"
