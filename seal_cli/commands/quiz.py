"""`seal quiz`"""

from dataclasses import dataclass, replace
from typing import Annotated, ClassVar

from annotated_types import Ge, Le

from seal_cli.flags import options as opt
from seal_cli.flags.engine import EngineFlags
from seal_cli.flags.expand import Given
from seal_cli.flags.forecast import ForecastFlags
from seal_cli.flags.judge import JudgeFlags
from seal_cli.flags.run import InputFlags, RunFlags
from stages.settings import STOP, Doc, ModelName, Sampling


@dataclass(frozen=True)
class QuizFlags:
    """How questions are written and tried: fields of stages.quiz.QuizRules."""

    panel: ClassVar[str] = opt.OWN_PANEL
    template: Annotated[
        str | None,
        Doc(
            "A file with {title} and {context} that asks for questions with answers, or a template of `seal generate`.",
            "NAME|FILE",
            "--template -t",
            default="our own",
        ),
    ] = None
    samples: Annotated[int, Ge(1), Doc("Times that questions are asked for.", "N", "-k")] = 2
    exam_share: Annotated[
        float, Ge(0), Le(0.9), Doc("Share of the questions that stay that is kept for the exam, whole facts.", "S")
    ] = 0.5
    given: Annotated[bool, Doc("Write none: try the questions that the lines have.")] = False
    unchecked: Annotated[bool, Doc("Try none: keep all questions whose words do not spoil them.")] = False
    exam: Annotated[bool, Doc("Only turn lines of this stage to the questions that were kept back; no model runs.")] = (
        False
    )
    answer_stop: Annotated[
        tuple[str, ...],
        replace(
            STOP, text="An answer by which a question is tried ends before this text (repeat it).", flag="--answer-stop"
        ),
    ] = ()


def quiz(
    run: RunFlags,
    lines: InputFlags,
    flags: QuizFlags,
    sampling: Given[Sampling],
    student: EngineFlags,
    grader: JudgeFlags,
    forecast: ForecastFlags,
    model: ModelName = None,
    chat: opt.Chat = None,
    seed: opt.Seed = 0,
) -> int:
    """Let the model write the questions that measure learning, and drop those that measure nothing. task → task lines.

    A question stays if it is answered right with the passage in sight, also twice at temperature 0.7, and not each
    time without it, and if neither its title nor another question that stays gives the answer away. A share of what
    stays, of other facts than the rest, is kept for an exam; the rest rewards. What was dropped is on the line with its
    reason (quiz.dropped).

    \b
    Examples:
      seal tasks notes/ | seal quiz --model DIR -o tasks.jsonl
      seal quiz tasks.jsonl --exam > exam.jsonl         (what was kept back)
      seal quiz tasks.jsonl --given --model DIR         (try the questions that are there)
      seal quiz tasks.jsonl --unchecked --engine openai --model gpt-4.1 | seal quiz --given --model DIR
      jq -r '.quiz.dropped[] | [.reason, .question, .answer] | @tsv' tasks.jsonl
    """
    from seal_cli.runs.drive import drive  # late, as all that a run needs: help does without
    from seal_cli.runs.engines import FlaggedJudge, select_engine
    from stages.quiz import MakeQuiz, QuizRules

    grader.check(others=(lines.file, run.output))
    if not flags.exam:
        student.check(unused=grader.get_unused_flags())
    engine, rules = select_engine(student, model), QuizRules(**vars(flags))
    return drive(
        MakeQuiz(engine, FlaggedJudge(grader), rules, sampling.values, chat, seed), lines, run, forecast=forecast
    )
