"""`seal sft`"""

import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from seal_cli import exit_codes
from seal_cli.flags import options as opt
from seal_cli.flags.expand import Without
from seal_cli.flags.forecast import ForecastFlags
from seal_cli.flags.run import InputFlags, RunFlags
from seal_cli.terminal.console import note
from stages.errors import BadInput
from stages.models.device import Device
from stages.settings import Doc, OuterLoss, SftConfig

if TYPE_CHECKING:
    from seal_cli.runs.run import Run
    from stages.records.schema import Checkpoint
    from stages.sft import PairCheck
    from stages.sources.training_pairs import TrainingPair
    from stages.trainers.team import Team

Overwrite = Annotated[bool, Doc("Replace --out and the output if they exist.", panel=opt.LINES_PANEL)]


def sft(
    run: Annotated[RunFlags, Without("journal")],
    lines: InputFlags,
    fit: SftConfig,
    device: Annotated[Device, Without("quantize")],
    out: Annotated[Path, Doc("The model directory to write.", "DIR")],
    model: Annotated[str, Doc("A model directory or hub name.", "DIR|NAME")],
    forecast: Annotated[ForecastFlags, Without("suppose", "price_in", "price_out")],
    overwrite: Overwrite = False,
    seed: opt.Seed = 0,
) -> int:
    """Train the model on kept self-edits, loss on the completion only. sft lines → a model directory for --model.

    Any line will do that has prompt and completion, each as text or as messages, or messages (a chat): every turn of
    the assistant in the completion, or in messages, is learned behind the turns before it, without the thoughts
    (<think> …) that it begins with. Other keys are left alone. --loss dpo learns from prompt, chosen and rejected,
    and --loss weighted from completions with an advantage.
    The defaults are the paper's (SEAL App. B). One line on stdout names the checkpoint.
    Processes that torchrun or accelerate launch starts share out each step; the first reads and writes.

    \b
    Examples:
      seal sft sft.jsonl --model examples/tiny/model --out round-1/model
      seal filter scores.jsonl | seal sft --model DIR --out next --full --learning-rate 1e-5
      seal filter scores.jsonl --pairs | seal sft --model DIR --out next --loss dpo
    """
    from seal_cli.runs.rejects import open_rejects  # late, as all that a run needs: help does without
    from seal_cli.runs.run import Run
    from stages import sft as stage
    from stages.models.checkpoints import choose_model
    from stages.models.libraries import quiet_libraries
    from stages.trainers.team import read_team

    forecast.check(run)
    config, team = replace(fit, seed=seed), read_team()
    if not team.leads:
        return exit_codes.DONE if run.dry_run else _follow(team, model, device, config, out)
    config.check()
    team.check(config)
    _check_out(run, out, model, overwrite=overwrite)
    bad, check = open_rejects(lines, run.output), stage.PairCheck(model, not run.dry_run, quiet_libraries)
    with Run("sft", output=run.output, overwrite=overwrite, rejects=bad, dry=run.dry_run) as current:
        pairs = _read_pairs(current, lines, check, config.loss)
        if not current.input.facts.lines:
            note("seal sft: no examples, no model: nothing is trained")
            current.configure(lines.selection)
            current.write(())
            team.share(None, device)
            return current.code
        name = choose_model(model, ())
        if run.dry_run:
            return _describe(current, pairs, name, out, config, device, forecast)
        current.configure({**_tell_settings(name, device, config, out), **lines.selection})
        current.write([_find_or_train(current, pairs, name, device, config, out, overwrite=overwrite, team=team)])
    return current.code


def _check_out(run: RunFlags, out: Path, model: str, *, overwrite: bool) -> None:
    from seal_cli.runs.journal import check_place
    from stages import sft as stage

    check_place(run.output, (), out)
    stage.check_out(out, model, overwrite=overwrite)


def _tell_settings(model: str, device: Device, config: SftConfig, out: Path) -> dict[str, Any]:
    """What the run's settings say of how the model is trained."""
    from stages.models.checkpoints import fingerprint

    fit = config.get_used_settings()
    return {"model": model, "weights": fingerprint(model), "dtype": device.dtype, "out": out, "fit": fit}


def _describe(
    current: "Run",
    pairs: Iterable["TrainingPair"],
    model: str,
    out: Path,
    config: SftConfig,
    device: Device,
    forecast: ForecastFlags,
) -> int:
    """Say what would be done and what it would cost, as --dry-run does; return the exit code."""
    from seal_cli.runs.outer_forecasts import tell_outer_forecast
    from stages.work import describe_plan

    examples = [example for pair in pairs for example in pair.examples]
    told = f"train {model} on {len(examples)} examples and write {out}"
    code = current.describe(describe_plan(told, config.get_used_settings()))
    if examples:
        settings = partial(_tell_settings, model, device, config, out)
        tell_outer_forecast(examples, model, device, config, settings, current.output.stdout, forecast)
    return code


def _read_pairs(current: "Run", lines: InputFlags, check: "PairCheck", loss: OuterLoss) -> list["TrainingPair"]:
    """Read what is learned. Raises BadConfig where it is the model that no line fits."""
    from seal_cli.runs.stdio import input_pairs

    read = input_pairs(lines.file, current.refuse, check, loss)
    try:
        return current.input.read(read, **lines.selection, allow_empty=lines.allow_empty)
    except BadInput as error:
        check.blame_model(error, current.refuse.count)
        raise


def _find_or_train(
    current: "Run",
    pairs: list["TrainingPair"],
    model: str,
    device: Device,
    config: SftConfig,
    out: Path,
    *,
    overwrite: bool,
    team: "Team",
) -> "Checkpoint":
    """Return the checkpoint of this very run: of one before, or trained now."""
    from seal_cli.runs.manifest import compute_digest
    from stages import sft as stage
    from stages.files import hold_name
    from stages.models.checkpoints import check_unchanged
    from stages.models.libraries import quiet_libraries

    settings = {**current.settings, "out": None, "input": current.input.digest.hexdigest()}  # wherever the run lies
    digest = compute_digest(settings)
    with hold_name(out) as held:
        made = stage.find_made(out, digest, overwrite=overwrite)
        if made:
            note(f"seal sft: {out} was made from the same examples with the same settings; nothing to train")
            team.share(None, device)
            return made
        current.costly = True
        current.account.begin()
        if predict := _foresee(current, pairs, model, config):
            current.account.predict(predict)
        current.progress.set_phase("loading")
        with current.display.apart([*current.output.descriptors, held]):
            quiet_libraries()
            from stages.trainers.sft import SupervisedTrainer  # torch, which nothing before has loaded

            is_same = partial(check_unchanged, current.settings)
            trainer = SupervisedTrainer(model, device=device, run=digest, check=is_same, team=team)
            made = stage.run(pairs, trainer, out=out, config=config, progress=current.progress)
        current.account.add_checkpoint(made, current.progress)
    return made


def _foresee(
    current: "Run", pairs: Iterable["TrainingPair"], model: str, config: SftConfig
) -> Callable[[], Mapping[str, Any]] | None:
    """Return what forecasts the training for its manifest, where there is one and a calibration is in the cache."""
    from seal_cli.runs.outer_forecasts import predict_outer

    if not current.output.output:
        return None
    examples = [example for pair in pairs for example in pair.examples]
    return predict_outer(examples, model, config, current.settings)


def _follow(team: "Team", model: str, device: Device, config: SftConfig, out: Path) -> int:
    """Train along with the process that reads and writes, and say nothing."""
    from stages.models.libraries import quiet_libraries

    os.dup2(2, 1)  # records are the leader's
    quiet_libraries()
    from stages.trainers.sft import SupervisedTrainer

    examples = team.share(None, device)
    if examples is not None:
        SupervisedTrainer(model, device=device, team=team).finetune(examples, config, out)
    return exit_codes.DONE
