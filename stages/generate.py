"""task → edit: the model reads a passage and writes its own training data for it (SEAL section 3)."""

from collections.abc import Collection, Iterable, Iterator
from dataclasses import asdict, replace
from itertools import islice

from stages.domains.base import Domain
from stages.domains.qa import NO_EDIT
from stages.engines.base import Completion, Engine, Prompt, Request, Sampling, Unwatched, Watch
from stages.failures import BadInput
from stages.plan import Plan
from stages.records import Record, SelfEdit, Task, content_id, derive_seed


def plan(records: Iterable[Record], *, samples: int) -> Plan:
    """A line for each sample of each task. One whose completion the engine failed to give is asked for again."""
    tasks = {key_of(task, sample): Record(task=task) for task in unique_tasks(records) for sample in range(samples)}
    return Plan("edit", tasks, lambda line: key_of(line.task, line.edit.sample if line.edit else 0), is_written)


def is_written(line: Record) -> bool:
    """Whether the editor has answered, were it with a refusal."""
    return line.edit is None or line.edit.finish != "failed"


def key_of(task: Task, sample: int) -> str:
    return f"{task.id}/{sample}"


def run(
    records: Iterable[Record],
    engine: Engine,
    *,
    domain: Domain,
    template: str = "implications",
    samples: int = 5,  # SEAL App. B: k = 5
    sampling: Sampling = Sampling(),
    chat: bool = False,
    keys: Collection[str] | None = None,
    watch: Watch = Unwatched(),
) -> Iterator[Record]:
    """`samples` self-edits of each task as they come; of these `keys` only. A task counts once."""
    asked: dict[str, tuple[Task, int, Prompt, Request]] = {}
    for task in unique_tasks(records):
        prompt = domain.edit_prompt(task, template, chat=chat)
        for sample in range(samples):
            key, own = key_of(task, sample), replace(sampling, seed=derive_seed(sampling.seed, task.id, sample))
            if keys is None or key in keys:
                asked[key] = task, sample, prompt, Request(key, prompt, own)
    for completion in engine.sample([request for *_, request in asked.values()], watch):
        task, sample, prompt, request = asked.pop(completion.id)
        yield Record(task=task, edit=_edit(task, sample, prompt, request, completion, engine.model, template))


def _edit(
    task: Task, sample: int, prompt: Prompt, request: Request, completion: Completion, model: str, template: str
) -> SelfEdit:
    return SelfEdit(
        id=content_id(task.id, model, template, sample, completion.text),
        sample=sample,
        model=model,
        template=template,
        prompt=prompt if isinstance(prompt, str) else tuple(prompt),  # type: ignore[arg-type]
        completion=completion.text,
        finish=completion.finish,
        tokens=completion.tokens,
        sampling=asdict(request.sampling),
        error=completion.error,
    )


def passage_only(records: Iterable[Record], *, keys: Collection[str] | None = None) -> Iterator[Record]:
    """One empty self-edit per task: the baseline that trains on the passage alone. Asks no model."""
    for task in unique_tasks(records):
        if keys is not None and key_of(task, 0) not in keys:
            continue
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
    """The tasks of the lines, each once. Raises BadInput for two that share an id."""
    seen: dict[str, Task] = {}
    for record in records:
        task = record.task
        if task.id not in seen:
            seen[task.id] = task
            yield task
        elif seen[task.id] != task:
            raise BadInput(f"two different tasks have the id {task.id}; give each its own")
