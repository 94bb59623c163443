"""Prompts and examples as token ids: one place, for sampling and for training alike."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from jinja2 import TemplateError

from stages.engines.base import Example, Lesson, Prompt
from stages.failures import BadConfig, BadInput


@dataclass(frozen=True)
class Tokens:
    """A training sequence: ids, and how many of them at the front carry no loss."""

    ids: tuple[int, ...]
    silent: int

    @property
    def labels(self) -> list[int]:
        """The ids with -100 where there is no loss, as transformers expects them."""
        return [-100] * self.silent + list(self.ids[self.silent :])


def prompt_ids(tokenizer: Any, prompt: Prompt) -> list[int]:
    """Ids of a text (with the start token where the model has one) or of chat messages up to the assistant's turn."""
    if isinstance(prompt, str):
        ids = list(tokenizer(prompt)["input_ids"])
        return ids[:-1] if ids and ids[-1] == tokenizer.eos_token_id else ids
    if not tokenizer.chat_template:
        raise BadConfig(f"{tokenizer.name_or_path} has no chat template; use --no-chat")
    messages = [dict(message) for message in prompt]
    try:
        return list(tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_dict=False))
    except TemplateError as error:  # some refuse a system turn
        raise BadConfig(f"the chat template of {tokenizer.name_or_path} refuses the prompt: {error}") from None


def example_tokens(tokenizer: Any, example: Example, *, end: bool) -> Tokens:
    """The example's ids, loss on the completion (on all tokens where the prompt is empty).

    `end` adds the end token as a last target, so that the model learns where to stop.
    """
    if example.prompt:
        front = prompt_ids(tokenizer, example.prompt)
        back = list(tokenizer(example.completion, add_special_tokens=False)["input_ids"])
    else:
        front, back = [], prompt_ids(tokenizer, example.completion)
    tail = [tokenizer.eos_token_id] if end else []
    return Tokens(tuple(front + back + tail), len(front))


def lesson_tokens(tokenizer: Any, network: Any, lesson: Lesson, *, end: bool) -> list[Tokens]:
    """The sequences of a lesson. Raises BadInput for one that the model's context cannot hold."""
    context = getattr(network.config, "max_position_embeddings", None)
    sequences = [example_tokens(tokenizer, example, end=end) for example in lesson.examples]
    for example, sequence in zip(lesson.examples, sequences, strict=True):
        if context is not None and len(sequence.ids) > context:
            start = example.completion[:50]
            raise BadInput(
                f"a training sequence of {len(sequence.ids)} tokens ({start!r}…) is longer than the model's context of "
                f"{context}; split the passage into several tasks"
            )
    return sequences


def end_tokens(tokenizer: Any, model: Any) -> set[int]:
    """Every token at which this model stops: the tokenizer's end token and those of its generation settings."""
    more = model.generation_config.eos_token_id
    return {tokenizer.eos_token_id, *(more if isinstance(more, Sequence) else [] if more is None else [more])}
