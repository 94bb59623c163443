"""Requests, trainings and examples in tokens of a model, each text counted once."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from stages.interfaces import Completion, Example, FitJob, Prompt, Request
from stages.planning.batches import SizedRequest
from stages.planning.steps import SizedJob
from stages.settings import PadMode
from stages.tokens.token_counts import TokenCounter
from stages.tokens.tokenization import encode_example, encode_prompt, pad_sequence

LETTERS_PER_TOKEN = 4.0  # of a model whose tokenizer is not here, where no calibration has found another


def count_letters(prompt: Prompt) -> int:
    """Count the characters of a prompt, without those that a chat template adds."""
    return len(prompt) if isinstance(prompt, str) else sum(len(turn["content"]) for turn in prompt)


@dataclass
class TokenSizer:
    """Counts in tokens of a model: exactly with the tokenizer of a `local` one, else by letters."""

    model: str
    local: bool
    letters_per_token: float = LETTERS_PER_TOKEN
    prompts: dict[int, tuple[Prompt, int]] = field(default_factory=dict)  # by the prompt's address, which is held
    lessons: dict[tuple[int, str, int], tuple[Any, tuple[int, ...], int]] = field(default_factory=dict)

    @property
    def is_exact(self) -> bool:
        return self.local or Path(self.model).is_dir()

    @cached_property
    def counter(self) -> TokenCounter:
        """What loads the tokenizer when it is first asked."""
        return TokenCounter(self.model)

    def count_prompt(self, request: Request) -> int:
        """Count what the model reads for a request; of one that measures, its continuation, too."""
        if request.continuation is not None and self.is_exact:
            return self.counter.count(Example(request.prompt, request.continuation), end=False)
        known = self.prompts.get(id(request.prompt))
        if known is None:
            if self.is_exact:
                count = len(encode_prompt(self.counter.tokenizer, request.prompt))
            else:
                count = round(count_letters(request.prompt) / self.letters_per_token)
            known = self.prompts[id(request.prompt)] = request.prompt, count
        return known[1]

    def make_row(self, request: Request, completion: Completion) -> SizedRequest:
        """Return a request in tokens, with those of its completion and its end."""
        if request.continuation is not None:
            return SizedRequest(self.count_prompt(request), 0, request.adapter)
        drawn = request.sampling.temperature > 0
        prompt = completion.prompt_tokens or self.count_prompt(request)
        ends = completion.finish != "length"
        return SizedRequest(prompt, (completion.tokens or 0) + ends, request.adapter, drawn)

    def size_job(self, job: FitJob) -> tuple[SizedJob, int]:
        """Return a training in tokens, and the tokens of an epoch without pads."""
        rows, tokens = self._size_lesson(job)
        config = job.config
        return SizedJob(rows, config.batch_size * config.accumulation, config.epochs), tokens

    def _size_lesson(self, job: FitJob) -> tuple[tuple[int, ...], int]:
        key = id(job.lesson.examples), job.config.pad_mode, job.config.pad_to  # the seeds of a self-edit share them
        if key not in self.lessons:
            mode, tokenizer = PadMode.parse(job.config.pad_mode), self.counter.tokenizer
            found = [encode_example(tokenizer, each, end=mode.end) for each in job.lesson.examples]
            tokens = sum(len(each.ids) for each in found)
            if mode.padded:
                end = tokenizer.eos_token_id
                found = [pad_sequence(each, mode.samples, job.config.pad_to, end) for each in found]
            self.lessons[key] = job.lesson.examples, tuple(len(each.cells) for each in found), tokens
        return self.lessons[key][1:]

    def count_examples(self, examples: Iterable[Example]) -> Sequence[int]:
        """Count the tokens of examples as the outer update trains them, with what is rejected for them."""
        return [sum(self.counter.count(each, end=True) for each in (one, *_list_rejected(one))) for one in examples]


def _list_rejected(example: Example) -> tuple[Example, ...]:
    return () if example.rejected is None else (replace(example, completion=example.rejected, rejected=None),)
