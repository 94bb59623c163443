"""Ask for self-edits, in ways that their domain and engine have, and write them down as lines."""

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, replace

from stages.domains.base import Domain, refuse_flags
from stages.domains.qa import require_passage
from stages.domains.templates.entigraph import EntityGraph
from stages.domains.templates.mix import TemplateMix
from stages.errors import BadEdit, BadInput, refuse_given
from stages.interfaces import Completion, Prompt, Request
from stages.records.frozen import content_id, derive_seed
from stages.records.record import Record, SelfEdit
from stages.records.task import Task
from stages.records.thoughts import explain_no_answer, extract_answer
from stages.settings import Sampling
from stages.sources.repeats import UniqueLines

_BY_HAND = "none"  # stands for the model of a self-edit that no model wrote


@dataclass(frozen=True)
class Writing:
    """How self-edits are asked for.

    `retries`: how often a self-edit that cannot be read is asked for again; the last one counts. `unique`: so is one
    that chooses what an earlier sample of its task chose, and in the end it is left out. `structured`: the engine may
    write nothing but what the domain's schema allows. `graph`: a self-edit takes several calls, the first asks for
    entities. `mix`: each sample of a task takes a template of its own.
    """

    domain: Domain
    template: str = "implications"
    samples: int = 5  # SEAL App. B: k = 5
    sampling: Sampling = Sampling()
    chat: bool = False
    retries: int = 0
    unique: bool = False
    structured: bool = False
    identity: str | None = None  # what tells the model from others in ids, if its name does not
    graph: EntityGraph | None = None
    mix: TemplateMix | None = None

    def prompt(self, task: Task, sample: int = 0) -> Prompt:
        """Write the prompt of a sample, or of its first call. Raises BadConfig for an unknown template."""
        if self.graph:
            return self.graph.ask_entities(require_passage(task), chat=self.chat)
        template = self.mix.pick(self.sampling.seed, task.id, sample).template if self.mix else self.template
        return self.domain.edit_prompt(task, template, chat=self.chat)

    def name_template(self, task: Task, sample: int) -> str:
        """Return the template of a sample, as its line calls it."""
        return self.mix.pick(self.sampling.seed, task.id, sample).name if self.mix else self.template

    @property
    def text(self) -> object:
        """The text of the template or of all of them, for a run's settings."""
        several = self.graph or self.mix
        return several.texts if several else self.domain.template_text(self.template)

    @property
    def most_tokens(self) -> int:
        """Tokens that a self-edit has at most: of all calls whose texts it joins."""
        return self.sampling.max_tokens * (self.graph.calls if self.graph else 1)

    def request(self, task: Task, sample: int, attempt: int, prompt: Prompt) -> Request:
        """Make the request for a sample of a task; another attempt has another seed."""
        seed = derive_seed(self.sampling.seed, task.id, sample)
        own = derive_seed(seed, task.id, attempt) if attempt else seed
        schema = self.domain.schema() if self.structured else None
        return Request(make_edit_key(task, sample), prompt, replace(self.sampling, seed=own), schema=schema)


def make_edit_key(task: Task, sample: int) -> str:
    return f"{task.id}/{sample}"


@dataclass(frozen=True)
class EditRequest:
    """A requested self-edit: which sample of which task, and the request for it."""

    line: Record
    sample: int
    request: Request

    @property
    def task(self) -> Task:
        return self.line.task


def list_requests(records: Iterable[Record], writing: Writing, keys: Collection[str] | None) -> Iterator[EditRequest]:
    for line in unique_tasks(records):
        prompt = None if writing.mix else writing.prompt(line.task)
        for sample in range(writing.samples):
            if keys is None or make_edit_key(line.task, sample) in keys:
                own = writing.prompt(line.task, sample) if prompt is None else prompt
                yield EditRequest(line, sample, writing.request(line.task, sample, 0, own))


def make_next_request(sought: EditRequest, writing: Writing, attempt: int) -> EditRequest:
    request = writing.request(sought.task, sought.sample, attempt, sought.request.prompt)
    return replace(sought, request=request)


def make_edit(sought: EditRequest, completion: Completion, model: str, writing: Writing) -> SelfEdit:
    prompt, chosen, error = sought.request.prompt, None, completion.error
    template = writing.name_template(sought.task, sought.sample)
    said = extract_answer(completion.text, completion.finish)
    if error is None and said is None:
        error = explain_no_answer(completion.finish)
    elif error is None and said is not None:
        try:
            chosen = writing.domain.read_choice(said)
        except BadEdit as bad:
            error = str(bad)
    return SelfEdit(
        id=content_id(sought.task.id, writing.identity or model, template, sought.sample, completion.text),
        sample=sought.sample,
        model=model,
        template=template,
        prompt=prompt if isinstance(prompt, str) else tuple(prompt),  # type: ignore[arg-type]
        completion=completion.text,
        finish=completion.finish,
        tokens=completion.tokens,
        sampling=sought.request.sampling.settings | ({"structured": True} if sought.request.schema else {}),
        error=error,
        chosen=chosen,
    )


def write_fixed_edits(
    records: Iterable[Record], domain: Domain, template: str, text: str, *, keys: Collection[str] | None = None
) -> Iterator[Record]:
    """Yield the same self-edit for every task, without a model: empty for passage-only, a person's for the oracle."""
    for line in unique_tasks(records):
        task = line.task
        if keys is not None and make_edit_key(task, 0) not in keys:
            continue
        edit = SelfEdit(
            id=content_id(task.id, template, text) if text else content_id(task.id, template),
            sample=0,
            model=_BY_HAND,
            template=template,
            prompt="",
            completion=text,
            finish="stop",
            tokens=0,
            sampling={},
            error=None,
            chosen=domain.read_choice(text),
        )
        yield line.grow(edit=edit)


class SampleKeys:
    """Lists the keys of each line's samples; of a task that comes again none. Raises BadInput for two of one id."""

    def __init__(self, samples: int) -> None:
        self.samples, self.distinct = samples, UniqueLines()

    def __call__(self, line: Record) -> list[str]:
        again = line.task.id in self.distinct.tasks
        self.distinct.add_task(line.task)
        return [] if again else [make_edit_key(line.task, sample) for sample in range(self.samples)]


def unique_tasks(records: Iterable[Record]) -> Iterator[Record]:
    """Yield a line for each task, with the meta of its first. Raises BadInput for two tasks that share an id."""
    seen: dict[str, Task] = {}
    for record in records:
        task = record.task
        if task.id not in seen:
            seen[task.id] = task
            yield record.grow(edit=None, adapter=None, score=None)
        elif seen[task.id] != task:
            raise BadInput(f"two different tasks have the id {task.id}; give each its own")


def refuse_asking(template: str, **given: object) -> None:
    """Raise BadConfig for flags of a model that nobody asks."""
    flags = {("-k" if name == "k" else f"--{name.replace('_', '-')}"): value for name, value in given.items()}
    refuse_given(flags, f"--template {template} asks no model; leave it out")


def refuse_writing(domain: Domain, engine: str, batched: bool, retries: int, *, unique: bool, structured: bool) -> None:
    """Raise BadConfig for ways of writing self-edits that this domain or this engine has not."""
    again, bound = {"--retry-invalid": retries or None}, {"--structured": structured or None}
    refuse_flags(domain, "generate", {**again, "--unique": unique, **bound})
    if batched:
        refuse_given(again, "a batch answers once")
    if engine not in ("vllm", "openai"):
        refuse_given(bound, f"--engine {engine} cannot; give vllm or openai")
