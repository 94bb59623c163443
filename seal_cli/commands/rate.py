"""`seal rate`"""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar

from annotated_types import Ge

from seal_cli.flags import options as opt
from seal_cli.flags.engine import EngineFlags
from seal_cli.flags.forecast import ForecastFlags
from seal_cli.flags.run import InputFlags, RunFlags
from seal_cli.flags.service import BatchFlags
from stages.cluster.settings import Cluster
from stages.errors import refuse_given
from stages.settings import Doc, ModelName, Sampling


@dataclass(frozen=True)
class RateFlags:
    """The rubric, and the points that it gives: fields of stages.scoring.rubric.RatingScale."""

    panel: ClassVar[str] = opt.OWN_PANEL
    rubric: Annotated[
        Path | None,
        Doc(
            "A file with {title}, {context} and {completion} that asks for `Final Score: N`.", "FILE", default="SEAL's"
        ),
    ] = None
    lowest: Annotated[float, Doc("Points of the worst self-edit: the reward 0.", "X")] = 4  # four criteria, 1 to 5
    highest: Annotated[float, Doc("Points of the best one: the reward 1.", "X")] = 20
    max_tokens: Annotated[int, Ge(1), Doc("Most tokens of a reply.", "N", panel=Sampling.panel)] = 512

    def get_given(self) -> dict[str, object]:
        """Return the flags whose values are not the defaults; None for the others."""
        usual, flags = vars(RateFlags()), {name: f"--{name.replace('_', '-')}" for name in vars(self)}
        return {flags[name]: None if value == usual[name] else value for name, value in vars(self).items()}


ProgramName = Annotated[
    str | None, Doc("A program that rates instead of a model, with its arguments.", "CMD", panel=opt.OWN_PANEL)
]


def rate(
    run: RunFlags,
    lines: InputFlags,
    flags: RateFlags,
    rater: EngineFlags,
    batches: BatchFlags,
    forecast: ForecastFlags,
    model: ModelName = None,
    chat: opt.Chat = None,
    program: ProgramName = None,
    cluster: Cluster = Cluster(),
) -> int:
    """Let a model rate self-edits by a rubric, without training: a proxy reward. edit → score lines.

    The rubric is the paper's: length, diversity, quality and correctness, 4 to 20 points, which become a value of 0 to
    1. The lines go to `seal filter`. The rater's whole reply is in score.rating.text. One without points leaves the
    self-edit unscored, never bad; the same command asks again.

    With --program a program of yours rates them instead, and no model is loaded: it reads lines of {"id", "title",
    "context", "completion"} and writes {"id", "value", "reason"}, value 0 to 1, or null to leave one unscored.

    \b
    Examples:
      seal rate edits.jsonl --engine openai --model gpt-4.1 -o rated.jsonl
      seal rate edits.jsonl --model DIR | seal filter -o sft.jsonl
      seal rate edits.jsonl --model DIR --rubric mine.txt --lowest 0 --highest 10
      seal rate edits.jsonl --engine openai --model gpt-4.1 --emit-batch calls.jsonl
      seal rate edits.jsonl --program './rate.py --strict' -o rated.jsonl
    """
    from seal_cli.runs.drive import drive  # late, as all that a run needs: help does without
    from seal_cli.runs.engines import select_engine
    from stages.rate import Rate, RateByProgram
    from stages.scoring.rubric import RatingScale

    if program is not None:
        _refuse_model({"--model": model, "--chat": chat, **flags.get_given()}, rater, batches)
        refuse_given(forecast.given(), "a program rates (--program), and nobody knows how fast; leave it out")
        return drive(RateByProgram(program, rater.service.timeout_s), lines, run, cluster=cluster)
    batches.check(run, served=rater.served, needs="--engine openai", unused=rater.service.given())
    rater.check(asks=not batches)
    engine = select_engine(rater, model, answers=batches.answers)
    return drive(Rate(engine, RatingScale(**vars(flags)), chat), lines, run, batches, cluster, forecast)


def _refuse_model(given: dict[str, object], rater: EngineFlags, batches: BatchFlags) -> None:
    """Raise BadConfig for a flag of models or servers: none is asked. --timeout is the program's, too."""
    named = {"--engine": rater.name, "--device": rater.device.name, "--dtype": rater.device.dtype}
    named |= {"--quantize": rater.device.quantize}
    given |= {flag: None if value in ("hf", "auto", "none") else value for flag, value in named.items()}
    given |= {"--batch": rater.batch, "--max-loras": rater.max_loras, "--memory-fraction": rater.memory_fraction}
    given |= {"--base-url": rater.base_url, **rater.service.given(), "--timeout": None}
    given |= {"--emit-batch": batches.emit, "--from-batch": next(iter(batches.files), None)}
    refuse_given(given, "a program rates (--program), and no model is asked; leave one of them out")
