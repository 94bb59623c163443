"""Attention that keeps packed sequences apart, put in place of the model's own for as long as it is needed."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface

from stages.engines.packing import Block, Packing, Row
from stages.engines.text import Tokens
from stages.failures import BadConfig

ATTENTION = "seal_packed"
TRIAL = [Tokens((6, 7, 2), 0), Tokens((2, 3, 4, 5), 0)]  # two: a layer that is no attention could mix them


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
    """transformers' attention function for packed tokens: causal, each sequence alone.

    query (1, heads, total, size), key and value (1, key heads, total, size) → (1, total, heads, size).
    """
    if packing is None or more.get("softcap") is not None:
        raise BadConfig("this architecture's attention cannot be packed; use --trainer peft")
    if sliding_window is not None and int(packing.positions.max()) >= sliding_window:  # `lesson_tokens` saw to it
        raise BadConfig(f"a sequence is longer than the model's window of {sliding_window}; use --trainer peft")
    q, k, v = (tensor[0].transpose(0, 1) for tensor in (query, key, value))  # (total, heads, size)
    if packing.ragged and not any(row.pads for row in packing.rows):
        return ragged(q, k, v, scaling, packing)[None], None
    pieces = [piece for block in packing.blocks for piece in attend_block(block, q, k, v, scaling)]
    mixed = torch.cat([*pieces, v.new_zeros(packing.total - packing.taken, *q.shape[1:2], *v.shape[2:])])
    return (mixed if packing.back is None else mixed.index_select(0, packing.back))[None], None


def attend_block(block: Block, q: Tensor, k: Tensor, v: Tensor, scale: float | None) -> Iterator[Tensor]:
    """Outputs (rows · length, heads, size) of the block's sequences, then of their pads."""
    several = q.shape[1] != k.shape[1]
    keys, values = (block.sequences.take(each).transpose(1, 2) for each in (k, v))  # (rows, key heads, length, size)
    own = block.sequences.take(q).transpose(1, 2)
    out = scaled_dot_product_attention(own, keys, values, is_causal=True, scale=scale, enable_gqa=several)
    yield out.transpose(1, 2).flatten(0, 1)
    if block.pads:
        own = block.pads.take(q).transpose(1, 2)
        out = scaled_dot_product_attention(own, keys, values, block.seen, scale=scale, enable_gqa=several)
        yield out.transpose(1, 2).flatten(0, 1)


def ragged(q: Tensor, k: Tensor, v: Tensor, scale: float | None, packing: Packing) -> Tensor:
    """The same by torch's kernel for rows of any length (torch 2.11 and newer, on a GPU, in half precision)."""
    from torch.nn.attention.varlen import varlen_attn

    starts, longest = packing.boundaries
    shared = q.shape[1] // k.shape[1]
    k, v = (each.repeat_interleave(shared, dim=1) if shared > 1 else each for each in (k, v))
    out = varlen_attn(q, k, v, starts, starts, longest, longest, scale=scale, window_size=(-1, 0))
    return out if isinstance(out, Tensor) else out[0]


@contextmanager
def packed_attention(network: Any) -> Iterator[None]:
    """Within, the model's attention is `attend`; afterwards, also after an error, its own again."""
    own = network.config._attn_implementation
    AttentionInterface.register(ATTENTION, attend)
    network.set_attn_implementation(ATTENTION)
    try:
        yield
    finally:
        network.set_attn_implementation(own)


@torch.no_grad()
def check_packable(network: Any) -> None:
    """Raises BadConfig unless each sequence's packed logits are its own, from the output layer on the last states."""
    plain = torch.cat([own_logits(network, row) for row in TRIAL])
    try:
        packed = packed_logits(network)
    except (AttributeError, KeyError, NotImplementedError, TypeError, ValueError) as error:  # of transformers' model
        raise BadConfig(
            f"this architecture cannot be trained packed ({type(error).__name__} in it); use --trainer peft"
        ) from error
    tolerance = 1e-3 if plain.dtype in (torch.float32, torch.float64) else 0.1
    if not torch.allclose(plain, packed, rtol=tolerance, atol=tolerance * float(plain.abs().max())):
        raise BadConfig("this architecture cannot be trained packed (its logits differ); use --trainer peft")
    if not ends_in_output_layer(network):
        raise BadConfig("this architecture changes logits behind its output layer; use --trainer peft")
    with torch.random.fork_rng():
        trained = own_logits(network.train(), TRIAL[0])
        network.eval()
    if not torch.allclose(plain[: len(trained)], trained, rtol=1e-3, atol=1e-3 * float(plain.abs().max())):
        raise BadConfig("this model has dropout of its own, which cannot be trained packed; use --trainer peft")


def ends_in_output_layer(network: Any) -> bool:
    """Whether the logits are, bit for bit, what the output layer puts out: not capped, not scaled.

    The loss is taken from that. Small logits hardly differ from capped ones, so no tolerance would do.
    """
    made: list[Tensor] = []
    hook = network.get_output_embeddings().register_forward_hook(lambda layer, given, out: made.append(out[0].clone()))
    try:
        logits = own_logits(network, TRIAL[0])
    finally:
        hook.remove()
    return len(made) == 1 and torch.equal(made[0].to(logits.dtype), logits)


def has_ragged_kernel(network: Any) -> bool:
    """Whether `ragged` runs on this device, for this model, there and back, and gives what the blocks give."""
    try:
        blocks, kernel = (there_and_back(network, ragged=each) for each in (False, True))
    except torch.OutOfMemoryError:
        raise
    except (ImportError, RuntimeError, TypeError, ValueError):  # builds differ in what they have and take
        return False
    return all(
        torch.allclose(a, b, rtol=0.1, atol=0.1 * float(a.abs().max())) for a, b in zip(blocks, kernel, strict=True)
    )


def trial_packing(network: Any, path: str, *, ragged: bool = False) -> Packing:
    """The trial's sequences, each in a slot of its own, in the order in which they are listed."""
    return Packing([Row(slot, row) for slot, row in enumerate(TRIAL)], network.device, path, ragged)


def there_and_back(network: Any, *, ragged: bool) -> tuple[Tensor, Tensor]:
    """Hidden states of the trial, and the gradient of their sum of squares with respect to the embeddings."""
    packing = trial_packing(network, "grouped", ragged=ragged)
    inputs = packing.inputs
    embedded = network.get_input_embeddings()(inputs.pop("input_ids")).detach().requires_grad_()
    with packed_attention(network), torch.enable_grad():
        hidden = network.base_model(inputs_embeds=embedded, **inputs, packing=packing).last_hidden_state[0]
        own = torch.cat(packing.pieces(hidden))
        (grad,) = torch.autograd.grad(own.float().square().sum(), embedded)
    return own.detach(), torch.cat(packing.pieces(grad[0]))


def packed_logits(network: Any) -> Tensor:
    """Logits of the trial in one pass, one sequence after the other: (tokens, vocabulary)."""
    packing = trial_packing(network, "bmm")
    with packed_attention(network):
        hidden = network.base_model(**packing.inputs, packing=packing).last_hidden_state[0]
    logits: Tensor = network.get_output_embeddings()(torch.cat(packing.pieces(hidden)))
    return logits


def own_logits(network: Any, row: Tokens) -> Tensor:
    """The model's own logits of one sequence alone: (length, vocabulary)."""
    logits: Tensor = network(input_ids=torch.tensor([row.ids], device=network.device), use_cache=False).logits[0]
    return logits
