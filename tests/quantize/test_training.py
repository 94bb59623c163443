"""Adapters on quantized weights are those on the numbers they stand for, and are asked on them; who hears of it."""

from pathlib import Path

import pytest
import torch

from stages.engines.hf import HFEngine
from stages.interfaces import FitJob, Request
from stages.models.adapter_checks import find_foreign_models, read_quantization
from stages.models.quantization import QuantizedLinear, dequantize
from stages.settings import Sampling
from stages.trainers.batched.trainer import BatchedLoraTrainer
from stages.trainers.peft import PeftTrainer
from tests.conftest import ROOT
from tests.quantize.conftest import NEEDS_BITSANDBYTES, quantized_on
from tests.trainers.exact import BEYOND_ROUNDING, FLOAT32, FLOAT64, distance, exact_norms, relative_distance, weights_of
from tests.trainers.jobs import KINDS, by_id, make_job

pytestmark = NEEDS_BITSANDBYTES
TINY = ROOT / "examples/tiny/model"
CHOSEN = (1, 3, 7, 8)  # of the kinds of jobs: two ranks, some layers and all, pads, clips and decays


def make_jobs(out: Path) -> list[FitJob]:
    return [make_job(out, number, KINDS[number][1], texts=KINDS[number][0]) for number in CHOSEN]


def test_adapters_are_those_of_the_dequantized_model_in_float64(
    model: Path, pair: tuple[str, Path], tmp_path: Path
) -> None:
    kind, wide = pair
    own, oracle = (
        BatchedLoraTrainer(str(model), device=quantized_on(kind, "float64")),
        PeftTrainer(str(wide), device=FLOAT64),
    )
    for each in (own, oracle):
        exact_norms(each.network)
    found, expected = by_id(own.fit(make_jobs(tmp_path / "a"))), by_id(oracle.fit(make_jobs(tmp_path / "b")))
    for name, result in expected.items():
        assert found[name].loss_first == pytest.approx(result.loss_first, abs=BEYOND_ROUNDING)
        assert found[name].loss_last == pytest.approx(result.loss_last, abs=BEYOND_ROUNDING)
        gap = distance(weights_of(tmp_path / "a" / name), weights_of(tmp_path / "b" / name))
        assert gap < BEYOND_ROUNDING, (name, gap)
        assert read_quantization(tmp_path / "a" / name) == kind
        assert read_quantization(tmp_path / "b" / name) == "none"


def test_adapters_are_those_of_pefts_own_4_bit_layers(tmp_path: Path) -> None:
    import bitsandbytes
    from peft.tuners.lora.bnb import Linear4bit

    theirs = PeftTrainer(str(TINY), device=quantized_on("nf4"))
    for name, part in list(theirs.network.model.named_modules()):
        if isinstance(part, QuantizedLinear):
            layer = bitsandbytes.nn.Linear4bit(
                part.in_features, part.out_features, bias=False, compute_dtype=torch.float32, quant_type="nf4"
            )
            weight = dequantize(part.weight, part.scales, part.in_features, torch.float32)
            layer.weight = bitsandbytes.nn.Params4bit(
                weight, requires_grad=False, quant_type="nf4", compress_statistics=False
            ).to("cpu")
            theirs.network.model.set_submodule(name, layer)
    theirs.network.is_loaded_in_4bit = True
    seen = set[type]()
    hook = torch.nn.modules.module.register_module_forward_hook(lambda part, *_: seen.add(type(part)))
    try:
        list(theirs.fit(make_jobs(tmp_path / "b")))
    finally:
        hook.remove()
    assert Linear4bit in seen  # theirs was computed
    list(BatchedLoraTrainer(str(TINY), device=quantized_on("nf4")).fit(make_jobs(tmp_path / "a")))
    for number in CHOSEN:
        gap = relative_distance(weights_of(tmp_path / "a" / str(number)), weights_of(tmp_path / "b" / str(number)))
        assert gap < 1e-3, (number, gap)


def test_answers_and_likelihoods_with_adapters_are_those_of_the_dequantized_model(
    model: Path, pair: tuple[str, Path], tmp_path: Path
) -> None:
    kind, wide = pair
    engines = [HFEngine(str(model), device=quantized_on(kind)), HFEngine(str(wide), device=FLOAT32)]
    list(BatchedLoraTrainer(str(wide), device=FLOAT32).fit(make_jobs(tmp_path)))
    paths = [None, *(tmp_path / str(number) for number in CHOSEN)]
    greedy = Sampling(temperature=0.0, max_tokens=12)
    asked = [Request(f"{place}", "It is ", greedy, adapter=path) for place, path in enumerate(paths)]
    told = [
        Request(f"{place}", "It is ", greedy, adapter=path, continuation="old.") for place, path in enumerate(paths)
    ]
    said, expected = ({each.id: each.text for each in engine.sample(asked)} for engine in engines)
    assert said == expected
    own, plain = ({each.id: each.log_probability for each in engine.sample(told)} for engine in engines)
    assert own == pytest.approx(plain, abs=1e-4)


def test_another_quantization_than_the_adapters_own_is_told(model: Path, tmp_path: Path) -> None:
    name = str(model)
    (result,) = BatchedLoraTrainer(name, device=quantized_on("int8")).fit([make_job(tmp_path, 1)])
    assert result.path is not None
    adapters = [(result.path, name)]
    assert find_foreign_models(adapters, name, "int8") == set()
    assert find_foreign_models(adapters, name) == {f"{name} with --quantize int8"}
