"""adapter → accepted or not: is it what an engine answers with, after conversion, quantisation and loading?

The reference is transformers with peft, on this machine. The engine under test is asked for the log-probabilities of
the same tokens, with and without the adapter. How far both are apart without it is the noise; with it they may be twice
that.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from annotated_types import Ge

from stages.checks.finding import Finding
from stages.errors import BadConfig, refuse_given
from stages.models.device import Device
from stages.settings import Doc

if TYPE_CHECKING:
    from stages.checks.acceptance.engines import ServerAccess, TestedEngine
    from stages.checks.acceptance.exams import Examination
    from stages.checks.acceptance.figures import Figures
    from stages.checks.acceptance.subjects import Subject
    from stages.engines.local import LocalEngine
    from stages.interfaces import Probe
    from stages.judges.base import Judge


@dataclass(frozen=True)
class AcceptanceTest:
    """What is compared, and by which names the engine has it."""

    panel: ClassVar[str] = "Options"
    base: Annotated[
        str | None,
        Doc("The checkpoint that the adapter was trained on.", "DIR|NAME", default="the one that it names"),
    ] = None
    model: Annotated[
        str | None,
        Doc("What the engine has as the base model.", "DIR|NAME", default="--base; a server's first model"),
    ] = None
    served: Annotated[
        str | None,
        Doc(
            "What the engine has as the adapter: a directory, also of a merged model, or a server's name or number.",
            "DIR|NAME",
            default="ADAPTER itself",
        ),
    ] = None
    plain_url: Annotated[
        str | None, Doc("Where the base model is, if the server of --base-url has a merged one alone.", "URL")
    ] = None
    among: Annotated[
        tuple[Path, ...], Doc("An adapter that it might be taken for (repeat it); lines name their own.", "DIR")
    ] = ()
    texts: Annotated[
        Path | None,
        Doc("Compare these texts, one a line.", "FILE", default="what the lines' adapter was trained on; else ours"),
    ] = None
    probe_tokens: Annotated[int, Ge(16), Doc("Most tokens to compare; vLLM, llama.cpp are asked for each.", "N")] = 512
    exam: Annotated[
        Path | None,
        Doc("Ask these tasks' questions, and compare the accuracy.", "FILE", default="the questions of score lines"),
    ] = None


@dataclass(frozen=True)
class Acceptance:
    """The findings about one adapter, and the distances that they rest on; none where nothing could be measured."""

    adapter: str
    findings: tuple[Finding, ...]
    figures: "Figures | None"

    @property
    def is_accepted(self) -> bool:
        from stages.checks.acceptance.figures import is_accepted

        return is_accepted(self.findings)

    def describe(self) -> dict[str, Any]:
        """Return what --json writes: verdicts are passed, failed and not tried."""
        checks = [{**asdict(each), "ok": VERDICTS[each.ok]} for each in self.findings]
        for check in checks:
            check["verdict"] = check.pop("ok")
        figures = asdict(self.figures) if self.figures else None
        return {"adapter": self.adapter, "accepted": self.is_accepted, "figures": figures, "checks": checks}


VERDICTS = {True: "passed", False: "failed", None: "not tried"}


@dataclass(frozen=True)
class Accept:
    """Compares an engine with the reference, adapter by adapter. `server` or `engine`: who is tested.

    `asked`: the settings of the run that made the score lines, if that is known.
    """

    wanted: AcceptanceTest
    load_judge: "Callable[[], Judge]"
    engine: "LocalEngine | None" = None
    server: "ServerAccess | None" = None
    device: Device = Device()
    folders: Sequence[Path] = field(default=())
    asked: Mapping[str, Any] = field(default_factory=dict)

    def run(self, subjects: Sequence["Subject"]) -> Iterator[Acceptance]:
        """Yield what was found about each adapter. Each is told from the others, and from those of `among`.

        Raises before anything is loaded for an adapter that is not whole or not its model's. The reference leaves the
        memory before the engine enters it.
        """
        from stages.checks.acceptance import subjects as reading
        from stages.models.libraries import quiet_libraries

        quiet_libraries()
        others = [reading.read_directory(path) for path in self.wanted.among]
        if self.wanted.served and len(subjects) > 1:
            raise BadConfig(f"--served {self.wanted.served}: for {len(subjects)} adapters; give one of them")
        base = reading.find_base(subjects, self.wanted.base, self.folders)
        reading.check_subjects([*subjects, *others], base)
        if self.wanted.served and self.server is None:
            reading.check_served(Path(self.wanted.served))
        exams = [self._read_exam(subject) for subject in subjects]
        measured = self._measure_reference(base, subjects, others, exams)
        with self._open(base, subjects) as open_test:
            for subject, exam, known in zip(subjects, exams, measured, strict=True):
                with open_test(subject) as tested:
                    yield _test(tested, subject, exam, known)

    def _read_exam(self, subject: "Subject") -> "Examination | None":
        from stages.checks.acceptance.exams import read_examination

        return read_examination(subject.lines, self.wanted.exam, self.load_judge, self.asked)

    def _measure_reference(
        self,
        base: str,
        subjects: Sequence["Subject"],
        others: Sequence["Subject"],
        exams: Sequence["Examination | None"],
    ) -> list["_Known"]:
        """Measure all that the reference says, and let it go."""
        from stages.checks.acceptance.reference import Reference
        from stages.checks.acceptance.subjects import ProbeTexts

        texts, reference = ProbeTexts(self.wanted.texts, self.wanted.probe_tokens), Reference(base, self.device)
        found = []
        for subject, exam in zip(subjects, exams, strict=True):
            rivals = {each.name: each for each in (*subjects, *others) if each.path.resolve() != subject.path.resolve()}
            probes = texts.make_probes(subject, reference.tokenizer, reference.network)
            readings = _Known(
                probes,
                reference.encode(probes),
                reference.score(probes, None),
                reference.score(probes, subject.path),
                reference.score(probes, subject.path, scale=0.5),
                {name: reference.score(probes, each.path) for name, each in rivals.items()},
                exam.recall(subject.lines) or reference.answer(exam, subject.path) if exam else {},
                bool(exam and exam.recall(subject.lines)),
            )
            found.append(readings)
        return found

    @contextmanager
    def _open(
        self, base: str, subjects: Sequence["Subject"]
    ) -> Iterator["Callable[[Subject], AbstractContextManager[TestedEngine]]"]:
        """Open the engine under test; what it gives opens it for an adapter."""
        from stages.checks.acceptance.engines import LocalHost, LocalTest, open_served

        wanted, server = self.wanted, self.server
        if server:
            named = wanted.served or ""
            yield lambda subject: open_served(
                server, subject.path, model=wanted.model, served=named, names=(subject.name, subject.path.name)
            )
            return
        refuse_given({"--plain-url": wanted.plain_url}, "no server is asked; give --engine openai")
        if self.engine is None:
            raise BadConfig("no engine to test; give --engine NAME")
        served = {subject.path: Path(wanted.served or subject.path) for subject in subjects}
        host = LocalHost(self.engine, list(served.values()))
        try:
            yield lambda subject: nullcontext(LocalTest(host, wanted.model or base, served[subject.path]))
        finally:
            host.close()


@dataclass(frozen=True)
class _Known:
    """What the reference says about one adapter."""

    probes: Sequence["Probe"]
    tokens: Sequence[tuple[str, Sequence[int]]]  # texts, and what the tokenizer makes of them
    plain: Sequence[Sequence[float]]
    adapted: Sequence[Sequence[float]]
    halved: Sequence[Sequence[float]]
    others: Mapping[str, Sequence[Sequence[float]]]
    verdicts: Mapping[tuple[str, str], bool | None]
    recorded: bool


def _test(tested: "TestedEngine", subject: "Subject", exam: "Examination | None", known: _Known) -> Acceptance:
    from stages.checks.acceptance.exams import run_exam
    from stages.checks.acceptance.figures import ExamResult, judge_exam

    figures, findings = _compare(tested, known)
    if exam:
        now = run_exam(exam, tested.answering)
        before = [known.verdicts.get(name) for name in now]
        findings.append(judge_exam(ExamResult(before, list(now.values()), known.recorded)))
    else:
        findings.append(Finding("accuracy", None, "no questions; give --exam FILE, or score lines"))
    return Acceptance(subject.name, tuple(findings), figures)


def _compare(tested: "TestedEngine", known: _Known) -> tuple["Figures | None", list[Finding]]:
    """Return the distances and the findings; no distances where the engine tells no log-probabilities."""
    from stages.checks.acceptance.figures import CHECKS, Readings, compute_figures, count_alike, judge_figures
    from stages.services.measuring.token_scores import Untold

    first = _compare_tokens(tested, known)
    try:
        adapted = tested.score(known.probes, adapted=True)
        plain = None if tested.no_plain else tested.score(known.probes, adapted=False)
    except Untold as error:
        return None, [*first, *(Finding(name, None, f"{error}") for name in CHECKS)]
    if not all(count_alike(known.plain, rows) for rows in (adapted, plain) if rows is not None):
        told = "the engine divides the texts into other tokens than the base model's tokenizer"
        failed = Finding("base", False, told, "give the model that the adapter was trained on")
        return None, [*first, failed, *(Finding(name, None, told) for name in CHECKS[1:])]
    figures = compute_figures(Readings(known.plain, known.adapted, known.halved, known.others, adapted, plain))
    return figures, [*first, *judge_figures(figures, tested.no_plain)]


def _compare_tokens(tested: "TestedEngine", known: _Known) -> list[Finding]:
    """Return whether an engine with a tokenizer of its own divides the texts as the reference's."""
    found = tested.tokenize([text for text, _ in known.tokens])
    if found is None:
        return []
    wrong = [text for (text, ids), own in zip(known.tokens, found, strict=True) if list(own) != list(ids)]
    if not wrong:
        return [Finding("tokenizer", True, f"divides {len(known.tokens)} texts as the reference's")]
    told = f"divides {len(wrong)} of {len(known.tokens)} texts otherwise, as {wrong[0][:50]!r}"
    return [Finding("tokenizer", False, told, "convert the model again, with its own tokenizer")]
