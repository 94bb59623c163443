"""`seal tasks`"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from stat import S_ISDIR, S_ISREG
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

import typer
from annotated_types import Ge

from seal_cli.flags import options as opt
from seal_cli.flags.expand import Without
from seal_cli.flags.run import InputFlags, RunFlags
from seal_cli.terminal.console import note
from stages.errors import BadConfig
from stages.settings import Doc
from stages.sources.chunks.settings import Chunking

if TYPE_CHECKING:
    from seal_cli.runs.run import Run
    from stages.records.record import Record
    from stages.sources.chunks.changes import Since


@dataclass(frozen=True)
class SourceFlags:
    """The sources, and what is read of them."""

    panel: ClassVar[str] = opt.OWN_PANEL
    sources: Annotated[
        tuple[str, ...],
        typer.Argument(metavar="SOURCE", help="Files, folders, datasets' names, or - for stdin.", show_default=False),
    ]
    ids: Annotated[
        tuple[str, ...], Doc("Only this task (repeat it), or those of a file, one id a line.", "ID|FILE")
    ] = ()
    solutions: Annotated[
        Path | None, Doc("ARC's solutions.", "FILE", default="the file beside …challenges….json, if it is there")
    ] = None
    passages: Annotated[
        Path | None,
        Doc("What official results of many passages are about.", "FILE", default="the file beside them that they name"),
    ] = None
    editor: Annotated[
        str | None, Doc("Who wrote the self-edits.", "NAME", default="what the source or its .meta file says")
    ] = None
    sample: Annotated[int | None, Ge(1), Doc("Pick N tasks by the seed.", "N")] = None
    skip: Annotated[int, Ge(0), Doc("Leave out the first M picks: disjoint samples.", "M")] = 0
    split: Annotated[
        str | None,
        Doc("Which split of a dataset, or of a folder with files called so.", "NAME", default="train; of a folder all"),
    ] = None
    config: Annotated[str | None, Doc("Which config of a dataset, or of a folder's card.", "NAME")] = None
    columns: Annotated[
        tuple[str, ...],
        Doc(
            "What a column of the rows is called, for example question=query (repeat it). NAME is id, "
            "title, context, question, answer or answers; of ARC train or test.",
            "NAME=OWN",
            "--column",
        ),
    ] = ()
    unanswerable: Annotated[
        Literal["leave-out", "keep"],
        Doc("Questions without an answer, as of SQuAD 2: left out, or right is who says there is none."),
    ] = "leave-out"
    title: Annotated[str | None, Doc("Of a text on stdin.", "TEXT", default="its first heading")] = None
    since: Annotated[
        Path | None, Doc("Write only what these tasks from before do not have: new and changed passages.", "TASKS")
    ] = None
    concurrency: Annotated[
        int | None, Ge(1), Doc("Most documents that are converted at once.", "N", default="the cores, at most 4")
    ] = None
    domain: Annotated[
        str | None, Doc("Let a domain of yours read the files: package.module:Class.", "CLASS", default="by content")
    ] = None

    def read(self, seed: int) -> dict[str, Any]:
        """Return what the stage is called with. Raises BadConfig for flags that say nothing, or too much."""
        from stages.sources.chunks.changes import Since
        from stages.tasks import Sample

        return {
            "sample": Sample(self.sample, seed, self.skip) if self.sample else None,
            "ids": read_ids(self.ids),
            "split": self.split,
            "config": self.config,
            "columns": _read_columns(self.columns),
            "solutions": self.solutions,
            "title": self.title,
            "keep_unanswerable": self.unanswerable == "keep",
            "domain": self.domain,
            "passages": self.passages,
            "editor": self.editor,
            "since": Since(self.since) if self.since else None,
            "concurrency": self.concurrency,
        }

    @property
    def source(self) -> str | Sequence[str]:
        """The sources as a manifest has them."""
        return self.sources[0] if len(self.sources) == 1 else self.sources

    def settings(self, wanted: dict[str, Any], selected: dict[str, Any]) -> dict[str, Any]:
        """Return what the run's settings say of the sources and of what is read of them."""
        from stages.sources.datasets.folders import get_mode

        default = None if any(S_ISDIR(get_mode(source)) for source in self.sources) else "train"
        unusual = {name: wanted[name] for name in ("title", "config", "columns", "domain", "editor") if wanted[name]}
        unusual |= {name: str(path) for name in ("passages", "since") if (path := getattr(self, name))}
        return {
            "source": self.source,
            "split": self.split or default,
            "sample": self.sample,
            "skip": self.skip,
            **selected,
            "ids": wanted["ids"] or None,
            "solutions": str(self.solutions) if self.solutions else None,
            **unusual,
            **({"unanswerable": "keep"} if wanted["keep_unanswerable"] else {}),
        }


def tasks(
    run: Annotated[RunFlags, Without("journal", "dry_run")],
    lines: Annotated[InputFlags, Without("file")],
    flags: SourceFlags,
    chunking: Chunking,
    seed: opt.Seed = 0,
) -> int:
    """Read sources into task lines. What they already hold is kept: completions as edits, rewards as scores.

    Known are texts (.txt, .md, .markdown, .rst), documents (.pdf, .html, .docx, .epub), code, SQuAD's JSON (1.1 and
    2.0), lists and lines of {title, context, questions: [{question, answer}]}, rows of one question and its answers,
    tables, ARC's challenges and single tasks, record lines, datasets with SQuAD's columns, and the official SEAL files.
    Folders are read to any depth; what is left out is said. What two files share is taken once.
    A text or document is one task, or with --chunk-tokens one for each chunk.

    \b
    Examples:
      seal tasks squad.json -o tasks.jsonl
      seal tasks notes/ more.md questions.jsonl -o tasks.jsonl
      seal tasks handbook/ --chunk-tokens 512 --model DIR -o tasks.jsonl
      seal tasks handbook/ --chunk-tokens 512 --model DIR --since tasks.jsonl -o new.jsonl
      curl -s https://arxiv.org/pdf/2506.10943 | seal tasks - --title "The SEAL paper"
      seal tasks examples/tiny/train.jsonl --sample 50 --seed 1 --skip 50
      seal tasks rajpurkar/squad --split validation --sample 200
      seal tasks nq.parquet --column question=query --column title=id
      seal tasks cpt_base.json --passages base_val.json | seal report -
      seal tasks gpt4_1_val.json --editor gpt-4.1 -o edits.jsonl
      seal tasks notes.md | seal generate --model DIR
      seal tasks arc-agi_training_challenges.json --ids 007bbfb7 --ids 00d62c1b
    """
    from seal_cli.runs.rejects import open_rejects  # late, as all that a run needs: help does without
    from seal_cli.runs.run import Run

    if flags.skip and not flags.sample:
        raise BadConfig(f"--skip {flags.skip}: leaves out the first picks of a sample; give --sample N with it")
    bad = open_rejects(lines, run.output, *map(Path, flags.sources))
    with Run("tasks", output=run.output, overwrite=run.overwrite, rejects=bad) as current:
        wanted = {**flags.read(seed), "chunking": chunking}
        records = _read_tasks(current, flags.sources, wanted, lines)
        current.configure({**flags.settings(wanted, {"seed": seed, **lines.selection}), **chunking.describe()})
        if since := wanted["since"]:
            _tell_changes(current, since, chunking)
        if sample := wanted["sample"]:
            ids = list(dict.fromkeys(record.task.id for record in records))
            current.about["sample"] = {**vars(sample), "source": flags.source, "tasks": ids}
            picked = f"{len(ids)} tasks of {' '.join(flags.sources)} (seed {seed}, skip {flags.skip})"
            note(f"seal tasks: sampled {picked}")
        current.write(records, total=len(records))
    if unsolved := sum(not record.task.is_solved for record in records):
        note(f"seal tasks: note: {unsolved} of {len(records)} tasks lack a solution; `seal eval` leaves those unscored")
    return current.code


def _read_tasks(current: "Run", sources: Sequence[str], wanted: dict[str, Any], lines: InputFlags) -> list["Record"]:
    """Read the records of all sources, and say what was left out."""
    from seal_cli.runs.omissions import Omissions, find_own_files
    from seal_cli.runs.stdio import with_places
    from stages import tasks as stage

    omissions = Omissions(current.refuse)
    found = stage.run(
        *sources,
        **wanted,
        mine=find_own_files(current.output.stdout, current.output.output, lines.rejects),
        refuse=current.refuse,
        leave_out=omissions,
        note=lambda text: note(f"seal tasks: note: {text}"),
        allow_empty=lines.allow_empty,
    )
    name = " ".join(sources)
    allow_empty = lines.allow_empty or wanted["since"] is not None
    read = current.input.read(found, **lines.selection, allow_empty=allow_empty, name=name)
    records = list(with_places(read, Path(sources[0])))
    omissions.tell()
    current.about |= {"sources": sources, "left_out": omissions.facts()}
    return records


def _tell_changes(current: "Run", since: "Since", chunking: Chunking) -> None:
    """Say what is new, changed and withdrawn, and put the ids into the manifest."""
    from seal_cli.runs.manifest import read_manifest

    current.about["since"] = since.facts()
    note(f"seal tasks: {since.describe()}")
    kinds = {"withdrawn, no source has them any more": since.withdrawn, "not read this time": since.not_read}
    for kind, gone in kinds.items():
        named = ", ".join(f"{title} ({task_id})" for task_id, title in list(gone.items())[:3])
        more = f" and {len(gone) - 3} more" if len(gone) > 3 else ""
        if gone:
            note(f"seal tasks: {kind}: {named}{more}")
    there = read_manifest(since.file).get("settings", {})
    for name, value in chunking.describe().items():
        if isinstance(there, dict) and there.get(name, value) != value:
            told = f"{since.file} was made with {name} {there[name]}, and this is {value}: chunks differ for that alone"
            note(f"seal tasks: note: {told}")


def read_ids(texts: Sequence[str]) -> list[str]:
    """Read the ids that are given, those in files too, each once."""
    from stages.sources.datasets.folders import get_mode
    from stages.sources.texts import read_flag_file

    found: list[str] = []
    for text in texts:
        path = Path(text)
        listed = read_flag_file(path, f"--ids {text}").split("\n") if S_ISREG(get_mode(text)) else [text]
        named = [line.strip() for line in listed if line.strip()]
        if not named:
            raise BadConfig(f"--ids {text}: there is no id in it")
        found += named
    return list(dict.fromkeys(found))


def _read_columns(texts: Sequence[str]) -> dict[str, str]:
    """Read the values of --column: own names by those of the layout."""
    found: dict[str, str] = {}
    for text in texts:
        name, equals, own = text.partition("=")
        if not (name and equals and own):
            raise BadConfig(f"--column {text}: take NAME=OWN, for example question=query")
        if found.setdefault(name, own) != own:
            raise BadConfig(f"--column {text}: {name} is {found[name]} already")
    return found
