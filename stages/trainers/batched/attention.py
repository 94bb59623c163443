"""Attention that keeps packed sequences apart, put in place of the model's own for as long as it is needed."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, scaled_dot_product_attention
from transformers import AttentionInterface

from stages.errors import BadConfig
from stages.models.device import is_out_of_memory
from stages.models.lora_targets import find_linear_layers
from stages.tokens.tokenization import Tokens, get_max_length
from stages.trainers.batched.packing import AttentionBlock, PackedSequence, Packing

_ATTENTION = "seal_packed"
_TRIAL = [Tokens((6, 7, 2), 0), Tokens((2, 3, 4, 5), 0)]  # two: a layer that is no attention could mix them
DRAWS, MANY = 4, 256  # passes, and their tokens, where a model draws numbers while it is trained


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
        return _ragged(q, k, v, scaling, packing)[None], None
    pieces = [piece for block in packing.blocks for piece in _attend_block(block, q, k, v, scaling)]
    mixed = torch.cat([*pieces, v.new_zeros(packing.total - packing.taken, *q.shape[1:2], *v.shape[2:])])
    return (mixed if packing.back is None else mixed.index_select(0, packing.back))[None], None


def _attend_block(block: AttentionBlock, q: Tensor, k: Tensor, v: Tensor, scale: float | None) -> Iterator[Tensor]:
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


def _ragged(q: Tensor, k: Tensor, v: Tensor, scale: float | None, packing: Packing) -> Tensor:
    """The same by torch's kernel for rows of any length (torch 2.11 and newer, on a GPU, in half precision)."""
    from torch.nn.attention.varlen import varlen_attn

    starts, longest = packing.boundaries
    shared = q.shape[1] // k.shape[1]
    k, v = (each.repeat_interleave(shared, dim=1) if shared > 1 else each for each in (k, v))
    out = varlen_attn(q, k, v, starts, starts, longest, longest, scale=scale, window_size=(-1, 0))
    return out if isinstance(out, Tensor) else out[0]


@contextmanager
def use_packed_attention(network: Any) -> Iterator[None]:
    """Within, the model's attention is `attend`; afterwards, also after an error, its own again."""
    own = network.config._attn_implementation
    AttentionInterface.register(_ATTENTION, attend)
    network.set_attn_implementation(_ATTENTION)
    try:
        yield
    finally:
        network.set_attn_implementation(own)


def check_packable(network: Any) -> None:
    """Raises BadConfig unless each sequence's packed logits and gradients are its own, those that it is trained with.

    A model may compute otherwise while it is trained: with dropout or noise, or with gradients that are not those of
    its logits, as where it learns which experts to take. The batched trainer knows nothing of that.
    """
    try:
        plain = _trial(network, _TRIAL)
        packed = _trial(network, _TRIAL, _trial_packing(network, "bmm"))
    except (AttributeError, KeyError, NotImplementedError, RuntimeError, TypeError, ValueError) as error:
        if isinstance(error, RuntimeError) and is_out_of_memory(error):
            raise
        raise BadConfig(
            f"this architecture cannot be trained packed ({type(error).__name__} in it); use --trainer peft"
        ) from error
    exact = plain.logits.dtype in (torch.float32, torch.float64)
    tolerance = 1e-3 if exact else 0.1
    if not plain.says(packed, tolerance):
        raise BadConfig("this architecture cannot be trained packed (its logits differ); use --trainer peft")
    if not _alike([plain.embedded], [packed.embedded], tolerance=1e-2 if exact else 0.2):
        raise BadConfig("this architecture cannot be trained packed (its gradients differ); use --trainer peft")
    with torch.no_grad():
        direct = _ends_in_output_layer(network)
    if not direct:
        raise BadConfig("this architecture changes logits behind its output layer; use --trainer peft")
    for own, trained in _in_training(network, plain):
        slopes = ([each.embedded, *each.layers] for each in (own, trained))
        if not own.says(trained, 1e-3) or not _alike(*slopes, tolerance=1e-2 if exact else 5e-2):
            raise BadConfig(
                f"{network.config.model_type} computes otherwise while it is trained (dropout, noise or gradients of "
                "its own), which cannot be trained packed; use --trainer peft"
            )


@dataclass(frozen=True)
class TrialResult:
    """What training sees: logits, and the gradients of the loss at the embeddings and behind layers."""

    logits: Tensor  # (tokens, vocabulary)
    embedded: Tensor  # (tokens, hidden)
    layers: Sequence[Tensor]  # at what each linear layer puts out, call by call

    def says(self, other: "TrialResult", tolerance: float) -> bool:
        atol = tolerance * float(self.logits.abs().max())
        return torch.allclose(self.logits, other.logits, rtol=tolerance, atol=atol)


def _in_training(network: Any, plain: TrialResult) -> Iterator[tuple[TrialResult, TrialResult]]:
    """What is seen in eval mode, and in training mode. Eval mode is on afterwards.

    Of a model that draws numbers in training, many tokens are tried, too: chance need not do something to each.
    """
    with torch.random.fork_rng():
        try:
            before = _chance(network)
            yield plain, _trial(network.train(), _TRIAL)
            if all(torch.equal(*each) for each in zip(before, _chance(network), strict=True)):
                return
            length = min(MANY, get_max_length(network.config) or MANY)
            words = min(MANY, len(network.get_input_embeddings().weight) - 2)
            row = Tokens(tuple(2 + place % words for place in range(length)), 0)
            plain = _trial(network.eval(), [row])
            for _ in range(DRAWS):
                yield plain, _trial(network.train(), [row])
        finally:
            network.eval()


def _chance(network: Any) -> list[Tensor]:
    """Where the generators stand that the network may draw from."""
    own = [torch.cuda.get_rng_state(network.device)] if network.device.type == "cuda" else []
    return [torch.get_rng_state(), *own]


def _trial(network: Any, rows: Sequence[Tokens], packing: Packing | None = None) -> TrialResult:
    """There and back: each sequence alone, or all of them packed."""
    leaves, layers = list[Tensor](), list[Tensor]()

    def begin(layer: Any, given: Any, out: Tensor) -> Tensor:
        leaves.append(out.detach().requires_grad_())
        return leaves[-1].clone()  # a model may change it in place

    def note(layer: Any, given: Any, out: Any) -> None:
        parts = out if isinstance(out, tuple) else (out,)
        layers.extend(each for each in parts if isinstance(each, Tensor) and each.requires_grad)

    hooks = [layer.register_forward_hook(note) for layer in find_linear_layers(network).values()]
    hooks.append(network.get_input_embeddings().register_forward_hook(begin))
    try:
        with torch.enable_grad():
            own = _packed_logits(network, packing) if packing else _own_logits(network, rows)
            losses = [
                cross_entropy(each[:-1].float(), torch.tensor(row.ids[1:], device=each.device), reduction="sum")
                for each, row in zip(own, rows, strict=True)
            ]
            grads = torch.autograd.grad(torch.stack(losses).sum(), [*leaves, *layers], allow_unused=True)
    finally:
        for hook in hooks:
            hook.remove()
    found = [torch.zeros(1) if grad is None else grad for grad in grads]
    embedded = torch.cat([each[0] for each in found[: len(leaves)]])
    embedded = torch.cat(packing.pieces(embedded)) if packing else embedded
    return TrialResult(torch.cat(own).detach(), embedded, found[len(leaves) :])


def _alike(some: Sequence[Tensor], others: Sequence[Tensor], *, tolerance: float) -> bool:
    """Whether tensors differ by no more than this share of their length. What is all but nothing is no measure."""
    if [each.shape for each in some] != [each.shape for each in others]:
        return False
    lengths = [float(each.float().norm()) for each in some]
    least = 1e-4 * max(lengths, default=0.0)
    gaps = [float((one.float() - other.float()).norm()) for one, other in zip(some, others, strict=True)]
    return all(gap <= tolerance * max(length, least) for gap, length in zip(gaps, lengths, strict=True))


def _ends_in_output_layer(network: Any) -> bool:
    """Whether the logits are, bit for bit, what the output layer puts out: not capped, not scaled.

    The loss is taken from that. Small logits hardly differ from capped ones, so no tolerance would do.
    """
    made: list[Tensor] = []
    hook = network.get_output_embeddings().register_forward_hook(lambda layer, given, out: made.append(out[0].clone()))
    try:
        (logits,) = _own_logits(network, _TRIAL[:1])
    finally:
        hook.remove()
    return len(made) == 1 and torch.equal(made[0].to(logits.dtype), logits)


def has_varlen_kernel(network: Any) -> bool:
    """Whether `ragged` runs on this device, for this model, there and back, and gives what the blocks give."""
    try:
        blocks, kernel = (_there_and_back(network, ragged=each) for each in (False, True))
    except torch.OutOfMemoryError:
        raise
    except (ImportError, RuntimeError, TypeError, ValueError):  # builds differ in what they have and take
        return False
    return all(
        torch.allclose(a, b, rtol=0.1, atol=0.1 * float(a.abs().max())) for a, b in zip(blocks, kernel, strict=True)
    )


def _trial_packing(network: Any, path: str, *, ragged: bool = False) -> Packing:
    """The trial's sequences, each in a slot of its own, in the order in which they are listed."""
    return Packing([PackedSequence(slot, row) for slot, row in enumerate(_TRIAL)], network.device, path, ragged)


def _there_and_back(network: Any, *, ragged: bool) -> tuple[Tensor, Tensor]:
    """Hidden states of the trial, and the gradient of their sum of squares with respect to the embeddings."""
    packing = _trial_packing(network, "grouped", ragged=ragged)
    inputs = packing.inputs
    embedded = network.get_input_embeddings()(inputs.pop("input_ids")).detach().requires_grad_()
    with use_packed_attention(network), torch.enable_grad():
        hidden = network.base_model(inputs_embeds=embedded, **inputs, packing=packing).last_hidden_state[0]
        own = torch.cat(packing.pieces(hidden))
        (grad,) = torch.autograd.grad(own.float().square().sum(), embedded)
    return own.detach(), torch.cat(packing.pieces(grad[0]))


def _packed_logits(network: Any, packing: Packing) -> list[Tensor]:
    """Logits (length, vocabulary) of each sequence, all in one pass."""
    with use_packed_attention(network):
        hidden = network.base_model(**packing.inputs, packing=packing).last_hidden_state[0]
    return [network.get_output_embeddings()(each) for each in packing.pieces(hidden)]


def _own_logits(network: Any, rows: Sequence[Tokens]) -> list[Tensor]:
    """The model's own logits (length, vocabulary) of each sequence alone."""
    inputs = (torch.tensor([row.ids], device=network.device) for row in rows)
    return [network(input_ids=ids, use_cache=False).logits[0] for ids in inputs]
