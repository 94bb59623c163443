"""Where bitsandbytes is, and models of dequantized weights."""

from importlib.util import find_spec
from pathlib import Path

import pytest

from stages.models.device import Device
from stages.models.loading import load_model
from stages.models.quantization import QuantizedEmbedding, QuantizedLinear, dequantize
from tests.conftest import make_model

NEEDS_BITSANDBYTES = [
    pytest.mark.quantize,
    pytest.mark.skipif(find_spec("bitsandbytes") is None, reason="bitsandbytes is not installed (make test-quantize)"),
]


def quantized_on(kind: str, dtype: str = "float32") -> Device:
    return Device("cpu", dtype, kind)


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random Qwen3 with one matrix for embedding and output layer, and rows that no block of 64 divides."""
    return make_model(tmp_path_factory.mktemp("model"), "qwen3")


def dequantize_model(model: Path, kind: str, out: Path) -> Path:
    """The same model with the numbers that its quantized weights stand for."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    quantized = load_model(str(model), quantized_on(kind))
    plain = AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32)
    with torch.no_grad():
        for name, part in quantized.named_modules():
            if isinstance(part, QuantizedLinear | QuantizedEmbedding):
                weight = plain.get_submodule(name).weight
                weight.copy_(dequantize(part.weight, part.scales, weight.shape[1], torch.float32))
    plain.save_pretrained(out)
    AutoTokenizer.from_pretrained(model).save_pretrained(out)
    return out


@pytest.fixture(scope="session", params=["nf4", "int8"])
def pair(request: pytest.FixtureRequest, model: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path]:
    """(how the model is quantized, the model with those numbers)."""
    return request.param, dequantize_model(model, request.param, tmp_path_factory.mktemp("wide"))
