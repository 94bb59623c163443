"""`seal rate`"""

from seal_cli.flags import options as opt
from seal_cli.flags.batch import BatchFlags
from seal_cli.flags.engine import EngineFlags
from seal_cli.flags.run import InputFlags, RunFlags
from seal_cli.runs.drive import drive
from stages.models.checkpoints import ModelName
from stages.rate import Rate, RatingScale


def rate(
    run: RunFlags,
    lines: InputFlags,
    scale: RatingScale,
    rater: EngineFlags,
    batches: BatchFlags,
    model: ModelName = None,
    chat: opt.Chat = None,
) -> int:
    """Let a model rate self-edits by a rubric, without training: a proxy reward. edit → score lines.

    The rubric is the paper's: length, diversity, quality and correctness, 4 to 20 points, which become a value of 0 to
    1. The lines go to `seal filter`. The rater's whole reply is in score.rating.text. One without points leaves the
    self-edit unscored, never bad; the same command asks again.

    \b
    Examples:
      seal rate edits.jsonl --engine openai --model gpt-4.1 -o rated.jsonl
      seal rate edits.jsonl --model DIR | seal filter -o sft.jsonl
      seal rate edits.jsonl --model DIR --rubric mine.txt --lowest 0 --highest 10
      seal rate edits.jsonl --engine openai --model gpt-4.1 --emit-batch calls.jsonl
    """
    batches.check(run, served=rater.served, needs="--engine openai", unused=rater.service.given())
    rater.check(asks=not batches)
    return drive(Rate(rater.source(model, batches.answers), scale, chat), lines, run, batches)
