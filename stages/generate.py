"""task → edit: the model reads a passage and writes its own training data for it (SEAL section 3)."""

from collections.abc import Iterable, Iterator
from dataclasses import asdict, replace
from itertools import islice

from stages.domains.base import Domain
from stages.domains.qa import NO_EDIT
from stages.engines.base import Engine, Prompt, Request, Sampling, in_order
from stages.records import Record, SelfEdit, Task, content_id, derive_seed


def run(
    records: Iterable[Record],
    engine: Engine,
    *,
    domain: Domain,
    template: str = "implications",
    samples: int = 5,  # SEAL App. B: k = 5
    sampling: Sampling = Sampling(),
    chat: bool = False,
) -> Iterator[Record]:
    """`samples` self-edits of each task, in the order of the tasks. Lines of the same task count once."""
    asked: list[tuple[Task, int, Prompt, Request]] = []
    for task in unique_tasks(records):
        prompt = domain.edit_prompt(task, template, chat=chat)
        for sample in range(samples):
            own = replace(sampling, seed=derive_seed(sampling.seed, task.id, sample))
            asked.append((task, sample, prompt, Request(f"{task.id}/{sample}", prompt, own)))
    requests = [request for *_, request in asked]
    completions = in_order(requests, engine.sample(requests))
    for (task, sample, prompt, request), completion in zip(asked, completions, strict=True):
        edit = SelfEdit(
            id=content_id(task.id, engine.model, template, sample, completion.text),
            sample=sample,
            model=engine.model,
            template=template,
            prompt=prompt if isinstance(prompt, str) else tuple(prompt),  # type: ignore[arg-type]
            completion=completion.text,
            finish=completion.finish,
            tokens=completion.tokens,
            sampling=asdict(request.sampling),
            error=None,
        )
        yield Record(task=task, edit=edit)


def passage_only(records: Iterable[Record]) -> Iterator[Record]:
    """One empty self-edit per task: the baseline that trains on the passage alone. Asks no model."""
    for task in unique_tasks(records):
        edit = SelfEdit(
            id=content_id(task.id, NO_EDIT),
            sample=0,
            model=NO_EDIT,
            template=NO_EDIT,
            prompt="",
            completion="",
            finish="stop",
            tokens=0,
            sampling={},
            error=None,
        )
        yield Record(task=task, edit=edit)


def check_template(domain: Domain, records: Iterable[Record], template: str, *, chat: bool) -> None:
    """Raises for an unknown template before a model is loaded."""
    for task in islice(unique_tasks(records), 1):
        domain.edit_prompt(task, template, chat=chat)


def unique_tasks(records: Iterable[Record]) -> Iterator[Task]:
    """The tasks of the lines, each once."""
    seen: set[str] = set()
    for record in records:
        if record.task.id not in seen:
            seen.add(record.task.id)
            yield record.task
