"""sources → tasks: reads what people have into records. SQuAD, ARC, own texts, hub datasets, official SEAL files.

What a source already holds is kept: files with completions give edit lines, files with rewards give score lines.
"""

import os
import re
import sys
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import replace
from itertools import chain, islice
from pathlib import Path
from stat import S_ISBLK, S_ISCHR, S_ISDIR, S_ISFIFO, S_ISREG, S_ISSOCK

from stages.conversion.pool import ConverterPool
from stages.domains.base import load_domain
from stages.errors import BadConfig, BadInput, MissingInput, refuse_given
from stages.file_kinds import CODE_SUFFIXES, DOCUMENT_SUFFIXES, TEXT_SUFFIXES
from stages.plugins import allow_domain, format_value
from stages.records.jsonl import OnReject, Reject, raise_on_reject
from stages.records.record import Record, get_task_type
from stages.sources import arc
from stages.sources.chunks.changes import Since
from stages.sources.chunks.reading import BARE
from stages.sources.chunks.settings import Chunking
from stages.sources.chunks.splitter import make_splitter
from stages.sources.datasets.columns import Columns
from stages.sources.datasets.folders import (
    JSON_SUFFIXES,
    TABLE_SUFFIXES,
    Omission,
    OnOmission,
    explain_link,
    get_mode,
    ignore,
    suggest_paths,
    walk,
)
from stages.sources.datasets.hub import load_dataset
from stages.sources.documents import EmptySource, ReadContext
from stages.sources.opening import open_file, open_stream, read_folder
from stages.sources.pooled_results import PassageFile
from stages.sources.repeats import TWICE, DuplicateFilter
from stages.sources.selection import Sample as Sample
from stages.sources.selection import name_editor, pick_ids
from stages.sources.selection import pick_sample as pick_sample
from stages.sources.squad import UNANSWERED, UNASKED
from stages.sources.texts import make_title, read_flag_file

_HUB_NAME = re.compile(r"\w[\w.-]{0,95}(/\w[\w.-]{0,95})?")
_READ = (*TEXT_SUFFIXES, *CODE_SUFFIXES, *DOCUMENT_SUFFIXES, *JSON_SUFFIXES, *TABLE_SUFFIXES)
_FILE_ENDINGS = (*_READ, ".gz", ".zip", ".xlsx", ".tex", ".log", ".xml")

_WAYS = (  # by the endings of what a folder holds that makes no task
    (frozenset({".zip", ".gz", ".bz2", ".xz", ".zst", ".tar", ".tgz", ".7z"}), "unpack it first, into the same folder"),
    (frozenset({".tex", ".xml", ".odt", ".rtf", ".ipynb"}), "take its text: pandoc -t gfm FILE -o NEW.md"),
    (frozenset({".doc", ".ppt", ".pptx", ".odp"}), "save it as .docx or .pdf"),
    (frozenset({".png", ".jpg", ".jpeg", ".gif", ".webp", ".tif", ".tiff"}), "give the text that the pictures show"),
    (frozenset({".wav", ".mp3", ".flac", ".ogg", ".mp4"}), "give the text that is spoken"),
    (frozenset({".incomplete", ".part", ".crdownload", ".download"}), "a download did not finish: fetch it again"),
)


def run(
    *sources: str,
    sample: Sample | None = None,
    ids: Collection[str] = (),
    split: str | None = None,
    solutions: Path | None = None,
    config: str | None = None,
    columns: Mapping[str, str] | None = None,
    title: str | None = None,
    mine: Collection[tuple[int, int]] = (),
    refuse: OnReject = raise_on_reject,
    leave_out: OnOmission = ignore,
    note: Callable[[str], object] = ignore,
    allow_empty: bool = False,
    keep_unanswerable: bool = False,
    domain: str | None = None,
    passages: Path | None = None,
    editor: str | None = None,
    chunking: Chunking | None = None,
    since: Since | None = None,
    concurrency: int | None = None,
) -> Iterator[Record]:
    """Yield the records of files, folders, dataset names and `-` (stdin), in the order of the sources.

    A line, passage or text that cannot be used is told to `refuse`; a file of a kind that is not read, and content
    that is there twice, to `leave_out`; what else there is to know to `note`. `ids`: of these tasks only.
    `columns`: the user's own names for columns of rows, by those of the layout; `config`: of a dataset.
    `solutions`: the file of ARC's solutions, where it does not lie beside the tasks. `title`: of a text on stdin.
    `mine`: files of this run, by device and inode. `allow_empty`: a source may be without a task.
    `keep_unanswerable`: the answer to a question without one is that there is none. `domain`: the one
    that reads the sources, by its name, instead of what their content says. `passages`: the file that results
    without passages are about. `editor`: who wrote the self-edits, whatever the source says. `chunking`: how texts and
    documents are cut; else each is one task. `concurrency`: documents that are converted at once. `since`: yield what
    an earlier file of tasks does not have, and note the rest there. Raises MissingInput, BadInput or Unavailable with
    what to do, for the first record at once.
    """
    solved = arc.Solutions(solutions)
    if since:
        refuse, leave_out = since.watch(sources, refuse, leave_out, read=(TWICE, UNANSWERED, UNASKED, BARE))
    reading = ReadContext(refuse, leave_out, note, split, title, frozenset(mine), solved, allow_empty=allow_empty)
    reading = replace(
        reading,
        passages=PassageFile(passages),
        config=config,
        columns=Columns(columns),
        keep_unanswerable=keep_unanswerable,
        splitter=make_splitter(chunking),
        converter=ConverterPool(concurrency),
    )
    _check_sources(sources, reading)
    refuse_given({"--concurrency": concurrency if domain else None}, f"--domain {domain} reads the files; leave it out")
    found = _read_with_domain(sources, domain) if domain else _close_after(_read_sources(sources, reading), reading)
    found = chain([*islice(found, 1)], found)  # so that the errors of the first record come at once
    found = name_editor(found, editor) if editor else found
    found = since.pick(found) if since else found
    records = pick_ids(found, ids) if ids else found
    return pick_sample(records, sample) if sample else records


def _close_after(records: Iterator[Record], reading: ReadContext) -> Iterator[Record]:
    """The records; then the converter of documents ends."""
    try:
        yield from records
        if told := reading.converter.explain_unused():
            reading.note(told)
    finally:
        reading.converter.close()


def _read_with_domain(sources: Iterable[str], name: str) -> Iterator[Record]:
    """Yield the tasks that a domain finds in files. They name the domain, so that later stages find it again."""
    allow_domain(name)
    domain = load_domain(name, "--domain")
    for source in sources:
        if source != "-" and not Path(source).is_file():
            raise BadInput(f"{source}: not a file; --domain {name} reads files, and - for stdin")
        text = read_flag_file(Path("/dev/stdin" if source == "-" else source), source)
        for task in domain.read_tasks(text, source):
            if not isinstance(task, get_task_type(name)):
                raise BadConfig(
                    f"--domain {name}: read_tasks gave {format_value(task)}, which is no task of its task_type"
                )
            yield Record(task=task.model_copy(update={"domain": name}))


def _check_sources(sources: Collection[str], reading: ReadContext) -> None:
    """Raise MissingInput for the first source that is not there, BadConfig for what does not fit the sources."""
    streams = [source for source in sources if source == "-" or _is_stream(source)]
    if streams.count("-") > 1:
        raise BadConfig("-: stdin can be read once")
    if "-" in streams and (sys.stdin is None or sys.stdin.isatty()):
        raise MissingInput("-: nothing to read on stdin; give a file, or pipe lines in")
    if reading.title and not streams:
        raise BadConfig(f"--title {reading.title}: only for what comes on stdin (-); a file's title is its name")
    files = [source for source in sources if source in streams or S_ISREG(get_mode(source))]
    for flag, value in (("--split", reading.split), ("--config", reading.config)):
        if value and len(files) == len(sources):
            raise BadConfig(f"{flag} {value}: only for a dataset or a folder, which {files[0]} is not")
    for source in sources:
        mode = get_mode(source) if source else 0
        if S_ISSOCK(mode) or S_ISBLK(mode):
            raise BadInput(f"{source}: a socket or a device; give a file, a folder, or - for stdin")
        if source != "-" and not mode and not is_hub_name(source):
            raise MissingInput(f"{source or repr(source)}: {_explain_missing(source)}")


def _explain_missing(source: str) -> str:
    """Explain that a source leads nowhere, and what may have been meant."""
    if "://" in source:
        return f"an address; fetch it first: curl -LO {source}"
    if not source:
        return "no such file or folder (is a variable of the shell not set?)"
    link = f", but {explain_link(Path(source))}" if os.path.lexists(source) else ""
    bare = "" if "/" in source or Path(source).suffix.lower() in _FILE_ENDINGS else "; a dataset is called OWNER/NAME"
    near = "" if link else suggest_paths(Path(source))
    return f"no such file or folder{link}{near}{bare if near else ''}"


def _is_stream(source: str) -> bool:
    """True for a pipe or a terminal's device, which is read from beginning to end, once."""
    return S_ISFIFO(get_mode(source)) or S_ISCHR(get_mode(source))


def is_hub_name(source: str) -> bool:
    """True if a source may be the name of a dataset: `owner/name`, or a `name` unlike any file here."""
    owner, slash, _ = source.partition("/")
    local = os.path.lexists(source) or (os.path.lexists(owner) if slash else bool(suggest_paths(Path(source))))
    return bool(_HUB_NAME.fullmatch(source)) and not local and not source.lower().endswith(_FILE_ENDINGS)


def _read_sources(sources: Collection[str], reading: ReadContext) -> Iterator[Record]:
    """Yield the records of all sources, and at the end the tasks of their rows.

    What two files have in common is read once; a single file is taken as it is.
    """
    single = len(sources) == 1 and not any(S_ISDIR(get_mode(source)) for source in sources)
    repeats, found, name = None if single else DuplicateFilter(), 0, " ".join(sources)

    def refuse(reject: Reject) -> None:
        nonlocal found
        found += 1
        reading.refuse(reject)

    if all(Path(source).suffix.lower() in DOCUMENT_SUFFIXES and S_ISREG(get_mode(source)) for source in sources):
        reading.converter.expect(map(Path, sources))
    for reading.rows.source, source in enumerate(sources):
        for record in _read_source(source, replace(reading, refuse=refuse), repeats):
            found += 1
            yield record
    yield from _take_rows("stdin" if name == "-" else name, reading, repeats, alone=not found)
    reading.solutions.check(name)
    reading.passages.check(name)
    reading.columns.check_use(name)


def _read_source(source: str, reading: ReadContext, repeats: DuplicateFilter | None) -> Iterator[Record]:
    """Yield the records of one source. Raises BadInput if nothing in it is of use, with what was found."""
    left: Counter[str] = Counter()
    reasons: list[str] = []
    bad: list[str] = []

    def leave_out(omission: Omission) -> None:
        left[omission.kind] += 1
        reasons[:] = reasons[:1] or ([omission.reason] if omission.reason else [])
        reading.leave_out(omission)

    def refuse(reject: Reject) -> None:
        bad[:] = [reject.where]
        reading.refuse(reject)

    counted = replace(reading, leave_out=leave_out, refuse=refuse)
    made, rows = False, reading.rows.added
    try:
        for record in _open_source(source, counted, repeats):
            made = True
            yield record
    except EmptySource:
        pass
    reading.columns.used |= bool(bad)  # whatever it was
    made = made or reading.rows.added > rows
    if not (made or bad or left[TWICE] or reading.allow_empty):
        reading.solutions.check(source)
        raise BadInput(f"{'stdin' if source == '-' else source}: {_nothing_in(source, left, reasons)}")


def _nothing_in(source: str, left: Counter[str], reasons: list[str]) -> str:
    """Explain why a source makes no task, and what may make it one."""
    if unanswered := left[UNANSWERED]:
        what = "its one question has no answer" if unanswered == 1 else f"its {unanswered} questions have no answer"
        return f"no task in it: {what}; --unanswerable keep takes them with the answer that there is none"
    if not S_ISDIR(get_mode(source)) or (not left and any(walk(Path(source), refuse=ignore))):
        return "no task in it; give another source, or --allow-empty where none is right"
    found = ", ".join(f"{count} {kind}" for kind, count in left.most_common(5))
    texts, data = ", ".join((*TEXT_SUFFIXES, *DOCUMENT_SUFFIXES)), ", ".join((*JSON_SUFFIXES, *TABLE_SUFFIXES))
    lacks = f"without texts ({texts}), code and data ({data})"
    way = next((way for kinds, way in _WAYS if not kinds.isdisjoint(left)), "".join(reasons[:1]))
    return f"a folder {lacks}; {f'it holds {found}' if found else 'it is empty'}{way and f'; {way}'}"


def _open_source(source: str, reading: ReadContext, repeats: DuplicateFilter | None) -> Iterator[Record]:
    """Yield the records of a source; rows are gathered."""
    path = Path(source)
    if S_ISDIR(get_mode(source)):
        yield from read_folder(path, reading, repeats or DuplicateFilter())
        found: Iterator[Record] = iter(())
    elif source == "-":
        found = open_stream(sys.stdin.buffer, "stdin", reading)
    elif _is_stream(source):
        found = open_stream(path.open("rb"), source, reading)
    elif S_ISREG(get_mode(source)):
        found = open_file(path, make_title(path, path.parent), reading)
    else:
        found = load_dataset(source, reading)
    yield from repeats.leave_out(found, source, reading.leave_out, reading.refuse) if repeats else found


def _take_rows(name: str, reading: ReadContext, repeats: DuplicateFilter | None, *, alone: bool) -> Iterator[Record]:
    """Yield the tasks called `name` of all sources' rows; those found in two files are noted.

    Raises BadInput where none of their questions has an answer, and they were `alone`, without anything else.
    """
    left: Counter[str] = Counter()

    def leave_out(omission: Omission) -> None:
        left[omission.kind] += 1
        reading.leave_out(omission)

    found = reading.rows.take(replace(reading, leave_out=leave_out).unanswered)
    for record in repeats.leave_out(found, name, leave_out, reading.refuse) if repeats else found:
        alone = False
        yield record
    for file in reading.rows.repeated:
        leave_out(Omission(file, TWICE, "a row is in another file already"))
    if left[UNANSWERED] and alone and not reading.allow_empty:
        raise BadInput(f"{name}: {_nothing_in(name, left, [])}")
