"""`seal eval`"""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar, Literal

from annotated_types import Ge

from seal_cli.flags import options as opt
from seal_cli.flags.engine import EngineFlags
from seal_cli.flags.forecast import ForecastFlags
from seal_cli.flags.judge import JudgeFlags, describe_judge
from seal_cli.flags.run import InputFlags, RunFlags
from stages.cluster.settings import Cluster
from stages.settings import STOP, Doc, ModelName, Retrieval, Sampling


@dataclass(frozen=True)
class EvalFlags:
    """The fields of stages.eval.Eval that are its own."""

    panel: ClassVar[str] = opt.OWN_PANEL
    judge_given: Annotated[str | None, describe_judge("{}; ARC's grids need none.", JudgeFlags.text)] = None
    in_context: Annotated[
        bool, Doc("Show the passage: the oracle row. ARC: ask once, after all demonstrations, no vote.")
    ] = False
    likelihood: Annotated[
        Literal["answers", "passage"] | None,
        Doc("Answer nothing; measure how likely the gold answers, or the passage, are with and without the adapter."),
    ] = None
    max_tokens: Annotated[
        int | None,
        Ge(1),
        Doc(
            "Most tokens of an answer.",
            "N",
            default=opt.describe_default("answering", "max_tokens"),
            panel=Sampling.panel,
        ),
    ] = None
    stop: Annotated[tuple[str, ...], STOP] = ()
    chat: opt.Chat = None
    on: Annotated[
        Path | None, Doc("Every adapter answers the tasks of this file instead of its own: a line for each.", "FILE")
    ] = None
    retain: Annotated[
        Path | None, Doc("Anchors: every adapter also answers the tasks of this file: score.retention.", "FILE")
    ] = None


def evaluate(
    run: RunFlags,
    lines: InputFlags,
    *,
    model: ModelName = None,
    flags: EvalFlags,
    retrieval: Retrieval,
    student: EngineFlags,
    grader: JudgeFlags,
    cluster: Cluster,
    forecast: ForecastFlags,
) -> int:
    """Answer each task's questions without its passage, with and without the adapter. adapter → score lines.

    Task lines are answered by the model as it is: the baseline row. Answers are greedy. The baseline of a task is
    asked once, however many adapters it has. What a server or a judge fails to say stays unscored, never wrong; the
    same command asks the engine again, `seal judge` the judge. Graded is what stands behind a thought (<think> …); the
    whole text is the line's prediction. An answer that ends within its thought is unscored: give more --max-tokens.

    --on asks every adapter about the tasks of another file: what else changed, or what a sequence of updates has kept.
    --retain asks it about anchors, tasks that were known before, beside its own: `seal filter --retain-above`.

    --retrieve is the row to compare with: retrieval-augmented generation, with adapters and without. Before a question
    stand the K passages of a file that share most with its topic and words (BM25); answers name them in `chunks`.

    --likelihood is a reward without answers, for one pass over each question and its gold answer: the value is the
    geometric mean of the probabilities of the answer's tokens, of several gold answers that of the likeliest, mean over
    questions. It is no accuracy: such lines go to `seal filter` and `seal report` by themselves. --engine hf only.

    An ARC test is put in many ways, with one demonstration left out, in other orders, turned and mirrored; the
    predictions are turned back and vote for two attempts, and every vote is on the line.

    \b
    Examples:
      seal eval adapters.jsonl -o scores.jsonl
      seal eval tasks.jsonl --model DIR                  (no update)
      seal eval tasks.jsonl --model DIR --in-context     (passage in sight)
      seal eval tasks.jsonl --model BASE --stop '\\n'     (a base model's answer is its first line)
      seal eval exam.jsonl --model DIR --retrieve tasks.jsonl --chunks 3 -o rag.jsonl
      seal eval adapters.jsonl --engine openai --base-url http://localhost:8000/v1 --model NAME
      seal eval adapters.jsonl --judge openai:gpt-4.1 -o scores.jsonl
      seal eval adapters.jsonl --on tasks.jsonl -o matrix.jsonl
      seal eval adapters.jsonl --retain anchors.jsonl -o scores.jsonl
      seal eval adapters.jsonl --likelihood answers | seal filter -o sft.jsonl
      seal eval arc-adapters.jsonl | jq -c '.score.answers[].attempts[0]'
    """
    from seal_cli.runs.drive import drive  # late, as all that a run needs: help does without
    from seal_cli.runs.engines import FlaggedJudge, select_engine
    from stages.eval import Eval

    grader.check(others=(lines.file, run.output))
    student.check(unused=grader.get_unused_flags())
    stage = Eval(select_engine(student, model), FlaggedJudge(grader), **vars(flags), retrieval=retrieval)
    return drive(stage, lines, run, cluster=cluster, forecast=forecast)
