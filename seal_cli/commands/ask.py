"""`seal ask`"""

from dataclasses import dataclass
from typing import Annotated, ClassVar

import typer
from annotated_types import Ge, Le

from seal_cli.flags import options as opt
from seal_cli.flags.engine import EngineFlags
from seal_cli.flags.expand import Without
from stages.settings import ANSWERING, STOP, Doc, Sampling

_PANEL = Sampling.panel


@dataclass(frozen=True)
class AskFlags:
    """Whom to ask, and how the question is put."""

    panel: ClassVar[str] = opt.OWN_PANEL
    adapters: Annotated[
        tuple[str, ...],
        Doc(
            "An adapter's directory, a run (its `current`), or a file of lines that name one; repeat.", "A", "--adapter"
        ),
    ] = ()
    alone: Annotated[bool, Doc("Only with the adapter, not beside the model as it is.")] = False
    title: Annotated[
        str | None, Doc("What it is about, as the title of a task.", "TEXT", default="that of the lines, if it is one")
    ] = None
    in_context: Annotated[str | None, Doc("Show this passage, as `seal eval --in-context` does.", "FILE|-")] = None
    as_json: Annotated[bool, Doc("A JSON object for each question.", flag="--json")] = False
    temperature: Annotated[float, Ge(0.0), Doc("0 is greedy.", "T", panel=_PANEL)] = ANSWERING.temperature
    top_p: Annotated[float, Ge(0.0), Le(1.0), Doc("Nucleus sampling; 1 keeps all tokens.", "P", panel=_PANEL)] = (
        ANSWERING.top_p
    )
    max_tokens: Annotated[int, Ge(1), Doc("Most tokens of an answer.", "N", panel=_PANEL)] = ANSWERING.max_tokens
    stop: Annotated[tuple[str, ...], STOP] = ()
    seed: Annotated[int, Doc("The same question with the same seed has the same answer.", "S", panel=_PANEL)] = 0
    chat: opt.Chat = None

    @property
    def sampling(self) -> Sampling:
        return Sampling(self.temperature, self.top_p, self.max_tokens, self.seed, self.stop)


def ask(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="A model directory or name.", show_default=False)],
    question: Annotated[
        str | None,
        typer.Argument(metavar="QUESTION", help="Without it: stdin, one a line, or a prompt.", show_default=False),
    ] = None,
    *,
    flags: AskFlags,
    student: Annotated[EngineFlags, Without("batch")],
) -> int:
    """Ask a model a question of your own, with adapters and without, and watch the answers come.

    The prompt is the one of `seal eval`: what is seen here is what is measured there, greedy and closed-book unless
    flags say otherwise. The answers stand beside each other where the terminal is wide. Without a question a terminal
    gets a prompt (/help; Ctrl-C cancels an answer, Ctrl-D leaves), and a pipe gives one question a line.

    \b
    Examples:
      seal ask DIR --adapter runs/mine "Where was Ada born?"
      seal ask BASE --stop '\\n' "Where was Ada born?"     (a base model's answer is its first line)
      seal ask DIR --adapter adapters.jsonl --title "Ada"
      seal ask DIR --adapter a --adapter b --alone < questions.txt
      seal ask DIR "Where was Ada born?" --in-context ada.txt --json
      seal ask NAME --engine openai --base-url http://localhost:8000/v1
    """
    from seal_cli.exit_codes import UsageError  # late: help does without
    from seal_cli.runs.asking import Asker, check_adapters, read_questions, read_shown_passage
    from seal_cli.runs.engines import select_engine
    from seal_cli.terminal.console import note
    from stages.ask import Wording, find_adapter

    student.check()
    if flags.alone and not flags.adapters:
        raise UsageError("--alone: there is no --adapter; give one, or leave it out")
    source = select_engine(student, model)
    name = source.choose(())
    adapters = list(dict.fromkeys(find_adapter(each, name) for each in flags.adapters))
    check_adapters(source, adapters, name)
    passage = read_shown_passage(flags.in_context, asked=question is not None)
    titles = {each.title for each in adapters}
    title = flags.title if flags.title is not None else titles.pop() if len(titles) == 1 else ""
    wording = Wording(title, passage, source.chats if flags.chat is None else flags.chat)
    questions = read_questions(question)
    paths = [each.path for each in adapters]
    note(f"seal ask: loading {name}")
    engine = source.load(name, paths)
    asker = Asker(engine, [*([] if flags.alone else [None]), *paths], wording, flags.sampling, flags.as_json)
    return asker.converse() if questions is None else asker.answer_all(questions)
