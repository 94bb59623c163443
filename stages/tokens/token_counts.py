"""Count tokens in a process that plans the work and loads no model; not even the tokenizer where a bound is enough."""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from stages.errors import Untrainable
from stages.interfaces import MAX_ROW_TOKENS, Example, FitJob, Prompt
from stages.models.config import get_context_length, read_config
from stages.models.directories import check_model, read_object
from stages.models.loading import load_tokenizer
from stages.settings import PadMode
from stages.tokens.tokenization import describe_overlong, encode_example, encode_prompt, token_upper_bound

COMMON_CONTEXT = 2048  # tokens for which no hub model's settings are read: but for GPT-2's like, all hold so many


@dataclass(frozen=True)
class TokenCounter:
    """Counts examples in tokens of a model: a directory, or a hub name.

    Raises MissingInput or BadInput for a path without a model.
    """

    model: str
    most: int | None = None  # tokens that a sequence is padded to

    def __post_init__(self) -> None:
        check_model(self.model)

    def fits(self, example: Example) -> bool:
        """True for a row to train on: below 8192 tokens, and no longer than the model's context."""
        return self._is_within(self.tokens(example))

    def tokens(self, example: Example) -> int:
        """Count the tokens with the end token behind, as they are trained; only a bound of them if that fits.

        Raise BadConfig for a chat if the model has no chat template and the tokens must be counted.
        """
        bound = token_upper_bound(example)
        return bound if bound is not None and self._is_within(bound) else self.count(example, end=True)

    def count(self, example: Example, *, end: bool) -> int:
        """Count the tokens, `end`: with the end token behind."""
        return len(encode_example(self.tokenizer, example, end=end).ids)

    def leaves_room(self, prompt: Prompt) -> bool:
        """True if the model's context holds at least one token more than the prompt."""
        bound = token_upper_bound(Example(prompt, ""))
        if self.context is None or (bound is not None and bound < self.context):
            return True
        return len(encode_prompt(self.tokenizer, prompt)) < self.context

    def holds(self, example: Example, *, end: bool) -> bool:
        """True if the example, `end`: with the end token behind it, is no longer than the model's context."""
        return self.surely_holds(example) or self.count(example, end=end) <= (self.context or 0)

    def surely_holds(self, example: Example) -> bool:
        """True if a bound says that the model's context holds the example. Nothing is loaded for it."""
        bound = token_upper_bound(example)
        return self.context is None or (bound is not None and bound <= self.context)

    def check(self, example: Example) -> None:
        """Raise Untrainable for an example that, with its end, is longer than the model's context.

        Also for a chat that the model's template does not write; BadConfig if that writes no such chat at all.
        """
        count = self.count(example, end=True)
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
        """Most tokens of a row. Raises BadInput or Unavailable if the model's settings cannot be read."""
        return min(MAX_ROW_TOKENS - 1, self.context or MAX_ROW_TOKENS, self.most or MAX_ROW_TOKENS)

    def _is_within(self, count: int) -> bool:
        if self.most is None and count <= COMMON_CONTEXT and not Path(self.model).is_dir():
            return True
        return count <= self.limit

    @cached_property
    def tokenizer(self) -> Any:
        """The model's tokenizer. Raises as `load_tokenizer` does."""
        return load_tokenizer(self.model)


def count_crowded(model: str, prompts: Iterable[Prompt]) -> tuple[int, str]:
    """Count the prompts that leave no room for a completion, with a sentence for the user; 0 for a model elsewhere."""
    if not Path(model).is_dir():
        return 0, ""
    counter, asked = TokenCounter(model), list(prompts)
    fits = {id(prompt): counter.leaves_room(prompt) for prompt in {id(prompt): prompt for prompt in asked}.values()}
    crowded = sum(not fits[id(prompt)] for prompt in asked)  # the samples of a task share their prompt
    return crowded, (
        f"{crowded} prompts leave no room in {model}'s context of {counter.context} tokens: they "
        "would fail; shorten their tasks, or leave them out"
    )


def count_overlong(model: str, examples: Iterable[Example]) -> tuple[int, str]:
    """Count the texts that are longer than the context, with a sentence for the user; 0 for a model elsewhere."""
    if not Path(model).is_dir():
        return 0, ""
    counter = TokenCounter(model)
    long = sum(not counter.holds(example, end=False) for example in examples)
    return long, f"{long} texts are longer than {model}'s context of {counter.context} tokens: they stay unscored"


def count_untrainable(model: str, jobs: Iterable[FitJob]) -> tuple[int, str]:
    """Count the trainings with a sequence that is longer than the context, with a sentence for the user."""
    if not Path(model).is_dir():
        return 0, ""
    counter, known, failed, held = TokenCounter(model), dict[int, bool](), 0, list(jobs)
    for job in held:  # while they are held, an id is one object's
        end, examples = PadMode.parse(job.config.pad_mode).end, job.lesson.examples
        if id(examples) not in known:  # the seeds of a self-edit share their examples
            known[id(examples)] = all(counter.holds(example, end=end) for example in examples)
        failed += not known[id(examples)]
    return failed, (
        f"{failed} trainings have a sequence longer than {model}'s context of "
        f"{counter.context} tokens: they would fail; split their passages into several tasks"
    )
