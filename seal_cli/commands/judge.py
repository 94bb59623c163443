"""`seal judge`"""

from seal_cli.flags.forecast import ForecastFlags
from seal_cli.flags.judge import JudgeFlags
from seal_cli.flags.run import InputFlags, RunFlags
from seal_cli.flags.service import BatchFlags
from stages.cluster.settings import Cluster
from stages.errors import refuse_given


def judge(
    run: RunFlags,
    lines: InputFlags,
    grader: JudgeFlags,
    batches: BatchFlags,
    cluster: Cluster,
    forecast: ForecastFlags,
) -> int:
    """Grade stored answers with another judge; no model runs. score → score lines.

    On stderr: how far the two judges agree (overall, by verdict, Cohen's κ), and in how many contexts another self-edit
    is the best. An answer that the judge fails to grade is unscored, never wrong; the same command asks again. Verdicts
    of openai:… are kept in --cache and asked for once. Graded is what stands behind a thought (<think> …).

    \b
    Examples:
      seal judge scores.jsonl -j openai:gpt-4.1 -o regraded.jsonl
      seal tasks rank_iter0.json | seal judge > lexical.jsonl      (against the paper's own verdicts)
      seal judge scores.jsonl -j openai:gpt-4.1 --emit-batch calls.jsonl
      seal judge scores.jsonl -j openai:gpt-4.1 --from-batch answers.jsonl -o regraded.jsonl
      seal judge scores.jsonl -j "command:./grade.py --strict"
    """
    from seal_cli.runs.drive import drive  # late, as all that a run needs: help does without
    from seal_cli.runs.engines import FlaggedJudge
    from stages.judge import Regrade

    batches.check(run, served=grader.served, needs="an openai:… judge", unused=grader.service.given())
    grader.check(asks=not batches, others=(lines.file, run.output))
    refuse_given(grader.get_unused_flags(), f"the judge {grader.text} asks no server")
    return drive(Regrade(FlaggedJudge(grader, batches.answers)), lines, run, batches, cluster, forecast=forecast)
