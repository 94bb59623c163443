"""What `seal sft` will cost: counts of its examples, and seconds by a calibration."""

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from seal_cli.flags.forecast import ForecastFlags
from seal_cli.runs.calibrations import CalibrationStore
from seal_cli.runs.stdio import write_stdout
from seal_cli.terminal.console import note, say
from seal_cli.terminal.costs import describe_forecast
from stages.interfaces import Example
from stages.models.device import Device
from stages.planning.calibration import Calibration
from stages.planning.calibrator import calibrate_outer
from stages.planning.forecast import Forecast, make_outer_forecast
from stages.planning.sizes import TokenSizer, count_letters
from stages.settings import SftConfig

_LINE_BYTES = 600  # of the line that names a checkpoint


def tell_outer_forecast(
    examples: Sequence[Example],
    model: str,
    device: Device,
    config: SftConfig,
    settings: Callable[[], Mapping[str, Any]],
    stdout: int,
    flags: ForecastFlags,
) -> None:
    """Say what training on these examples comes to. `settings`: those of the run."""
    if not flags.is_asked:
        letters = sum(count_letters(each.prompt) + len(each.completion) for each in examples)
        steps = config.epochs * -(-len(examples) // config.batch_size)
        note(f"seal sft: {len(examples):,} examples of {letters:,} letters; {steps:,} steps")
        return
    sizes, store = _count_tokens(examples, model), CalibrationStore.of("sft", settings())
    there = None if flags.calibrate else store.read()
    if flags.calibrate:
        there = calibrate_outer(sizes, config, _make_training(examples, model, device))
        store.write(there)
    found = _finish(sizes, config, there or Calibration())
    if flags.as_json:
        told = {"stage": "sft", "model": model, "calibrated": there is not None, **found.values, "assumed": []}
        write_stdout(stdout, (json.dumps(told, ensure_ascii=False) + "\n").encode())
    say(f"seal sft: {describe_forecast(found.values)}")
    if there is None:
        note("seal sft: seconds and memory: give --calibrate once")


def predict_outer(
    examples: Sequence[Example], model: str, config: SftConfig, settings: Mapping[str, Any]
) -> Callable[[], Mapping[str, Any]] | None:
    """Return what forecasts a training by the calibration in the cache; None where there is none."""
    calibration = CalibrationStore.of("sft", settings).read()
    if calibration is None:
        return None
    known = calibration
    return lambda: _finish(_count_tokens(examples, model), config, known).values


def _finish(sizes: Sequence[int], config: SftConfig, calibration: Calibration) -> Forecast:
    found = make_outer_forecast(sizes, config, calibration)
    found.values = {"lines": 1, **found.values, "line_bytes": _LINE_BYTES}
    return found


def _count_tokens(examples: Sequence[Example], model: str) -> Sequence[int]:
    return TokenSizer(model, local=True).count_examples(examples)


def _make_training(
    examples: Sequence[Example], model: str, device: Device
) -> Callable[[Sequence[int], SftConfig, Path], object]:
    """Return what trains on the examples at some places."""

    def train(places: Sequence[int], config: SftConfig, out: Path) -> object:
        from stages.models.libraries import quiet_libraries

        quiet_libraries()
        from stages.trainers.sft import SupervisedTrainer  # torch, which nothing before has loaded

        trainer = SupervisedTrainer(model, device=device)
        return trainer.finetune([examples[place] for place in places], config, out)

    return train
