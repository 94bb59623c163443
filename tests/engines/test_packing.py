"""Packed sequences never see each other, whatever their lengths; the three paths are one function."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import (
    AutoModelForCausalLM,
    BloomConfig,
    BloomForCausalLM,
    Gemma2Config,
    Gemma2ForCausalLM,
    GPT2Config,
    GPT2LMHeadModel,
    GraniteConfig,
    GraniteForCausalLM,
    Lfm2Config,
    Lfm2ForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    set_seed,
)

from stages.engines.packing import LENGTH_RATIO, PATHS, Packing, check_packable, packed_attention
from stages.engines.text import Tokens
from stages.failures import BadConfig
from tests.conftest import make_model
from tests.engines.exact import BEYOND_ROUNDING, exact_model, packed_hidden, sequence

CPU = torch.device("cpu")
# Slots of one to four sequences; lengths of 1, around the attention groups' ratio, and a very long one.
ROWS = [
    [sequence(1), sequence(10)],
    [sequence(13)],
    [sequence(14), sequence(1, 1), sequence(2), sequence(13, 1)],
    [sequence(300)],
    [sequence(10, 1), sequence(17)],
]
FLAT = [row for slot in ROWS for row in slot]


@pytest.fixture(scope="module", params=["llama", "qwen3"])
def network(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Any:
    return exact_model(make_model(tmp_path_factory.mktemp("packed"), request.param))


def pieces(packing: Packing, hidden: torch.Tensor) -> list[torch.Tensor]:
    """The hidden states of each sequence."""
    return [hidden[start : start + len(row.ids)] for start, row in packing.starts]


# ---- what is laid where


def test_tokens_of_a_slot_lie_together_and_positions_begin_anew() -> None:
    packing = Packing([[Tokens((7, 8, 9), 2), Tokens((5,), 0)], [Tokens((3, 4), 0)]], CPU)
    assert packing.ids.tolist() == [7, 8, 9, 5, 3, 4]
    assert packing.positions.tolist() == [0, 1, 2, 0, 0, 1]
    assert packing.owners.tolist() == [0, 0, 0, 0, 1, 1]
    assert packing.targets.tolist() == [-100, 9, -100, -100, 4, -100]
    assert packing.offsets.tolist() == [4, 6]


def test_spans_of_the_grouped_path_are_filled_with_tokens_without_loss() -> None:
    packing = Packing([[Tokens((7, 8, 9), 0)], [sequence(8)], [sequence(9)]], CPU, "grouped")
    assert packing.spans == [8, 8, 16]
    assert packing.targets[:8].tolist() == [8, 9, -100, -100, -100, -100, -100, -100]
    assert packing.offsets.tolist() == [8, 16, 32]
    assert [start for start, _ in packing.starts] == [0, 8, 16]
    assert len(packing.ids) == len(packing.positions) == len(packing.owners) == 32


@settings(max_examples=50, deadline=None)
@given(
    st.lists(st.lists(st.integers(1, 60), min_size=1, max_size=3), min_size=1, max_size=8), st.sampled_from([*PATHS])
)
def test_every_token_is_in_one_group_of_sequences_of_similar_length(lengths: list[list[int]], path: str) -> None:
    packing = Packing([[sequence(length) for length in slot] for slot in lengths], CPU, path)
    places = torch.cat([places for _, _, places in packing.groups])
    mine = [start + i for start, row in packing.starts for i in range(len(row.ids))]
    assert sorted(places.tolist()) == sorted(mine)
    owner = {start + i: start for start, row in packing.starts for i in range(len(row.ids))}
    for grid, real, places in packing.groups:
        assert torch.equal(grid.flatten()[real], places)
        assert all(len({owner[place] for place in row}) == 1 for row in grid.tolist())  # pads are the row's own
        shortest = min(len(set(row)) for row in grid.tolist())
        assert grid.shape[1] <= LENGTH_RATIO * shortest


# ---- no sequence sees another


def test_each_sequence_has_the_hidden_states_that_it_has_alone(network: Any) -> None:
    with torch.no_grad():
        together = pieces(Packing(ROWS, CPU), packed_hidden(network, ROWS))
        for row, found in zip(FLAT, together, strict=True):
            alone = network.base_model(input_ids=torch.tensor([row.ids]), use_cache=False).last_hidden_state[0]
            assert float((found - alone).abs().max()) < BEYOND_ROUNDING, len(row.ids)


@pytest.mark.parametrize("changed", range(len(FLAT)))
def test_other_tokens_in_one_sequence_change_no_other_sequence(network: Any, changed: int) -> None:
    other = sequence(len(FLAT[changed].ids), 77)
    assert other.ids != FLAT[changed].ids
    rows = [[other if row is FLAT[changed] else row for row in slot] for slot in ROWS]
    packing = Packing(ROWS, CPU)
    with torch.no_grad():
        before, after = (pieces(packing, packed_hidden(network, each)) for each in (ROWS, rows))
    same = [torch.equal(first, second) for first, second in zip(before, after, strict=True)]
    assert same == [place != changed for place in range(len(FLAT))]


@pytest.mark.parametrize("chosen", [1, 2, 5, 7])
def test_a_loss_on_one_sequence_has_no_gradient_in_the_others(network: Any, chosen: int) -> None:
    packing = Packing(ROWS, CPU)
    inputs = network.get_input_embeddings()(packing.ids[None]).detach().requires_grad_()
    with packed_attention(network):
        hidden = network.base_model(
            inputs_embeds=inputs, position_ids=packing.positions[None], use_cache=False, packing=packing
        ).last_hidden_state[0]
    pieces(packing, hidden)[chosen].square().sum().backward()
    assert inputs.grad is not None
    moved = [bool(piece.any()) for piece in pieces(packing, inputs.grad[0])]
    assert moved == [place == chosen for place in range(len(FLAT))]


def test_a_sequence_that_is_not_finite_spoils_no_other(network: Any) -> None:
    packing = Packing(ROWS, CPU)
    inputs = network.get_input_embeddings()(packing.ids[None]).detach()
    start, bad = packing.starts[3]
    inputs[0, start : start + len(bad.ids)] = float("nan")
    inputs.requires_grad_()
    with packed_attention(network):
        hidden = network.base_model(
            inputs_embeds=inputs, position_ids=packing.positions[None], use_cache=False, packing=packing
        ).last_hidden_state[0]
    hidden.square().sum().backward()
    assert inputs.grad is not None
    for tensor in (hidden, inputs.grad[0]):
        fine = [bool(piece.isfinite().all()) for piece in pieces(packing, tensor)]
        assert fine == [place != 3 for place in range(len(FLAT))]


# ---- the three paths


def low_rank(path: str, dtype: torch.dtype, *, poison: bool = False) -> list[torch.Tensor]:
    """(B·A·x, and its gradients for x, A and B) for four slots of unlike spans."""
    generator = torch.Generator().manual_seed(1)
    packing = Packing([[sequence(length)] for length in (8, 40, 16, 24)], CPU, path)
    shapes = (1, packing.total, 32), (4, 8, 32), (4, 24, 8)
    x, a, b = ((torch.randn(*shape, generator=generator) / 4).to(dtype).requires_grad_() for shape in shapes)
    with torch.no_grad():
        if poison:
            x[0, 8:48], a[1] = float("nan"), float("inf")
    out = packing.delta(x, a, b)
    assert out.shape == (1, packing.total, 24)
    out.square().sum().backward()
    return [out.detach()[0], *(tensor.grad for tensor in (x, a, b) if tensor.grad is not None)]


@pytest.mark.parametrize(
    ("path", "dtype", "tolerance"),
    [
        ("bmm", torch.float64, 1e-13),
        ("bmm", torch.float32, 1e-5),
        ("grouped", torch.float32, 1e-5),
        ("grouped", torch.bfloat16, 2e-2),
    ],
)
def test_the_paths_are_one_function_with_one_gradient(path: str, dtype: torch.dtype, tolerance: float) -> None:
    for expected, found in zip(low_rank("loop", dtype), low_rank(path, dtype), strict=True):
        assert float((expected - found).abs().max()) < tolerance * float(expected.abs().max())


@pytest.mark.parametrize(("path", "dtype"), [(path, torch.float32) for path in PATHS])
def test_a_slot_that_is_not_finite_spoils_no_other_slot(path: str, dtype: torch.dtype) -> None:
    clean, poisoned = low_rank(path, dtype), low_rank(path, dtype, poison=True)
    rows = torch.tensor([*range(8), *range(48, 88)])
    for place, chosen in enumerate((rows, None, torch.tensor([0, 2, 3]), torch.tensor([0, 2, 3]))):
        first, second = (
            tensors[place][0, rows] if chosen is None else tensors[place][chosen] for tensors in (clean, poisoned)
        )
        assert torch.allclose(first, second, rtol=1e-5, atol=1e-6)


# ---- the model afterwards, and models that cannot be packed


def test_the_models_attention_is_its_own_again_also_after_an_error(model_dir: Path) -> None:
    network = AutoModelForCausalLM.from_pretrained(model_dir).eval()
    own = network.config._attn_implementation
    with pytest.raises(KeyError), packed_attention(network):
        assert network.config._attn_implementation != own
        raise KeyError
    assert network.config._attn_implementation == own
    assert network(input_ids=torch.tensor([[5, 6]])).logits.isfinite().all()


SIZES: dict[str, Any] = {
    "vocab_size": 300,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "intermediate_size": 48,
    "initializer_range": 0.2,
    "pad_token_id": 0,
}
GPT2 = {"n_positions": 64, "n_embd": 32, "n_layer": 1, "n_head": 2, "vocab_size": 300}
UNFIT: dict[str, tuple[Callable[[], Any], str]] = {
    "softcap": (lambda: Gemma2ForCausalLM(Gemma2Config(head_dim=16, **SIZES)), "attention cannot be packed"),
    "scaled logits": (lambda: GraniteForCausalLM(GraniteConfig(logits_scaling=8.0, **SIZES)), "its logits differ"),
    "convolution": (
        lambda: Lfm2ForCausalLM(Lfm2Config(layer_types=["conv", "full_attention"], **SIZES)),
        "its logits differ",
    ),
    "own attention": (
        lambda: BloomForCausalLM(
            BloomConfig(vocab_size=300, hidden_size=32, n_layer=2, n_head=2, initializer_range=0.2)
        ),
        "its logits differ",
    ),
    "attention dropout": (lambda: LlamaForCausalLM(LlamaConfig(attention_dropout=0.2, **SIZES)), "dropout of its own"),
    "dropout": (lambda: GPT2LMHeadModel(GPT2Config(**GPT2)), "dropout of its own"),
}


@pytest.mark.parametrize("kind", UNFIT)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_model_that_cannot_be_packed_is_refused_with_the_way_out(kind: str, dtype: torch.dtype) -> None:
    set_seed(0)
    make, words = UNFIT[kind]
    network = make().to(dtype).eval()
    own = network.config._attn_implementation
    with pytest.raises(BadConfig, match=rf"{words}.*; use --trainer peft"):
        check_packable(network)
    assert not network.training
    assert network.config._attn_implementation == own


def test_the_check_draws_nothing_from_the_global_generator(model_dir: Path) -> None:
    network = AutoModelForCausalLM.from_pretrained(model_dir).eval()
    state = torch.get_rng_state()
    check_packable(network)
    assert torch.equal(torch.get_rng_state(), state)


def test_sequences_up_to_a_sliding_window_are_packed_and_longer_ones_refused() -> None:
    set_seed(0)
    network = MistralForCausalLM(MistralConfig(sliding_window=8, **SIZES)).double().eval()
    check_packable(network)

    def gap(rows: Sequence[Sequence[Tokens]]) -> float:
        with torch.no_grad():
            alone = [
                network.model(input_ids=torch.tensor([row.ids])).last_hidden_state[0] for slot in rows for row in slot
            ]
            return float((packed_hidden(network, rows) - torch.cat(alone)).abs().max())

    assert gap([[sequence(8), sequence(3)], [sequence(7)]]) < 1e-5  # its norms are float32
    with pytest.raises(BadConfig, match="longer than the model's window of 8; use --trainer peft"):
        gap([[sequence(8)], [sequence(9)]])
