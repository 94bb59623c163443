"""`seal adapt`"""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, ClassVar

from annotated_types import Ge

from seal_cli.flags import options as opt
from seal_cli.flags.expand import Given
from seal_cli.flags.forecast import ForecastFlags
from seal_cli.flags.judge import JudgeFlags, describe_judge
from seal_cli.flags.run import InputFlags, RunFlags
from stages.cluster.settings import Cluster
from stages.errors import BadConfig, refuse_given
from stages.settings import Doc, FitConfig, PadMode, Pooling
from stages.trainers.local import TINKER, LocalTrainer


@dataclass(frozen=True)
class AdaptFlags:
    """The fields of stages.adapt.Adapt that are its own."""

    panel: ClassVar[str] = opt.OWN_PANEL
    out: Annotated[Path, Doc("Where the adapter directories go.", "DIR")] = Path("adapters")
    seeds: Annotated[int, Ge(1), Doc("Adapters per self-edit.", "N")] = 1
    show_data: Annotated[bool, Doc("Print the training sequences, or grids; train nothing.")] = False
    sequential: Annotated[
        bool, Doc("Train each self-edit onto the model so far, in the order of the lines: continual self-edits.")
    ] = False
    gate: Annotated[
        float | None,
        Doc(
            "With --sequential: refuse an update with which accuracy on the anchors (--retain) is lower by more than X "
            "than before the first one.",
            "X",
        ),
    ] = None
    retain: Annotated[
        Path | None, Doc("The anchors of --gate: tasks whose answers the model knows, as for `seal eval`.", "FILE")
    ] = None
    judge_given: Annotated[str | None, describe_judge("Who grades the anchors of --gate: {}.", JudgeFlags.text)] = None
    replay: Annotated[
        tuple[str, ...],
        Doc(
            "Mix texts into every training set, as this share of its sequences: those of FILE (lines of seal, or a "
            "text with blank lines between), or of the other tasks of the run (repeat it).",
            "FILE:X|self:X",
            "--replay",
        ),
    ] = ()
    split_newlines: Annotated[
        bool | None,
        Doc(
            "Every line of a self-edit is a sequence of its own.",
            flag="--split-newlines/--no-split-newlines",
            default="yes",
        ),
    ] = None
    chat: Annotated[
        bool | None,
        Doc("Put ARC tasks through the student's chat template.", flag="--chat/--no-chat", default="yes"),
    ] = None


def adapt(
    run: RunFlags,
    lines: InputFlags,
    flags: AdaptFlags,
    pooling: Pooling,
    trainer: LocalTrainer,
    grader: JudgeFlags,
    fit: Given[FitConfig],
    cluster: Cluster,
    forecast: ForecastFlags,
    seed: opt.Seed = 0,
) -> int:
    """Fine-tune the student on each self-edit, once per seed. edit → adapter lines, and PEFT directories under --out.

    The defaults are the paper's (SEAL App. B). The training sequences are the self-edit's pieces, each under the
    title, and the passage last; of an ARC task, the training tasks that the self-edit's tools make of the
    demonstrations. An adapter does not depend on what is trained beside it: to the last bit where `seal doctor` says
    so (same bits), else to the last digits.

    --sequential builds one model of all self-edits, step by step: the LoRA of each is trained with those before it
    merged in, and its directory holds them all, so that `seal eval --on` can ask the model after every step. The same
    command goes on at the step where it was stopped. --seeds N trains N such sequences. --gate X --retain FILE asks the
    model after every training about anchors, and refuses an update that costs too much of what was known before: the
    model stays as it was, and the line says so.

    \b
    Examples:
      seal adapt edits.jsonl --out adapters --seeds 3 -o adapters.jsonl
      seal adapt edits.jsonl --rank 8 --alpha 16 --target q_proj --target v_proj --epochs 4
      seal adapt edits.jsonl --replay self:0.25 --replay anchors.jsonl:0.1 -o adapters.jsonl
      seal adapt edits.jsonl --show-data | jq -r '.sequences[]'
      seal adapt edits.jsonl --pool --no-split-newlines --epochs 3 --batch-size 4 --accumulation 2
      seal adapt edits.jsonl --pool --method full --epochs 1 --batch-size 8 --warmup-ratio 0.03
      seal adapt edits.jsonl --sequential --out steps -o steps.jsonl
      seal adapt edits.jsonl --sequential --gate 0.02 --retain anchors.jsonl --judge exact -o steps.jsonl
      seal adapt edits.jsonl --trainer tinker --base-url http://localhost:8000 --alpha 32 --target all-linear
      seal adapt edits.jsonl --ray auto --gpus-per-worker 1 --out /shared/adapters -o /shared/adapters.jsonl
      seal adapt arc-edits.jsonl --show-data | jq -r '.tasks[].tool' | sort | uniq -c
    """
    from seal_cli.runs.drive import drive  # late, as all that a run needs: help does without
    from seal_cli.runs.engines import FlaggedJudge
    from stages.adapt import Adapt

    PadMode.parse(fit.values.get("pad_mode", "none"))
    trainer.check()
    _check_order(flags, pooling, lines, run, cluster)
    served = trainer.name == TINKER
    if served:
        refuse_given({"--ray": cluster.address}, "the service of --trainer tinker does the work; leave it out")
        trainer = replace(trainer, access=grader.service.access("TINKER_API_KEY"))
    if flags.gate is None:
        _refuse_judge(grader, served=served)
    else:
        grader.check(others=(lines.file, flags.retain, run.output))
        refuse_given(grader.get_unused_flags(), f"the judge {grader.text} asks no server")
    more: dict[str, Any] = {"pooling": pooling, "trainer": trainer, "fit": fit.values, "seed": seed}
    return drive(
        Adapt(**vars(flags), **more, judge=FlaggedJudge(grader)), lines, run, cluster=cluster, forecast=forecast
    )


def _refuse_judge(grader: JudgeFlags, *, served: bool) -> None:
    """Raise BadConfig for flags of a judge that nobody asks; `served`: a service that trains is called, too."""
    service = {"--concurrency": grader.service.concurrency} if served else grader.service.given()
    unused = {**service, "--cache": grader.cache, "--judge-max-tokens": grader.max_tokens}
    refuse_given(unused, "it is for the judge of a gate; give --gate X --retain FILE")


def _check_order(flags: AdaptFlags, pooling: Pooling, lines: InputFlags, run: RunFlags, cluster: Cluster) -> None:
    """Raise BadConfig for ways to train that exclude each other, ExistingOutput for one place of adapters and lines."""
    from seal_cli.runs.journal import check_place

    check_place(run.output, (flags.out,))
    if flags.sequential and lines.shard:
        raise BadConfig(f"--shard {lines.shard}: the self-edits of a sequence follow each other; leave it out")
    if flags.sequential and pooling.is_on:
        raise BadConfig("--sequential trains self-edits one after the other, --pool together; leave one of them out")
    if pooling.is_on and lines.shard:
        raise BadConfig(f"--shard {lines.shard}: a pool is trained on all of its lines; leave it out")
    if flags.sequential and cluster.address:
        raise BadConfig(f"--ray {cluster.address}: each step of a sequence needs the last one; leave it out")
