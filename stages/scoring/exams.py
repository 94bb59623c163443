"""Tasks of another file that adapters answer: instead of their own (an exam), or beside them (anchors)."""

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from stages.errors import BadConfig, BadInput, BadLine, MissingInput
from stages.file_kinds import check_lines
from stages.records.frozen import content_id
from stages.records.jsonl import read_bounded_lines
from stages.records.parser import read_records
from stages.records.record import Record
from stages.records.task import Task
from stages.scoring.grading import ask_other_task
from stages.sources.datasets.folders import suggest_paths
from stages.sources.repeats import UniqueLines


def read_exam(path: Path, flag: str, domain: str, check: Callable[[Task], object]) -> tuple[Task, ...]:
    """Read the tasks of a file of lines, each once, in their order. `check` raises BadLine for one without questions.

    The whole file has to be good: an answer less would be another mean. Raises BadInput with its line for what is
    wrong, and for a task that is not of this domain.
    """
    if not path.exists():
        raise MissingInput(f"{flag} {path}: no such file{suggest_paths(path)}")
    if path.is_dir():
        raise BadInput(f"{flag} {path}: a folder; give a file of lines (seal tasks {path} -o FILE)")
    found, distinct = dict[str, Task](), UniqueLines()
    with path.open("rb") as file:
        lines = read_records(check_lines(read_bounded_lines(file), str(path)), f"{flag} {path}")
        for record in lines:
            task = record.task
            try:
                if task.domain != domain:
                    raise BadLine(
                        f"task {task.name!r} is of the domain {task.domain}, but the adapters are of {domain}"
                    )
                check(task)
                distinct.add_task(task)
            except BadLine as error:
                raise BadInput(f"{flag} {path}, line {lines.number}: {error}") from None
            found.setdefault(task.id, task)
    if not found:
        raise BadInput(f"{flag} {path}: no tasks in it; it takes the lines of `seal tasks`, or of any stage behind it")
    return tuple(found.values())


def list_exam_lines(lines: Iterable[Record], tasks: Sequence[Task], *, is_shard: bool = False) -> list[Record]:
    """List a line for each task and each adapter, which many lines may share. Raises BadLine for one without.

    Raises BadConfig for a shard with an adapter that lines of the others may share: each would ask it everything.
    """
    found: dict[str, list[Record]] = {}
    for line in lines:
        if is_shard and line.adapter and (line.adapter.is_pooled or line.adapter.origin):
            told = f"lines of other shards share the adapter {line.adapter.id}, and each shard would ask it everything"
            raise BadConfig(f"--on with --shard: {told}; leave --shard out")
        if line.adapter is None or line.adapter.id not in found:
            about = [ask_other_task(line, task) for task in tasks]
            found[line.adapter.id if line.adapter else ""] = about
    return [line for about in found.values() for line in about]


def identify_tasks(tasks: Iterable[Task]) -> str:
    """Return what tells these tasks from others in a run's settings."""
    return content_id([task.model_dump(mode="json") for task in tasks])


def require_adapters(lines: Sequence[Record]) -> None:
    """Raise BadConfig where there are lines, and none has an adapter that answers the anchors."""
    if lines and not any(line.adapter for line in lines):
        raise BadConfig("--retain: it asks adapters, and no line has one (run `seal adapt` first); leave it out")


def refuse_other_tasks(lines: Iterable[Record], anchors: Iterable[Task]) -> None:
    """Raise BadLine where an anchor has the id of a line's task, but is another."""
    distinct = UniqueLines()
    for task in (*(line.task for line in lines), *anchors):
        distinct.add_task(task)
