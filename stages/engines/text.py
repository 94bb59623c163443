"""Prompts and examples as token ids, and ids as completions: one place, for sampling and for training alike."""

from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import cached_property
from itertools import pairwise
from typing import Any

from jinja2 import TemplateError

from stages.engines.base import Completion, Example, FitConfig, Lesson, PadMode, Prompt, Request, Sampling
from stages.engines.checkpoints import context_of, window_of
from stages.engines.lengths import most_tokens
from stages.failures import BadConfig, BadInput, Untrainable
from stages.thoughts import TOKENS, opened_by, without_thoughts

TODAY = datetime(2024, 7, 26)  # for templates that ask: the day of Llama 3.2's own template where it has no clock
SAID = "[said]"  # stands for what an assistant says
MARK_TOKENS = 16  # at the end of a prompt: no mark of a thought has more


@dataclass(frozen=True)
class Pads:
    """End tokens behind a sequence, which the official recipe trains on. Each sees the sequence and no other pad.

    Each must predict another `token`; weights[i] says for how many pads the one at positions[i] stands.
    """

    token: int
    positions: tuple[int, ...] = ()
    weights: tuple[int, ...] = ()


@dataclass(frozen=True)
class Tokens:
    """A training sequence: ids, how many of them at the front carry no loss, and the pads behind them, if any."""

    ids: tuple[int, ...]
    silent: int
    pads: Pads | None = None

    @property
    def labels(self) -> list[int]:
        """The ids with -100 where there is no loss, as transformers expects them."""
        return [-100] * self.silent + list(self.ids[self.silent :])

    @cached_property
    def cells(self) -> list[tuple[int, int, int, int]]:
        """(token, position, the token it must predict or -100, weight of that) of each token and of each pad behind.

        The last token predicts the first pad where there are pads.
        """
        end = -100 if self.pads is None else self.pads.token
        targets = [*self.labels[1:], end]
        own = [(token, place, targets[place], 1) for place, token in enumerate(self.ids)]
        pads = self.pads or Pads(end)
        return own + [(end, place, end, weight) for place, weight in zip(pads.positions, pads.weights, strict=True)]

    @cached_property
    def weight(self) -> int:
        """Targets that the sequence has in its job's mean loss, pads by what they stand for."""
        return sum(weight for _, _, target, weight in self.cells if target >= 0)


def prompt_ids(tokenizer: Any, prompt: Prompt) -> list[int]:
    """Ids of a text (with the start token where the model has one) or of chat messages up to the assistant's turn."""
    if isinstance(prompt, str):
        ids = list(tokenizer(prompt)["input_ids"])
        return ids[:-1] if ids and ids[-1] == tokenizer.eos_token_id else ids
    if not tokenizer.chat_template:
        raise BadConfig(f"{tokenizer.name_or_path} has no chat template; use --no-chat")
    try:
        return list(rendered(tokenizer, prompt, add_generation_prompt=True))
    except TemplateError as error:  # some refuse a system turn
        raise BadConfig(f"the chat template of {tokenizer.name_or_path} refuses the prompt: {error}") from None


def rendered(tokenizer: Any, messages: Sequence[Mapping[str, str]], **settings: bool) -> Any:
    """What the chat template makes of the messages: the same on every day, and without thoughts before the answer.

    Its clock stands still (Llama 3.2's writes the date into the system turn); a template that can think (Qwen3's) is
    told not to, since a self-edit or an answer begins at once. A server renders chats itself.
    """
    turns, still = [dict(message) for message in messages], TODAY.strftime
    return tokenizer.apply_chat_template(
        turns, return_dict=False, strftime_now=still, enable_thinking=False, **settings
    )


def turn_end(tokenizer: Any) -> int:
    """The special token that the chat template puts behind what the assistant says; the end token where it has none.

    They differ where a base model's tokenizer has a chat template (Qwen2.5), and in Gemma and Phi-3.
    """
    if not tokenizer.chat_template:
        return int(tokenizer.eos_token_id)
    try:
        turns = [{"role": "user", "content": "Say it."}, {"role": "assistant", "content": SAID}]
        _, said, behind = rendered(tokenizer, turns, tokenize=False).rpartition(SAID)
    except TemplateError:
        return int(tokenizer.eos_token_id)
    ids = tokenizer(behind, add_special_tokens=False)["input_ids"] if said else []
    special = (each for each in ids if tokenizer.decode([each], skip_special_tokens=True) != tokenizer.decode([each]))
    return int(next(special, tokenizer.eos_token_id))


def example_tokens(tokenizer: Any, example: Example, *, end: bool) -> Tokens:
    """The example's ids, loss on the completion (on all tokens where the prompt is empty, or the example `whole`).

    `end` adds a last target, so that the model learns where to stop: the end token, behind a chat that of its turns. A
    completion that ends with it already gets no other.
    """
    if example.prompt:
        front = prompt_ids(tokenizer, example.prompt)
        back = list(tokenizer(example.completion, add_special_tokens=False)["input_ids"])
    else:
        front, back = [], prompt_ids(tokenizer, example.completion)
    chat = not isinstance(example.prompt or "", str)
    tail = [turn_end(tokenizer) if chat else tokenizer.eos_token_id] if end else []
    tail = [] if back[-1:] == tail else tail
    return Tokens(tuple(front + back + tail), 0 if example.whole else len(front))


def lesson_tokens(
    tokenizer: Any, network: Any, lesson: Lesson, config: FitConfig, *, packed: bool = False
) -> list[Tokens]:
    """The sequences of a lesson, padded as the configuration says. `packed`: none may exceed a sliding window.

    Raises Untrainable for one that is too long, and where there is nothing to learn; BadConfig where --pad-to is more
    than the model holds.
    """
    mode = PadMode.parse(config.pad_mode)
    sequences = [example_tokens(tokenizer, example, end=mode.end) for example in lesson.examples]
    if not sequences or not all(sequence.ids for sequence in sequences):
        raise Untrainable("there are no tokens to train on")
    context, most = (longest_sequence(network.config, packed=each) for each in (False, packed))
    what = "context" if most == context else "window"
    way_out = "split the passage into several tasks" if most == context else "use --trainer peft"
    if mode.padded and most is not None and config.pad_to > most:
        raise BadConfig(f"--pad-to {config.pad_to}: the model's {what} is {most}; give --pad-to {most}")
    limit, name = (config.pad_to, "--pad-to") if mode.padded else (most, f"the model's {what} of")
    for example, sequence in zip(lesson.examples, sequences, strict=True):
        if limit is not None and len(sequence.ids) > limit:
            start = f"a training sequence of {len(sequence.ids)} tokens ({example.completion[:50]!r}…)"
            raise Untrainable(f"{start} is longer than {name} {limit}; {way_out}")
    if mode.padded:
        return [padded(sequence, mode.samples, config.pad_to, tokenizer.eos_token_id) for sequence in sequences]
    return sequences


def longest_sequence(config: Any, *, packed: bool = True) -> int | None:
    """Most tokens that the model takes in one sequence; None: any number. `packed`: its sliding window counts too."""
    context, window = context_of(config), window_of(config) if packed else None
    return min((limit for limit in (context, window) if limit is not None), default=None)


def padded(sequence: Tokens, samples: int | None, to: int, token: int) -> Tokens:
    """The sequence with pads up to `to` tokens: all of them, or `samples` that each stand for a stratum of equal size.

    The last of the `to` tokens predicts nothing, as in transformers. A stratum is represented by its middle.
    """
    first, count = len(sequence.ids), max(0, to - 1 - len(sequence.ids))
    kept = min(count, count if samples is None else samples)
    if len(sequence.ids) == to:
        return sequence
    edges = [first + (count * i + kept // 2) // kept for i in range(kept + 1)] if kept else []
    positions = tuple((start + end - 1) // 2 for start, end in pairwise(edges))
    return replace(sequence, pads=Pads(token, positions, tuple(end - start for start, end in pairwise(edges))))


def end_tokens(tokenizer: Any, model: Any) -> set[int]:
    """Every token at which this model stops: the tokenizer's end token, its chat's, and those of the settings."""
    more = model.generation_config.eos_token_id
    declared = more if isinstance(more, Sequence) else [] if more is None else [more]
    return {tokenizer.eos_token_id, turn_end(tokenizer), *declared}


def token_limit(sampling: Sampling, prompt_length: int, context: int | None, model: str) -> int:
    """Most tokens of a completion: what was asked, or what the model's context still holds after the prompt."""
    room = sampling.max_tokens if context is None else min(sampling.max_tokens, context - prompt_length)
    if room < 1:
        raise BadInput(f"a prompt of {prompt_length} tokens leaves no room in {model}'s context of {context}")
    return room


def without_room(tokenizer: Any, request: Request, context: int | None, model: str) -> Completion | None:
    """What comes of a request whose prompt fills the model's context: ours, and its own; None where there is room."""
    bound = most_tokens(Example(request.prompt, ""))
    if context is None or (bound is not None and bound < context):
        return None
    try:
        token_limit(request.sampling, len(prompt_ids(tokenizer, request.prompt)), context, model)
    except BadInput as error:
        return Completion(request.id, "", "failed", None, error=str(error))
    return None


def decoded(
    tokenizer: Any, ends: Container[int], request_id: str, row: Sequence[int], prompt: Sequence[int] = ()
) -> Completion:
    """The completion that these tokens (cut at their own limit) are, up to the first end token.

    Where its prompt ends in the mark that opens a thought, the text begins with it: it says where the thought ends.
    """
    stop = next((place for place, token in enumerate(row) if token in ends), len(row))
    opening = opened_by(tokenizer.decode(prompt[-MARK_TOKENS:], skip_special_tokens=False)) if prompt else ""
    text = _decode(tokenizer, list(row[:stop]), opening)
    return Completion(request_id, text, "stop" if stop < len(row) else "length", stop)


def _decode(tokenizer: Any, ids: list[int], opening: str) -> str:
    """The text without special tokens, save those that mark thoughts where it begins with one (Magistral, gpt-oss)."""

    def text_of(tokens: list[int], *, plain: bool) -> str:
        return str(tokenizer.decode(tokens, skip_special_tokens=plain, clean_up_tokenization_spaces=False))

    whole = opening + text_of(ids, plain=False)
    if without_thoughts(whole) == whole:
        return text_of(ids, plain=True)
    names = {each: text_of([each], plain=False) for each in set(ids) if not text_of([each], plain=True)}
    special = {each for each, name in names.items() if name and name not in TOKENS}
    return opening + text_of([each for each in ids if each not in special], plain=False)
