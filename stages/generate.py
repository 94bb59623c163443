"""task → edit: the model reads a passage and writes its own training data for it (SEAL section 3)."""

from collections.abc import Collection, Iterable, Iterator
from dataclasses import asdict, dataclass, replace
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


@dataclass(frozen=True)
class Writing:
    """How self-edits are asked for."""

    domain: Domain
    template: str = "implications"
    samples: int = 5  # SEAL App. B: k = 5
    sampling: Sampling = Sampling()
    chat: bool = False

    def prompt(self, task: Task) -> Prompt:
        """Raises BadConfig for an unknown template."""
        return self.domain.edit_prompt(task, self.template, chat=self.chat)


@dataclass(frozen=True)
class Sought:
    """A self-edit that is to be written: which sample of which task, and the request for it."""

    task: Task
    sample: int
    request: Request


def run(
    records: Iterable[Record],
    engine: Engine,
    writing: Writing,
    *,
    keys: Collection[str] | None = None,
    watch: Watch = Unwatched(),
) -> Iterator[Record]:
    """The self-edits of each task as they come; of these `keys` (see `plan`) only. A task counts once."""
    asked = {sought.request.id: sought for sought in _sought(records, writing, keys)}
    for completion in engine.sample([sought.request for sought in asked.values()], watch):
        sought = asked.pop(completion.id)
        yield Record(task=sought.task, edit=_edit(sought, completion, engine.model, writing.template))


def requests(records: Iterable[Record], writing: Writing) -> Iterator[Request]:
    """What an engine would be asked, without asking it."""
    return (sought.request for sought in _sought(records, writing, None))


def _sought(records: Iterable[Record], writing: Writing, keys: Collection[str] | None) -> Iterator[Sought]:
    for task in unique_tasks(records):
        prompt, sampling = writing.prompt(task), writing.sampling
        for sample in range(writing.samples):
            key, own = key_of(task, sample), replace(sampling, seed=derive_seed(sampling.seed, task.id, sample))
            if keys is None or key in keys:
                yield Sought(task, sample, Request(key, prompt, own))


def _edit(sought: Sought, completion: Completion, model: str, template: str) -> SelfEdit:
    prompt = sought.request.prompt
    return SelfEdit(
        id=content_id(sought.task.id, model, template, sought.sample, completion.text),
        sample=sought.sample,
        model=model,
        template=template,
        prompt=prompt if isinstance(prompt, str) else tuple(prompt),  # type: ignore[arg-type]
        completion=completion.text,
        finish=completion.finish,
        tokens=completion.tokens,
        sampling=asdict(sought.request.sampling),
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


def check_template(records: Iterable[Record], writing: Writing) -> None:
    """Raises for an unknown template before a model is loaded."""
    for task in islice(unique_tasks(records), 1):
        writing.prompt(task)


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
