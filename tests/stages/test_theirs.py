"""A judge, engine, trainer or domain of others that fails: the error is theirs, with their file and line."""

import signal
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest

from seal_cli import exit_codes
from stages import plugins, tasks
from stages.domains.base import TrainingSetup, load_domain
from stages.engines.local import GuardedEngine
from stages.errors import BadConfig, BadEdit, BadLine, OutOfMemory, Unavailable
from stages.interfaces import Completion, FitJob, FitResult, Request, TrainingSet
from stages.judges.base import JUDGES, Case, Judge
from stages.judges.factory import make_judge, validate_judge
from stages.plugins import allow_domain, check_name, load_class
from stages.records.parser import parse_record
from stages.services.batch_files import BatchAnswers
from stages.settings import FitConfig, Sampling
from stages.trainers.local import GuardedTrainer

CASES = [Case("q", "gold", f"answer {n}") for n in range(3)]
IMPORTS = "from stages.judges.base import Verdict\n"
GOOD = IMPORTS + "class J:\n    name = 'j'\n    def grade(self, cases):\n        for case in cases:\n            "


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], str]]:
    """Writes a module of the user's into the working folder; its name."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [path for path in sys.path if path])
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    made: list[str] = []

    def module(text: str) -> str:
        made.append(f"mine{len(made)}")
        (tmp_path / f"{made[-1]}.py").write_text(text)
        return made[-1]

    yield module
    for name in made:
        sys.modules.pop(name, None)
    plugins.make_domain.cache_clear()


def judge_of(name: str) -> Judge:
    return make_judge(f"{name}:J", lambda url: BatchAnswers(()), None)


def graded(name: str, cases: Iterable[Case] = CASES) -> list[object]:
    return [verdict.correct for verdict in judge_of(name).grade(cases)]


def test_a_good_judge_of_others_grades_from_the_working_folder(write: Callable[[str], str]) -> None:
    assert graded(write(GOOD + "yield Verdict('1' in case.prediction)")) == [False, True, False]
    whole = GOOD.replace("for case in cases:", "return [Verdict(None, 'no') for case in cases]").rstrip()
    assert graded(write(whole)) == [None] * 3
    pairs = GOOD.replace("grade", "grade_unordered") + "yield case, Verdict(True)\n    grade = grade_unordered"
    assert graded(write(pairs)) == [True] * 3
    assert graded(write(GOOD + "yield Verdict(True)"), []) == []


IMPORTING = [
    ("def (:\n", "SyntaxError: invalid syntax (NAME.py:1)"),
    ("\nimport absent_package\n", "ModuleNotFoundError: No module named 'absent_package' (NAME.py:2: import absent_p"),
    ("from os import absent\n", "ImportError: cannot import name 'absent' from 'os'"),
    ("x = {}\nx['key']\n", "KeyError: 'key' (NAME.py:2: x['key'])"),
    ("raise SystemExit(3)\n", "SystemExit: 3 (NAME.py:1: raise SystemExit(3))"),
    ("class Judge: pass\n", "NAME has no J; it has Judge"),
    ("import os\n", "NAME has no J; it has no class"),
    ("J = 3\n", "is a int, not a class"),
]


@pytest.mark.parametrize(("text", "words"), IMPORTING)
def test_a_module_that_cannot_be_imported_is_told_before_anything_is_read(
    write: Callable[[str], str], text: str, words: str
) -> None:
    name = write(text)
    with pytest.raises(BadConfig) as caught:
        validate_judge(f"{name}:J", None)
    assert str(caught.value).startswith(f"--judge {name}:J: {words.replace('NAME', name)}")
    assert "\n" not in str(caught.value)


MAKING = [
    ("class J:\n    name = 'j'\n    def __init__(self, x):\n        pass\n", "TypeError: J.__init__() missing 1 requ"),
    ("class J:\n    def __init__(self):\n        self.name = absent\n", "NameError: name 'absent' is not defined"),
    ("class J:\n    def grade(self, cases):\n        yield\n", "has no text as its name; a judge has a name and gra"),
    (
        "class J:\n    name = 7\n",
        "has no text as its name; a judge has a name and grade(cases), as in stages.judges.base",
    ),
    ("class J:\n    name = 'j'\n", "has no grade; a judge has a name and grade(cases), as in stages.judges.base (NAME"),
]


@pytest.mark.parametrize(("text", "words"), MAKING)
def test_a_judge_that_cannot_be_made_is_told_with_where_it_is_written(
    write: Callable[[str], str], text: str, words: str
) -> None:
    name = write(text)
    with pytest.raises(BadConfig) as caught:
        judge_of(name)
    assert str(caught.value).startswith(f"--judge {name}:J: {words.replace('NAME', name)}")
    assert f"{name}.py:" in str(caught.value)


GRADING = [
    ("yield Verdict({}[case.gold])", "KeyError: 'gold' (NAME.py:6, in grade: yield Verdict({}[case.gold])); mend it"),
    ("raise OSError(2, 'No such file', 'x')", "FileNotFoundError: [Errno 2] No such file: 'x' (NAME.py:6, in grade"),
    ("yield Verdict(int(case.gold))", "ValueError: invalid literal for int() with base 10: 'gold' (NAME.py:6, in "),
    ("yield True", "gave True, which is no Verdict(correct, reason) with correct True, False or None"),
    ("yield None", "gave None, which is no Verdict(correct, reason)"),
    ("yield Verdict('yes')", "gave Verdict(correct='yes', reason=None), which is no Verdict(correct, reason) with"),
    ("yield Verdict(1)", "gave Verdict(correct=1, reason=None), which is no Verdict(correct, reason) with"),
    ("yield Verdict(True, 7)", "gave Verdict(correct=True, reason=7), which is no Verdict(correct, reason) with"),
    ("yield Verdict(True); yield Verdict(True)", "gave Verdict(correct=True, reason=None), and no case was waiting"),
    ("'nothing'; yield from ()", "gave no verdict on 3 of the answers that it took"),
    ("yield Verdict(True); return", "ended before it had taken all answers"),
    ("raise SystemExit(3)", "SystemExit: 3 (NAME.py:6, in grade: raise SystemExit(3)); mend it"),
    ("import sys; sys.exit()", "SystemExit (NAME.py:6, in grade: import sys; sys.exit()); mend it"),
    ("raise GeneratorExit", "GeneratorExit (NAME.py:6, in grade: raise GeneratorExit); mend it"),
    ("return 7", "TypeError: 'int' object is not iterable (NAME.py:4); mend it"),
]


@pytest.mark.parametrize(("does", "words"), GRADING)
def test_a_judge_that_raises_or_gives_no_verdicts_is_told_with_its_line(
    write: Callable[[str], str], does: str, words: str
) -> None:
    name = write(GOOD + does)
    with pytest.raises(BadConfig) as caught:
        graded(name)
    assert str(caught.value).startswith(f"--judge {name}:J: {words.replace('NAME', name)}")
    assert f"{name}.py:" in str(caught.value)


def test_what_goes_wrong_in_making_the_answers_is_not_the_judges(write: Callable[[str], str]) -> None:
    def failing() -> Iterator[Case]:
        yield CASES[0]
        raise KeyError("ours")

    with pytest.raises(KeyError, match="ours"):
        graded(write(GOOD + "yield Verdict(True)"), failing())


@pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit])
def test_a_signal_in_the_middle_of_a_judge_is_not_the_judges(write: Callable[[str], str], kind: type) -> None:
    text = "import os, signal\n" + GOOD + "os.kill(os.getpid(), signal.SIGTERM); yield Verdict(True)"
    before = signal.getsignal(signal.SIGTERM)
    try:
        with exit_codes.exit_on_signals(), pytest.raises(kind):
            if kind is KeyboardInterrupt:
                signal.signal(signal.SIGTERM, signal.default_int_handler)
            graded(write(text))
    finally:
        signal.signal(signal.SIGTERM, before)


def test_a_signal_in_the_middle_of_an_import_is_not_the_modules(write: Callable[[str], str]) -> None:
    name = write("import os, signal\nos.kill(os.getpid(), signal.SIGTERM)\nclass J: pass\n")
    before = signal.getsignal(signal.SIGTERM)
    try:
        with exit_codes.exit_on_signals(), pytest.raises(SystemExit, match="143"):
            load_class("--judge", f"{name}:J", JUDGES)
    finally:
        signal.signal(signal.SIGTERM, before)


def test_a_judge_may_say_itself_that_its_service_is_gone(write: Callable[[str], str]) -> None:
    text = "from stages.errors import Unavailable\n" + GOOD + "raise Unavailable('mine is down')"
    with pytest.raises(Unavailable, match=r"^mine is down$"):
        graded(write(text))


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("lexicla", "lexicla: unknown (did you mean lexical?); take one of exact, lexical, openai:MODEL[@URL], "),
        ("Exact", "(did you mean exact?); take one of exact, lexical, openai:MODEL[@URL], command:PROGRAM, or package"),
        ("comand", "(did you mean command?); take one of"),
        ("strict", "strict: unknown; take one of exact, lexical, openai:MODEL[@URL], command:PROGRAM, or package.mod"),
        ("nowhere.at.all:J", "nowhere.at.all:J: No module named 'nowhere'"),
        ("stages.nowhere:J", "stages.nowhere:J: No module named 'stages.nowhere'"),
    ],
)
def test_a_name_that_is_no_judge_is_answered_with_all_that_there_are(name: str, words: str) -> None:
    with pytest.raises(BadConfig) as caught:
        validate_judge(name, None)
    assert words in str(caught.value)


def test_the_name_of_an_engine_is_looked_at_without_importing_it(write: Callable[[str], str]) -> None:
    name = write("raise RuntimeError")
    check_name("--engine", f"{name}:E", {})
    with pytest.raises(BadConfig, match=r"--engine vlm: unknown \(did you mean vllm\?\); take one of hf, vllm, "):
        check_name("--engine", "vlm", {"hf": "a:B", "vllm": "c:D"})
    with pytest.raises(BadConfig, match=rf"--engine {name}:E: RuntimeError \({name}\.py:1: raise RuntimeError\); mend"):
        load_class("--engine", f"{name}:E", {})
    assert load_class("--judge", "exact", JUDGES).__name__ == "ExactJudge"


# ---- engines and trainers


class Puppet:
    """An engine or a trainer that does as it is told."""

    model = "m"

    def __init__(self, model: str, *, does: Callable[[list[Any]], Iterable[Any]]) -> None:
        self.does = does

    def sample(self, requests: list[Request], progress: object) -> Iterable[Any]:
        return self.does(requests)

    def fit(self, jobs: list[FitJob], progress: object) -> Iterable[Any]:
        return self.does(jobs)


def completion(request: Request, **update: Any) -> Completion:
    return Completion(**({"id": request.id, "text": "t", "finish": "stop", "tokens": 1} | update))


def result(job: FitJob, **update: Any) -> FitResult:
    numbers = {"sequences": 1, "tokens": 1, "steps": 1, "loss_first": 1.0, "loss_last": 1.0}
    return FitResult(**({"id": job.id, "path": job.out, **numbers} | update))


REQUESTS = [Request(f"r{n}", "prompt", Sampling()) for n in range(2)]
JOBS = [FitJob(f"j{n}", TrainingSet(()), FitConfig(), 0, Path("out")) for n in range(2)]
SAMPLING: list[tuple[Callable[[list[Any]], Iterable[Any]], str]] = [
    (lambda asked: [completion(asked[0])], "gave no completion for 1 of 2 requests"),
    (lambda asked: [completion(asked[0]), completion(asked[0])], "gave a completion for 'r0', which no request waits"),
    (lambda asked: [completion(asked[0], id="x")], "gave a completion for 'x', which no request waits for"),
    (lambda asked: [completion(asked[0], id=["r0"])], "gave a completion for ['r0'], which no request waits for"),
    (lambda asked: ["text"], "gave 'text', which is no Completion(id, text, finish, tokens, error)"),
    (lambda asked: [completion(asked[0], text=None)], "which has a text or an error that is none"),
    (lambda asked: [completion(asked[0], finish="done")], "which ends with none of stop, length, refused, failed"),
    (lambda asked: [completion(asked[0], tokens="3")], "which has tokens that are no number"),
    (lambda asked: [completion(asked[0], finish="failed")], 'which is "failed" without an error'),
    (lambda asked: [1 / 0], "ZeroDivisionError: division by zero (tests/stages/test_theirs.py:"),
    (lambda asked: None, "TypeError: 'NoneType' object is not iterable (tests/stages/test_theirs.py:"),  # type: ignore[arg-type, return-value]
]
TRAINING: list[tuple[Callable[[list[Any]], Iterable[Any]], str]] = [
    (lambda jobs: [result(jobs[0])], "gave no result for 1 of 2 jobs"),
    (lambda jobs: [result(jobs[0], id="x")], "gave a result for 'x', which no job waits for"),
    (lambda jobs: [{"id": "j0"}], "which is no FitResult(id, path, sequences, tokens, steps, loss_first, loss_last, e"),
    (lambda jobs: [result(jobs[0], path=None)], "which has neither a path nor an error"),
    (lambda jobs: [result(jobs[0], steps=1.5)], "which has sequences, tokens or steps that are no number"),
    (lambda jobs: [result(jobs[0], loss_last=float("nan"))], "which has a loss that is no finite number"),
    (lambda jobs: [result(jobs[0], error=3)], "which has an error that is no text"),
    (lambda jobs: [{}["x"]], "KeyError: 'x' (tests/stages/test_theirs.py:"),
]


@pytest.mark.parametrize(("does", "words"), SAMPLING)
def test_an_engine_that_raises_or_gives_no_completions_is_told(
    does: Callable[[list[Any]], Iterable[Any]], words: str
) -> None:
    with pytest.raises(BadConfig) as caught:
        list(GuardedEngine("my:Engine", Puppet, "m", does=does).sample(REQUESTS))
    assert str(caught.value).startswith("--engine my:Engine: ")
    assert words in str(caught.value)


@pytest.mark.parametrize(("does", "words"), TRAINING)
def test_a_trainer_that_raises_or_gives_no_results_is_told(
    does: Callable[[list[Any]], Iterable[Any]], words: str
) -> None:
    with pytest.raises(BadConfig) as caught:
        list(GuardedTrainer("my:Trainer", Puppet, "m", does=does).fit(JOBS))
    assert str(caught.value).startswith("--trainer my:Trainer: ")
    assert words in str(caught.value)


def test_what_came_before_the_error_has_been_given() -> None:
    def some(asked: list[Any]) -> Iterator[Any]:
        yield completion(asked[0])
        raise ValueError("mine")

    found = GuardedEngine("my:Engine", Puppet, "m", does=some).sample(REQUESTS)
    assert next(found).id == "r0"
    with pytest.raises(BadConfig, match="ValueError: mine"):
        next(found)


@pytest.mark.parametrize("error", [OutOfMemory("full"), MemoryError("full")])
def test_no_memory_is_nobodys_mistake(error: BaseException) -> None:
    def full(asked: list[Any]) -> Iterator[Any]:
        raise error
        yield

    with pytest.raises(type(error), match="full"):
        list(GuardedEngine("my:Engine", Puppet, "m", does=full).sample(REQUESTS))


def test_good_ones_of_others_are_passed_on() -> None:
    engine = GuardedEngine("my:Engine", Puppet, "m", does=lambda asked: map(completion, reversed(asked)))
    assert [each.id for each in engine.sample(REQUESTS)] == ["r1", "r0"]
    trainer = GuardedTrainer("my:Trainer", Puppet, "m", does=lambda jobs: map(result, jobs))
    assert (trainer.model, [each.id for each in trainer.fit(JOBS)]) == ("m", ["j0", "j1"])


DOMAIN = """from pydantic import model_validator
from tests.domains.arithmetic import Arithmetic, Sums
class D(Arithmetic):
    """
TASK_TYPE = """class task_type(Sums):
        @model_validator(mode="before")
        def look(cls, given): return given["name"]
"""
DOING = [
    ("def edit_prompt(self, task, template, *, chat): return {}['x']", "edit", "in edit_prompt: "),
    ("defaults = property(lambda self: {}['x'])", "edit", "in <lambda>: "),
    ("def schema(self): return {}['x']", "edit", "in schema: "),
    ("def schema(self): return {'a': 1}\n    def read_choice(self, text): return {}['x']", "edit", "in read_choice: "),
    (TASK_TYPE, "edit", "in look: "),
    (
        "def queries(self, task, **how):\n        yield from super().queries(task, **how)\n        {}['x']",
        "ask",
        "in queri",
    ),
    ("def make_training_set(self, task, edit): return {}['x']", "train", "in make_training_set: "),
]


@pytest.mark.parametrize(("code", "what", "words"), DOING)
def test_what_fails_in_a_domain_is_told_as_its_own(
    write: Callable[[str], str], code: str, what: str, words: str
) -> None:
    name = f"{write(DOMAIN + code)}:D"
    allow_domain(name)
    line = {"task": {"id": "t", "domain": name, "sums": [[1, 2]]}}
    with pytest.raises(BadConfig) as caught:
        if what == "edit":
            parse_record({**line, "edit": {"completion": "e"}})
        task, domain = parse_record(line).task, load_domain(name)
        list(domain.queries(task, in_context=False, chat=False))
        edit = parse_record({**line, "edit": {"completion": "e"}}).edit
        assert edit and what == "train"
        domain.set_up_training(TrainingSetup(FitConfig())).make_training_set(task, edit)
    assert str(caught.value).startswith(f"the domain {name}: KeyError: ")
    assert f"({name[:-2]}.py:" in str(caught.value)
    assert words in str(caught.value)


def test_a_self_edit_that_a_domain_cannot_use_is_the_models_failure(write: Callable[[str], str]) -> None:
    name = f"{write(DOMAIN + 'pass')}:D"
    allow_domain(name)
    line = parse_record({"task": {"id": "t", "domain": name, "sums": [[1, 2]]}, "edit": {"completion": "-"}})
    assert line.edit
    assert line.edit.prompt == "e) 1+2\nDrill: "
    with pytest.raises(BadEdit, match="no drill is picked"):
        load_domain(name).make_training_set(line.task, line.edit)


@pytest.mark.parametrize("name", ["os:system", "tests.domains.arithmetic:Arithmetic", "absent:D", "qa:x", ":", "x:"])
def test_no_domain_that_a_line_names_is_imported(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plugins, "import_module", lambda name: pytest.fail(f"{name} is imported"))
    line = {"v": 1, "task": {"id": "t", "domain": name, "sums": [], "context": "c"}, "meta": {"domain": name}}
    for edit in ({"completion": "e"}, {"completion": "e", "template": name, "chosen": {"domain": name}}):
        with pytest.raises(BadLine, match=f"the domain {name} does not come with seal; give --domain {name} to run"):
            parse_record({**line, "edit": edit, "score": {"value": 1, "judge": name}})


@pytest.mark.parametrize("given", ["{'id': 't'}", "Sums.model_construct(id='t', domain='x')"])
def test_what_a_domain_reads_has_to_be_its_tasks(write: Callable[[str], str], given: str, tmp_path: Path) -> None:
    own = "class task_type(Sums): pass\n    def read_tasks(self, text, name): yield "
    name = f"{write(DOMAIN + own + given)}:D"
    (tmp_path / "sums.txt").write_text("a: 1+2")
    with pytest.raises(BadConfig, match=f"--domain {name}: read_tasks gave .*, which is no task of its task_type"):
        list(tasks.run(str(tmp_path / "sums.txt"), domain=name))
