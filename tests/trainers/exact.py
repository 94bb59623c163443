"""What the tests of many adapters at once share: float64 throughout, sequences of chosen lengths, adapters' weights."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MethodType
from typing import Any

import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

from stages.models.device import Device
from stages.tokens.tokenization import Tokens
from stages.trainers.batched.attention import use_packed_attention
from stages.trainers.batched.packing import PackedSequence, Packing

FLOAT64, FLOAT32 = Device("cpu", "float64"), Device("cpu", "float32")
Weights = Mapping[str, torch.Tensor]
BEYOND_ROUNDING = 1e-11  # after some steps of AdamW; 1.4e-12 was seen on one processor


def exact_norms(network: Any) -> Any:
    """transformers' RMSNorm computes in float32 whatever the model's precision; here it keeps float64."""
    for part in network.modules():
        if type(part).__name__.endswith("RMSNorm"):
            part.forward = MethodType(exact_norm, part)
    return network


def exact_norm(self: Any, x: torch.Tensor) -> torch.Tensor:
    gemma = type(self).__name__.startswith("Gemma")  # its weights are what is added to 1
    weight, least = (1 + self.weight, self.eps) if gemma else (self.weight, self.variance_epsilon)
    return weight * x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + least)


def exact_model(folder: Path) -> Any:
    network = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float64).eval()
    return exact_norms(network.requires_grad_(False))


def sequence(length: int, seed: int = 0, silent: int = 0) -> Tokens:
    """Random tokens."""
    ids = torch.randint(2, 300, (length,), generator=torch.Generator().manual_seed(1000 * length + seed))
    return Tokens(tuple(ids.tolist()), silent)


def packed(rows: Sequence[Sequence[Tokens]], path: str = "naive") -> Packing:
    """`rows[s]` are the sequences of slot s."""
    return Packing(
        [PackedSequence(slot, tokens) for slot, each in enumerate(rows) for tokens in each], torch.device("cpu"), path
    )


def pieces(packing: Packing, values: torch.Tensor) -> list[torch.Tensor]:
    """The values (total, ...) of each sequence without its pads, in the order in which the rows were given."""
    own = dict(zip(map(id, packing.ordered), packing.split(values), strict=True))
    return [own[id(row)] for row in packing.sequences]


def packed_hidden(network: Any, rows: Sequence[Sequence[Tokens]], path: str = "naive") -> list[torch.Tensor]:
    """Last hidden states of each sequence, all in one pass."""
    packing = packed(rows, path)
    with use_packed_attention(network):
        return pieces(packing, network.base_model(**packing.inputs, packing=packing).last_hidden_state[0])


def weights_of(folder: Path) -> Weights:
    return load_file(folder / "adapter_model.safetensors")


def distance(first: Weights, second: Weights) -> float:
    """The largest difference of any weight of two adapters with the same names, shapes and precision."""
    assert first.keys() == second.keys()
    assert all(first[name].shape == second[name].shape and first[name].dtype == second[name].dtype for name in first)
    return max(float((first[name] - second[name]).abs().max()) for name in first)


def relative_distance(first: Weights, second: Weights) -> float:
    """The difference of two adapters as a share of the second, all weights together.

    In float32 that is alike on all processors; the largest difference of one weight is chance, as AdamW makes a whole
    step of a gradient that is nearly zero.
    """
    assert first.keys() == second.keys()
    gap = sum(float((first[name].double() - second[name].double()).square().sum()) for name in first)
    return (gap / sum(float(weight.double().square().sum()) for weight in second.values())) ** 0.5


def snapshot(network: Any) -> tuple[Any, ...]:
    """All that a run must put back: modules, weights, gradients, attention, and bitwise the outputs."""
    parts = [(name, id(part), type(part).__name__) for name, part in network.named_modules()]
    needs = [(name, weight.requires_grad, weight.grad is None) for name, weight in network.named_parameters()]
    with torch.no_grad():
        logits = network(input_ids=torch.tensor([[5, 6, 7, 8, 9]])).logits
    weights = [float(weight.double().sum()) for weight in network.state_dict().values()]
    return parts, needs, network.config._attn_implementation, network.training, logits.tolist(), weights
