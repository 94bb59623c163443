"""Attention that keeps packed sequences apart, put in place of the model's own for as long as it is needed."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface

from stages.errors import BadConfig
from stages.trainers.batched.packing import AttentionBlock, Packing

_ATTENTION = "seal_packed"


def attend(
    module: Any,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    dropout: float = 0.0,
    packing: Packing | None = None,
    sliding_window: int | None = None,
    **more: Any,
) -> tuple[Tensor, None]:
    """Attend causally within each packed sequence: an attention function of transformers.

    query (1, heads, total, size), key and value (1, key heads, total, size) → (1, total, heads, size).
    """
    if packing is None or more.get("softcap") is not None:
        raise BadConfig("this architecture's attention cannot be packed; use --trainer peft")
    if sliding_window is not None and int(packing.position_ids.max()) >= sliding_window:  # refused before
        raise BadConfig(f"a sequence is longer than the model's window of {sliding_window}; use --trainer peft")
    q, k, v = (tensor[0].transpose(0, 1) for tensor in (query, key, value))  # (total, heads, size)
    if packing.varlen and not any(each.pads for each in packing.sequences):
        return _attend_varlen(q, k, v, scaling, packing)[None], None
    parts = [part for block in packing.blocks for part in _attend_block(block, q, k, v, scaling)]
    mixed = torch.cat([*parts, v.new_zeros(packing.total - packing.used, *q.shape[1:2], *v.shape[2:])])
    return (mixed if packing.inverse is None else mixed.index_select(0, packing.inverse))[None], None


def _attend_block(block: AttentionBlock, q: Tensor, k: Tensor, v: Tensor, scale: float | None) -> Iterator[Tensor]:
    """Outputs (rows · length, heads, size) of the block's sequences, then of their pads."""
    several = q.shape[1] != k.shape[1]
    keys, values = (block.sequences.take(each).transpose(1, 2) for each in (k, v))  # (rows, key heads, length, size)
    own = block.sequences.take(q).transpose(1, 2)
    out = scaled_dot_product_attention(own, keys, values, is_causal=True, scale=scale, enable_gqa=several)
    yield out.transpose(1, 2).flatten(0, 1)
    if block.pads:
        own = block.pads.take(q).transpose(1, 2)
        out = scaled_dot_product_attention(own, keys, values, block.visible, scale=scale, enable_gqa=several)
        yield out.transpose(1, 2).flatten(0, 1)


def _attend_varlen(q: Tensor, k: Tensor, v: Tensor, scale: float | None, packing: Packing) -> Tensor:
    """The same by torch's kernel for sequences of any length (torch 2.11 and newer, on a GPU, in half precision)."""
    from torch.nn.attention.varlen import varlen_attn

    starts, longest = packing.boundaries
    shared = q.shape[1] // k.shape[1]
    k, v = (each.repeat_interleave(shared, dim=1) if shared > 1 else each for each in (k, v))
    out = varlen_attn(q, k, v, starts, starts, longest, longest, scale=scale, window_size=(-1, 0))
    return out if isinstance(out, Tensor) else out[0]


@contextmanager
def use_packed_attention(network: Any) -> Iterator[None]:
    """Replace the model's attention by `attend` within the block, and restore it afterwards, also on errors."""
    own = network.config._attn_implementation
    AttentionInterface.register(_ATTENTION, attend)
    network.set_attn_implementation(_ATTENTION)
    try:
        yield
    finally:
        network.set_attn_implementation(own)
