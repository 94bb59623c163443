"""A cache with room to spare and heads that share keys against transformers' own: the same logits, fewer copies."""

from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import AutoModelForCausalLM
from transformers.cache_utils import DynamicLayer, DynamicSlidingWindowLayer
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from stages.engines import hf_cache, hf_decoding
from stages.engines.hf_cache import attend_in_groups, spare_copies
from tests.engines.test_hf_decoding import make
from tests.models.architectures import make_architecture

PROMPTS = ((2, 3, 4, 5, 6, 7, 8, 9, 2, 3), (6, 7, 8), (9, 2))
STEPS = 9  # beyond the window of some layers


def get_logits(network: Any, monkeypatch: pytest.MonkeyPatch | None = None) -> tuple[torch.Tensor, list[str]]:
    """Logits (steps, rows, vocabulary), and kinds of the cache's layers; with the patch, as transformers has them."""
    if monkeypatch:
        monkeypatch.setattr(hf_decoding, "spare_copies", lambda base: nullcontext())
    settings = {"max_new_tokens": STEPS, "pad_token_id": 0, "output_logits": True, "return_dict_in_generate": True}
    made = hf_decoding._generate(network, PROMPTS, settings)
    return torch.stack(made.logits), [type(layer).__name__ for layer in made.past_key_values.layers]


@pytest.mark.parametrize(
    ("kind", "layers"),
    [
        ("rotary", ["_RoomyLayer"]),
        ("a window in some layers", ["_RoomyLayer", "_RoomyWindowLayer"]),
        ("learned positions", ["_RoomyLayer"]),
        ("states in some layers", ["LinearAttentionLayer", "_RoomyLayer"]),
    ],
)
def test_a_models_logits_are_those_of_transformers_cache(
    kind: str, layers: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    network = make(kind).double()
    found, kinds = get_logits(network)
    expected, _ = get_logits(network, monkeypatch)
    assert torch.allclose(found, expected, rtol=1e-9, atol=1e-9)
    assert sorted(set(kinds)) == layers


@pytest.mark.parametrize("kind", ["qwen3_5_text", "zamba2", "falcon_h1"])
def test_a_model_with_layers_of_other_kinds_keeps_these(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_architecture(kind, tmp_path / "model")
    network = AutoModelForCausalLM.from_pretrained(tmp_path / "model", dtype=torch.float64)
    found, kinds = get_logits(network)
    expected, own = get_logits(network, monkeypatch)
    assert torch.allclose(found, expected, rtol=1e-9, atol=1e-9)
    assert [name for name in kinds if "Linear" in name] == [name for name in own if "Linear" in name] != []


def test_query_heads_that_share_keys_are_one_product_with_them() -> None:
    """Where each row has one new token: all else is transformers' own."""
    rows, heads, keys, size = 3, 6, 2, 4
    key, value = torch.randn(2, rows, keys, 5, size, dtype=torch.float64)
    mask = torch.rand(rows, 1, 1, 5) > 0.3
    mask[..., 0] = True
    own, asked = ALL_ATTENTION_FUNCTIONS["sdpa"], list[int]()

    def note(module: Any, query: torch.Tensor, *args: Any, **more: Any) -> Any:
        asked.append(query.shape[2])
        return own(module, query, *args, **more)

    module = torch.nn.Module()
    module.num_key_value_groups = heads // keys  # type: ignore[assignment]
    for new in (1, 2):
        query = torch.randn(rows, heads, new, size, dtype=torch.float64)
        for each in (mask, None):
            found, _ = attend_in_groups(note, module, query, key, value, each, scaling=0.3, is_causal=False)
            expected, _ = own(module, query, key, value, each, scaling=0.3, is_causal=False)
            assert found.shape == (rows, new, heads, size)
            assert torch.allclose(found, expected, rtol=1e-12, atol=1e-12)
    bias = torch.randn(1, heads, 1, 5, dtype=torch.float64)
    query = torch.randn(rows, heads, 1, size, dtype=torch.float64)
    found, _ = attend_in_groups(note, module, query, key, value, None, scaling=0.3, position_bias=bias)
    assert torch.equal(found, own(module, query, key, value, None, scaling=0.3, position_bias=bias)[0])
    assert asked == [2, 2, 1]


def grow(layer: Any, counts: Sequence[int]) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """What the layer returns for so many new tokens each time."""
    draw = torch.Generator().manual_seed(3)
    return [layer.update(*torch.rand(2, 2, 1, count, 3, generator=draw)) for count in counts]


@given(st.lists(st.integers(1, 90), min_size=1, max_size=6), st.integers(2, 200))
def test_a_layer_returns_what_transformers_layer_would(counts: list[int], window: int) -> None:
    own = (DynamicLayer(), DynamicSlidingWindowLayer(window))
    roomy = (hf_cache._RoomyLayer(), hf_cache._RoomyWindowLayer(window))
    for theirs, ours in zip(own, roomy, strict=True):
        for expected, found in zip(grow(theirs, counts), grow(ours, counts), strict=True):
            assert all(map(torch.equal, expected, found))
        assert theirs.get_seq_length() == ours.get_seq_length()
        assert theirs.get_mask_sizes(1) == ours.get_mask_sizes(1)
        assert torch.equal(theirs.keys, ours.keys)


def test_a_layer_copies_what_it_has_once_in_many_tokens() -> None:
    places = {found[0].data_ptr() for found in grow(hf_cache._RoomyLayer(), [100, *[1] * 200])}
    assert len(places) <= 5
    layer = hf_cache._RoomyLayer()
    grow(layer, [20_000])
    assert layer.rooms[0].shape[-2] < 20_100


def test_a_layer_whose_rows_were_chosen_meanwhile_goes_on_with_these() -> None:
    theirs, ours = DynamicLayer(), hf_cache._RoomyLayer()
    for layer in (theirs, ours):
        grow(layer, [4, 1])
        layer.batch_select_indices(torch.tensor([1, 1]))
    for expected, found in zip(grow(theirs, [1, 1]), grow(ours, [1, 1]), strict=True):
        assert all(map(torch.equal, expected, found))
    for layer in (theirs, ours):
        layer.crop(-3)
    assert all(map(torch.equal, grow(theirs, [2])[0], grow(ours, [2])[0]))


def test_transformers_is_left_as_it_was_also_after_an_error() -> None:
    own, network = ALL_ATTENTION_FUNCTIONS["sdpa"], make("rotary")
    with pytest.raises(ZeroDivisionError), spare_copies(network):
        assert ALL_ATTENTION_FUNCTIONS["sdpa"] is not own
        _ = 1 / 0
    assert ALL_ATTENTION_FUNCTIONS["sdpa"] is own
    assert not network._forward_pre_hooks


def test_blocks_that_overlap_leave_transformers_as_it_was() -> None:
    own, first, second = ALL_ATTENTION_FUNCTIONS["sdpa"], spare_copies(make("rotary")), spare_copies(make("rotary"))
    first.__enter__()
    second.__enter__()
    first.__exit__(None, None, None)
    second.__exit__(None, None, None)
    assert ALL_ATTENTION_FUNCTIONS["sdpa"] is own


def test_another_device_keeps_its_attention() -> None:
    own = ALL_ATTENTION_FUNCTIONS["sdpa"]
    with spare_copies(make("rotary").to("meta")):
        assert ALL_ATTENTION_FUNCTIONS["sdpa"] is own
