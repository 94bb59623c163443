"""Retrieval: of a library's passages the best for each question, by BM25 (bm25s, arXiv 2407.03618).

The query is what the closed-book prompt says, too: the topic and the question. A passage that shares no term with it is
never taken, so that a question may get fewer than it asked for, or none: it is then asked without a passage.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from stages.domains.base import Domain
from stages.domains.qa import QA, require_passage
from stages.domains.retrieval.terms import split_terms
from stages.errors import BadConfig, BadLine
from stages.records.frozen import content_id
from stages.records.task import QaTask, Task
from stages.scoring.exams import read_exam
from stages.settings import Retrieval

_RULES_VERSION = 1  # of terms and ranks; another number where they come to be found otherwise


@dataclass(frozen=True)
class ChunkIndex:
    """The passages of a library, each once, in the order of their ids: that of the file changes nothing."""

    chunks: tuple[QaTask, ...]

    @classmethod
    def of(cls, tasks: Iterable[QaTask]) -> "ChunkIndex":
        """Index tasks; of those with the same title and passage the one with the first id."""
        ordered = sorted(tasks, key=lambda task: task.id)
        return cls(tuple({(task.title, task.context): task for task in reversed(ordered)}.values())[::-1])

    @property
    def identity(self) -> str:
        """What tells the passages, and how they are found, from others in a run's settings."""
        return content_id(_RULES_VERSION, [[chunk.id, chunk.title, chunk.context] for chunk in self.chunks])

    def find(self, query: str, most: int) -> tuple[QaTask, ...]:
        """Return the best passages for a text, the best first; of equal ones that with the smaller id."""
        terms, index = self._index
        asked = [terms[term] for term in split_terms(query) if term in terms]
        if not asked:
            return ()
        scores = index.get_scores_from_ids(asked)
        found = np.flatnonzero(scores > 0)
        if len(found) > most:
            found = np.flatnonzero(scores >= np.partition(scores, -most)[-most])
        best = found[np.argsort(-scores[found], kind="stable")][:most]
        return tuple(self.chunks[place] for place in best)

    @cached_property
    def _index(self) -> tuple[Mapping[str, int], Any]:
        """The number of each term, and the index."""
        import bm25s  # type: ignore[import-untyped]

        terms: dict[str, int] = {}
        texts = [split_terms(f"{chunk.title}\n{chunk.context}") for chunk in self.chunks]
        ids = [[terms.setdefault(term, len(terms)) for term in text] for text in texts]
        index = bm25s.BM25(method="lucene", dtype="float64")
        if terms:
            index.index((ids, terms), create_empty_token=False, show_progress=False)
        return terms, index


def retrieve_chunks(
    domain: Domain, tasks: Iterable[Task], retrieval: Retrieval, *, in_context: bool
) -> tuple[Domain, Mapping[str, Any]]:
    """Return the domain with passages for each task's questions, and what a run's settings say of them.

    Without --retrieve the domain itself and nothing. Raises BadConfig for flags that contradict each other,
    MissingInput or BadInput for a file without passages.
    """
    path, most = retrieval.retrieve, retrieval.get_most(in_context=in_context)
    if path is None:
        return domain, {}
    if not isinstance(domain, QA):
        raise BadConfig(f"--retrieve {path}: tasks of the domain {domain.name} have no passages to find; leave it out")
    library = read_exam(path, "--retrieve", domain.name, _check_passage)
    index = ChunkIndex.of(require_passage(task) for task in library)
    shown = {key: found for key, query in _list_queries(tasks) if (found := index.find(query, most))}
    return replace(domain, shown=shown), {"retrieve": index.identity, "chunks": most}


def _check_passage(task: Task) -> None:
    if not task.text.strip():
        raise BadLine(f"task {task.name!r} has no passage")


def _list_queries(tasks: Iterable[Task]) -> Iterator[tuple[tuple[str, str], str]]:
    for task in map(require_passage, tasks):
        for question in task.questions:
            yield (task.id, question.id), f"{task.title}\n{question.question}"
