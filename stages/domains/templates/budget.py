"""A budget of tokens for the self-edits of each task, so that ways of writing are compared at equal length."""

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass

from stages.errors import BadConfig
from stages.interfaces import NullProgress, Progress
from stages.records.record import Record
from stages.scoring.candidates import is_written

MOST_SAMPLES = 64  # of a task, where -k does not say it: an editor that writes nothing ends, too


@dataclass(frozen=True)
class TokenBudget:
    """Asks for the samples of each task, by their numbers, until they have so many tokens; the last one is kept whole.

    `longest`: tokens of a self-edit at most. As many samples are asked at once as the budget takes in any case, so
    which are asked depends on nothing but the samples before them.
    """

    tokens: int
    longest: int

    def fill(
        self,
        keys: Collection[str],
        finished: Iterable[Record],
        ask: Callable[[Collection[str]], Iterator[Record]],
        progress: Progress = NullProgress(),
    ) -> Iterator[Record]:
        """Yield the lines of those of these keys (`task/sample`) that the budget takes. `finished` ones count.

        A task of which a completion never came waits for it: it is for the same command to ask again. The progress is
        of tokens, and those over a task's budget are none: how many samples it takes, nobody knows before.
        """
        have, left = self.count(finished), dict[str, list[int]]()
        for key in keys:
            task, _, sample = key.rpartition("/")
            left.setdefault(task, []).append(int(sample))
        for samples in left.values():
            samples.sort(reverse=True)
        progress.expect(sum(self._count_missing(have[task]) for task in left))
        while wanted := {
            f"{task}/{samples.pop()}"
            for task, samples in left.items()
            for _ in range(min(len(samples), -(-self._count_missing(have[task]) // self.longest)))
        }:
            for line in ask(wanted):
                missing = self._count_missing(have[line.task.id])
                have[line.task.id] += self._length(line)
                progress.add_trained(missing - self._count_missing(have[line.task.id]))
                if not is_written(line):
                    left[line.task.id].clear()
                yield line

    @property
    def limit(self) -> str:
        """The budget, as the end of a sentence about all samples."""
        return f" at most, until each task has {self.tokens:,} tokens"

    def _count_missing(self, have: int) -> int:
        return max(0, self.tokens - have)

    def _length(self, line: Record) -> int:
        if line.edit is None or not is_written(line):
            return 0
        if line.edit.tokens is None:
            raise BadConfig(
                f"--budget-tokens {self.tokens}: {line.edit.model} does not say how many tokens a completion has; "
                "leave it out, and give -k"
            )
        return line.edit.tokens

    def count(self, lines: Iterable[Record]) -> Counter[str]:
        """Count the tokens that each task has."""
        have = Counter[str]()
        for line in lines:
            have[line.task.id] += self._length(line)
        return have

    def describe(self, lines: Sequence[Record]) -> Iterator[str]:
        """Say by how much the tasks miss the budget."""
        have = self.count(lines)
        over = sum(max(0, tokens - self.tokens) for tokens in have.values())
        short = sum(tokens < self.tokens for tokens in have.values())
        yield (
            f"{len(lines)} self-edits of {len(have)} tasks have {sum(have.values()):,} tokens; {over:,} are over the "
            f"budget of {self.tokens:,} a task, since the last one stays whole"
        )
        if short:
            yield f"{short} tasks have fewer tokens than that: all their samples were asked for, or one never came"
