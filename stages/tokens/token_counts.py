"""How many tokens an example has, for a process that plans the work and loads no model.

Where a bound settles whether an example fits, neither transformers nor the tokenizer is loaded.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from stages.errors import Untrainable
from stages.interfaces import MAX_ROW_TOKENS, Example, Prompt
from stages.models.config import get_context_length, read_config
from stages.models.inspection import check_model, read_object
from stages.models.loading import load_tokenizer

MARKUP_TOKENS = (
    256  # tokens that a template and a tokenizer may put around a text: Llama 3.2 puts some 30 around a system's
)
NO_CHAT_ADVICE = "; use --no-chat, or other turns"  # the next move where a template will not do
ANY_CONTEXT = 2048  # tokens for which no hub model's settings are read: but for GPT-2's like, all hold so many


@dataclass(frozen=True)
class TokenCounter:
    """The lengths of examples in tokens of this model: a directory, or a hub name.

    Raises MissingInput or BadInput for a path without a model.
    """

    model: str
    most: int | None = None  # tokens that a sequence is padded to

    def __post_init__(self) -> None:
        check_model(self.model)

    def fits(self, example: Example) -> bool:
        """Whether the example is a row to train on: of fewer than 8192 tokens, and no more than the model's context."""
        return self._within(self.tokens(example))

    def tokens(self, example: Example) -> int:
        """Its tokens with the end token behind, as they are trained; only a bound of them where that one fits.

        Raises BadConfig for a chat where the model has no chat template, if it comes to counting.
        """
        bound = token_upper_bound(example)
        return bound if bound is not None and self._within(bound) else self._exact(example, end=True)

    def _exact(self, example: Example, *, end: bool) -> int:
        from stages.tokens.tokenization import encode_example

        return len(encode_example(self.tokenizer, example, end=end).ids)

    def leaves_room(self, prompt: Prompt) -> bool:
        """Whether the model's context holds at least one token more than the prompt."""
        if self.context is None:
            return True
        bound = token_upper_bound(Example(prompt, ""))
        if bound is not None and bound < self.context:
            return True
        from stages.tokens.tokenization import encode_prompt

        return len(encode_prompt(self.tokenizer, prompt)) < self.context

    def holds(self, example: Example, *, end: bool) -> bool:
        """Whether the example, `end`: with the end token behind it, is no longer than the model's context."""
        return self.surely_holds(example) or self._exact(example, end=end) <= (self.context or 0)

    def surely_holds(self, example: Example) -> bool:
        """Whether the model's context holds the example, by a bound of it: nothing is loaded to say so."""
        bound = token_upper_bound(example)
        return self.context is None or (bound is not None and bound <= self.context)

    def check(self, example: Example) -> None:
        """Raises Untrainable for an example that, with its end, is longer than the model's context.

        Also for a chat that the model's template does not write; BadConfig where that writes no such chat at all.
        """
        count = self._exact(example, end=True)
        if self.context is not None and count > self.context:
            start = describe_overlong(example, count, f"the model's context of {self.context}")
            raise Untrainable(f"{start}; shorten it, or take a model with a longer context")

    @cached_property
    def context(self) -> int | None:
        """Tokens that the model takes; None: any number. Raises BadInput or Unavailable without its settings."""
        folder = Path(self.model)
        written = get_context_length(read_object(folder / "config.json")) if folder.is_dir() else None
        return written or get_context_length(read_config(self.model))

    @cached_property
    def limit(self) -> int:
        """Most tokens of a row. Raises BadInput or Unavailable where the model's settings cannot be read."""
        return min(MAX_ROW_TOKENS - 1, self.context or MAX_ROW_TOKENS, self.most or MAX_ROW_TOKENS)

    def _within(self, count: int) -> bool:
        if self.most is None and count <= ANY_CONTEXT and not Path(self.model).is_dir():
            return True
        return count <= self.limit

    @cached_property
    def tokenizer(self) -> Any:
        """The model's. Raises as `load_tokenizer` does."""
        return load_tokenizer(self.model)


def token_upper_bound(example: Example) -> int | None:
    """A bound by the length of the texts, if they are ASCII: each token stands for one of their bytes or more.

    None for others: some tokenizers lengthen them first (Unicode normalization). Where there is no system turn, a
    template may say more of its own than the bound allows for.
    """
    found = list(_texts(example))
    return sum(len(text) + MARKUP_TOKENS for text in found) if all(text.isascii() for text in found) else None


def describe_overlong(example: Example, count: int, limit: str) -> str:
    """What is said of an example of so many tokens."""
    return f"a training sequence of {count} tokens ({example.completion[:50]!r}…) is longer than {limit}"


def _texts(example: Example) -> Iterator[str]:
    """The texts of the example, those of a chat turn by turn."""
    yield from [example.prompt] if isinstance(example.prompt, str) else (turn["content"] for turn in example.prompt)
    yield example.completion
