"""`seal tasks`"""

from collections.abc import Iterable
from pathlib import Path
from stat import S_ISDIR
from typing import TYPE_CHECKING, Annotated, Any

import typer

from seal_cli.flags import options as opt

if TYPE_CHECKING:
    from stages.records.record import Record


def tasks(
    sources: Annotated[
        list[str],
        typer.Argument(metavar="SOURCE", help="Files, folders, datasets' names, or - for stdin.", show_default=False),
    ],
    output: opt.Output = None,
    overwrite: opt.Overwrite = False,
    ids: Annotated[
        list[str] | None,
        typer.Option("--ids", metavar="ID|FILE", help="Only this task (repeat it), or those of a file, one id a line."),
    ] = None,
    solutions: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="ARC's solutions. [default: the file beside …challenges….json, if it is there]"
        ),
    ] = None,
    sample: Annotated[int | None, typer.Option(metavar="N", min=1, help="Pick N tasks by the seed.")] = None,
    skip: Annotated[int, typer.Option(metavar="M", min=0, help="Leave out the first M picks: disjoint samples.")] = 0,
    seed: opt.Seed = 0,
    limit: opt.Limit = None,
    shard: opt.Shard = None,
    rejects: opt.Rejects = None,
    strict: opt.Strict = False,
    max_rejects: opt.MaxRejects = opt.MOST_REJECTS,
    allow_empty: opt.AllowEmpty = False,
    split: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="Which split of a dataset, or of a folder with files called so. [default: train; of a folder all]",
            show_default=False,
        ),
    ] = None,
    config: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Which config of a dataset, or of a folder's card.", show_default=False),
    ] = None,
    column: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=OWN",
            help="What a column of the rows is called, for example question=query (repeat it). NAME is id, title, "
            "context, question, answer or answers; of ARC train or test.",
            show_default=False,
        ),
    ] = None,
    unanswerable: Annotated[
        opt.Unanswerable,
        typer.Option(help="Questions without an answer, as of SQuAD 2: left out, or right is who says there is none."),
    ] = opt.Unanswerable.leave_out,
    title: Annotated[
        str | None,
        typer.Option(metavar="TEXT", help="Of a text on stdin. [default: its first heading]", show_default=False),
    ] = None,
) -> int:
    """Read sources into task lines. What they already hold is kept: completions as edits, rewards as scores.

    Known are texts (.txt, .md, .markdown, .rst), SQuAD's JSON (1.1 and 2.0), lists and lines of {title, context,
    questions: [{question, answer}]}, rows of one question and its answers, tables, ARC's challenges and single tasks,
    record lines, datasets with SQuAD's columns, and the
    official SEAL files. Folders are read to any depth; what is left out is said. The same content is taken once.

    \b
    Examples:
      seal tasks squad.json -o tasks.jsonl
      seal tasks notes/ more.md questions.jsonl -o tasks.jsonl
      pdftotext paper.pdf - | seal tasks - --title "A paper"
      seal tasks examples/tiny/train.jsonl --sample 50 --seed 1 --skip 50
      seal tasks rajpurkar/squad --split validation --sample 200
      seal tasks nq.parquet --column question=query --column title=id
      seal tasks notes.md | seal generate --model DIR
      seal tasks arc-agi_training_challenges.json --ids 007bbfb7 --ids 00d62c1b
    """
    from seal_cli.runs.omissions import Omissions, find_own_files
    from seal_cli.runs.rejects import Rejects
    from seal_cli.runs.run import Run
    from seal_cli.runs.stdio import with_places
    from seal_cli.terminal.console import note
    from stages import tasks as stage
    from stages.errors import BadConfig

    if skip and not sample:
        raise BadConfig(f"--skip {skip}: leaves out the first picks of a sample; give --sample N with it")
    bad = Rejects(rejects, strict=strict, most=max_rejects, others=(*map(Path, sources), output))
    left = Omissions(bad)
    with Run("tasks", output=output, overwrite=overwrite, rejects=bad) as run:
        picked = stage.Sample(sample, seed, skip) if sample else None
        names = wanted(ids or [])
        columns = _pairs_of(column or [])
        mine = find_own_files(run.target.stdout, output, rejects)
        found = stage.run(
            *sources,
            sample=picked,
            ids=names,
            split=split,
            config=config,
            columns=columns,
            solutions=solutions,
            title=title,
            mine=mine,
            refuse=bad,
            leave_out=left,
            note=lambda text: note(f"seal tasks: note: {text}"),
            allow_empty=allow_empty,
            keep_unanswerable=unanswerable is opt.Unanswerable.keep,
        )
        lines = run.read(found, limit=limit, shard=shard, allow_empty=allow_empty, name=" ".join(sources))
        lines = list(with_places(lines, Path(sources[0])))
        left.tell()
        source = sources[0] if len(sources) == 1 else sources
        chosen = {"sample": sample, "skip": skip, "seed": seed, "limit": limit, "shard": shard}
        more: dict[str, Any] = {"ids": names or None, "solutions": str(solutions) if solutions else None}
        more |= {"title": title} if title else {}
        more |= {"config": config} if config else {}
        more |= {"columns": columns} if columns else {}
        more |= {"unanswerable": unanswerable.value} if unanswerable is opt.Unanswerable.keep else {}
        default = None if any(map(_is_folder, sources)) else "train"
        run.settle({"source": source, "split": split or default, **chosen, **more})
        run.about |= {"sources": sources, "left_out": left.facts()}
        if picked:
            ids = list(dict.fromkeys(line.task.id for line in lines))
            run.about["sample"] = {**vars(picked), "source": source, "tasks": ids}
            note(f"seal tasks: sampled {len(ids)} tasks of {' '.join(sources)} (seed {seed}, skip {skip})")
        run.write(lines, total=len(lines))
    if unsolved := _without_solution(lines):
        note(f"seal tasks: note: {unsolved} of {len(lines)} tasks lack a solution; `seal eval` leaves those unscored")
    return run.code


def wanted(texts: list[str]) -> list[str]:
    """The ids that are given, those in files too, each once."""
    from stages.errors import BadConfig
    from stages.sources.texts import read_flag_file

    found: list[str] = []
    for text in texts:
        path = Path(text)
        listed = read_flag_file(path, f"--ids {text}").split("\n") if _is_file(path) else [text]
        named = [line.strip() for line in listed if line.strip()]
        if not named:
            raise BadConfig(f"--ids {text}: there is no id in it")
        found += named
    return list(dict.fromkeys(found))


def _pairs_of(texts: list[str]) -> dict[str, str]:
    """The values of --column: own names by those of the layout."""
    from stages.errors import BadConfig

    found: dict[str, str] = {}
    for text in texts:
        name, equals, own = text.partition("=")
        if not (name and equals and own):
            raise BadConfig(f"--column {text}: take NAME=OWN, for example question=query")
        if found.setdefault(name, own) != own:
            raise BadConfig(f"--column {text}: {name} is {found[name]} already")
    return found


def _is_folder(source: str) -> bool:
    """Whether a source is a folder here."""
    from stages.sources.datasets.folders import get_mode

    return S_ISDIR(get_mode(source))


def _is_file(path: Path) -> bool:
    """Whether there is such a file; no name that is too long for one is."""
    try:
        return path.is_file()
    except OSError:
        return False


def _without_solution(lines: "Iterable[Record]") -> int:
    """How many ARC tasks have a test whose output is not known."""
    tasks = [line.task for line in lines if line.task.domain == "arc"]
    return sum(any(pair.output is None for pair in task.test) for task in tasks)
