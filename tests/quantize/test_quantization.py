"""Quantized weights: the numbers they stand for, what they compute, and which models cannot have them."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from stages.errors import BadConfig
from stages.models.loading import load_model
from stages.models.quantization import QuantizedEmbedding, QuantizedLinear, dequantize, find_rows, quantize
from tests.quantize.conftest import NEEDS_BITSANDBYTES, quantized_on

pytestmark = NEEDS_BITSANDBYTES


def make_layer(rows: int, width: int, kind: str, *, bias: bool = True) -> tuple[QuantizedLinear, nn.Linear]:
    """(a quantized layer, a plain one of the numbers that it stands for in float64)."""
    torch.manual_seed(0)
    plain = nn.Linear(width, rows, bias=bias).requires_grad_(False)
    codes, scales = quantize(plain.weight, kind)
    layer = QuantizedLinear(plain, nn.Parameter(codes, requires_grad=False), scales)
    wide = nn.Linear(width, rows, bias=bias, dtype=torch.float64).requires_grad_(False)
    wide.weight.copy_(layer.dequantize(slice(None), torch.float64))
    if bias:
        wide.bias.copy_(plain.bias)
    return layer.double(), wide


@pytest.mark.parametrize("width", [64, 640])
def test_nf4_is_the_librarys_own(width: int) -> None:
    from bitsandbytes import functional

    weight = torch.randn(96, width)
    packed, state = functional.quantize_4bit(weight, blocksize=64, quant_type="nf4")
    codes, scales = quantize(weight, "nf4")
    assert torch.equal(codes.view(-1, 1), packed)
    assert torch.equal(dequantize(codes, scales, width, torch.float32), functional.dequantize_4bit(packed, state))


def test_int8_is_the_librarys_own_up_to_the_last_digit() -> None:
    from bitsandbytes import functional

    weight = torch.randn(96, 40)
    codes, scales = quantize(weight, "int8")
    expected, largest, _ = functional.int8_vectorwise_quant(weight)
    assert torch.equal(codes, expected)
    theirs = functional.int8_vectorwise_dequant(expected, largest)
    assert torch.allclose(dequantize(codes, scales, 40, torch.float32), theirs, rtol=1e-6, atol=0)


@pytest.mark.parametrize("kind", ["int8", "nf4"])
@pytest.mark.parametrize("width", [1, 37, 64, 130])
def test_rows_of_any_width_are_near_what_they_were(kind: str, width: int) -> None:
    weight = torch.randn(50, width)
    weight[7] = 0
    found = dequantize(*quantize(weight, kind), width, torch.float32)
    assert found.shape == weight.shape
    assert torch.equal(found[7], weight[7])
    far = {"int8": 0.51 / 127, "nf4": 0.16}[kind]  # half of the widest gap between two codes
    assert bool(((found - weight).abs() <= far * weight.abs().amax(1, keepdim=True)).all())


@pytest.mark.parametrize("kind", ["int8", "nf4"])
def test_float64_is_not_left_to_the_library_which_gives_back_unwritten_memory(kind: str) -> None:
    packed = quantize(torch.randn(8, 64), kind)
    assert torch.equal(dequantize(*packed, 64, torch.float64).float(), dequantize(*packed, 64, torch.float32))


@pytest.mark.parametrize("kind", ["int8", "nf4"])
@pytest.mark.parametrize("bias", [True, False])
def test_a_layer_and_its_gradient_are_those_of_its_numbers(
    kind: str, bias: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "stages.models.quantization._DEQUANTIZED", {"cpu": 64 * 5}
    )  # several parts, the last one smaller
    layer, wide = make_layer(23, 64, kind, bias=bias)
    some, other = (torch.randn(2, 3, 64, dtype=torch.float64, requires_grad=True) for _ in range(2))
    other.data.copy_(some)
    found, expected = layer(some), wide(other)
    assert torch.allclose(found, expected, rtol=1e-12, atol=1e-12)
    slope = torch.randn_like(found)
    found.backward(slope)
    expected.backward(slope)
    assert torch.allclose(some.grad, other.grad, rtol=1e-12, atol=1e-12)


def test_a_model_says_what_its_numbers_say_and_its_shared_matrix_stays_one(model: Path, pair: tuple[str, Path]) -> None:
    kind, wide = pair
    packed, plain = load_model(str(model), quantized_on(kind)), load_model(str(wide), quantized_on("none"))
    ids = torch.tensor([[5, 6, 7, 8]])
    with torch.no_grad():
        assert torch.allclose(packed(input_ids=ids).logits, plain(input_ids=ids).logits, rtol=1e-4, atol=1e-4)
    embedding, head = packed.get_input_embeddings(), packed.get_output_embeddings()
    assert isinstance(embedding, QuantizedEmbedding)
    assert isinstance(head, QuantizedLinear)
    assert head.weight is embedding.weight or not plain.config.tie_word_embeddings
    assert head.weight.dtype == torch.int8
    floats = {name for name, each in packed.named_parameters() if each.is_floating_point() and each.numel()}
    assert floats == {name for name, _ in plain.named_parameters() if "norm" in name}


def test_an_embedding_that_scales_its_rows_still_does() -> None:
    from transformers.models.gemma3.modeling_gemma3 import Gemma3TextScaledWordEmbedding

    plain = Gemma3TextScaledWordEmbedding(50, 64, 0, embed_scale=8.0).requires_grad_(False)
    ids = torch.tensor([[3, 0, 49], [3, 3, 1]])
    expected = plain(ids)
    codes, scales = quantize(plain.weight, "int8")
    found = QuantizedEmbedding(plain, nn.Parameter(codes, requires_grad=False), scales)(ids)
    assert torch.allclose(found, expected, atol=0.6 * 8 * float(scales.max()))
    assert found.abs().max() > 8


def test_a_model_of_bfloat16_is_quantized_from_its_own_numbers(model: Path, tmp_path: Path) -> None:
    from transformers import AutoModelForCausalLM

    shutil.copytree(model, tmp_path / "half")
    AutoModelForCausalLM.from_pretrained(model, dtype=torch.bfloat16).save_pretrained(tmp_path / "half")
    packed = load_model(str(tmp_path / "half"), quantized_on("int8"))
    assert packed.dtype == torch.float32
    stored = AutoModelForCausalLM.from_pretrained(tmp_path / "half", dtype=torch.float32)
    layer = packed.model.layers[0].mlp.up_proj
    assert torch.equal(layer.weight, quantize(stored.model.layers[0].mlp.up_proj.weight, "int8")[0])


@pytest.mark.parametrize("heads", [1, 4, 5])
def test_rows_that_were_permuted_while_they_were_loaded_are_not_read_from_the_file(heads: int, tmp_path: Path) -> None:
    """As of rotary heads, which keep the first row and the last of each."""
    stored = torch.randn(heads * 8, 16)
    save_file({"w": stored}, tmp_path / "file")
    files = {"w": tmp_path / "file"}
    permuted = stored.view(heads, 2, 4, 16).transpose(1, 2).reshape(heads * 8, 16)
    assert torch.equal(permuted[[0, -1]], stored[[0, -1]])
    assert find_rows(files, "w", permuted) is None
    swapped = torch.cat([stored[:4], stored[4:].flip(0)])
    assert find_rows(files, "w", swapped) is None
    read = find_rows(files, "w", stored.bfloat16())
    assert read is not None
    assert torch.equal(read(slice(3, 7)), stored[3:7])


def test_a_model_that_is_quantized_already_is_refused(model: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(model, tmp_path / "packed")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "quantization_config": {"load_in_4bit": True}}))
    with pytest.raises(BadConfig, match=r"is quantized already \(bitsandbytes\); leave out --quantize nf4"):
        load_model(str(folder), quantized_on("nf4"))


def test_a_model_without_linear_layers_is_refused(tmp_path: Path) -> None:
    from transformers import GPT2Config, GPT2LMHeadModel

    sizes = {"vocab_size": 40, "n_embd": 64, "n_layer": 2, "n_head": 2, "n_positions": 32}
    GPT2LMHeadModel(GPT2Config(**sizes)).save_pretrained(tmp_path)
    with pytest.raises(BadConfig, match=r"--quantize nf4: only \d% of the weights of this gpt2 lie in layers that it"):
        load_model(str(tmp_path), quantized_on("nf4"))
