"""Find out by a small trial, forward and backward, which models and kernels the batched trainer can use."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from stages.errors import BadConfig
from stages.models.device import is_out_of_memory
from stages.models.lora_targets import find_linear_layers
from stages.tokens.tokenization import Tokens, get_max_length
from stages.trainers.batched.attention import use_packed_attention
from stages.trainers.batched.packing import PackedSequence, Packing

_TRIAL = [Tokens((6, 7, 2), 0), Tokens((2, 3, 4, 5), 0)]  # two: a layer that is no attention could mix them
_DRAWS, _MANY_TOKENS = 4, 256  # passes, and their tokens, where a model draws numbers while it is trained


@dataclass(frozen=True)
class _TrialResult:
    """Logits, and the gradients of the loss at the embeddings and behind layers: all that training sees."""

    logits: Tensor  # (tokens, vocabulary)
    embedded: Tensor  # (tokens, hidden)
    layers: Sequence[Tensor]  # at what each linear layer puts out, call by call

    def has_logits_of(self, other: "_TrialResult", tolerance: float) -> bool:
        atol = tolerance * float(self.logits.abs().max())
        return torch.allclose(self.logits, other.logits, rtol=tolerance, atol=atol)


def check_packable(network: Any) -> None:
    """Raise BadConfig unless a packed sequence's logits and gradients are its own, and those of training it alone.

    A model may compute otherwise while it is trained: with dropout or noise, or with gradients that are not those of
    its logits, as where it learns which experts to take. The batched trainer knows nothing of that.
    """
    plain = _run_trial(network, _TRIAL)  # what fails here fails in any trainer
    try:
        packed = _run_trial(network, _TRIAL, _pack_trial(network, "bmm"))
    except (AttributeError, RuntimeError, TypeError, ValueError) as error:
        # no last_hidden_state (Llama 4), tensors of other shapes, no argument for the packing, no attention of others
        if is_out_of_memory(error):
            raise
        why = f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
        raise BadConfig(f"this architecture cannot be trained packed ({why}); use --trainer peft") from error
    exact = plain.logits.dtype in (torch.float32, torch.float64)
    if not plain.has_logits_of(packed, 1e-3 if exact else 0.1):
        raise BadConfig("this architecture cannot be trained packed (its logits differ); use --trainer peft")
    if not _are_close([plain.embedded], [packed.embedded], tolerance=1e-2 if exact else 0.2):
        raise BadConfig("this architecture cannot be trained packed (its gradients differ); use --trainer peft")
    with torch.no_grad():
        direct = _ends_in_output_layer(network)
    if not direct:
        raise BadConfig("this architecture changes logits behind its output layer; use --trainer peft")
    for own, trained in _compare_training_mode(network, plain):
        slopes = ([each.embedded, *each.layers] for each in (own, trained))
        if not own.has_logits_of(trained, 1e-3) or not _are_close(*slopes, tolerance=1e-2 if exact else 5e-2):
            raise BadConfig(
                f"{network.config.model_type} computes otherwise while it is trained (dropout, noise or gradients of "
                "its own), which cannot be trained packed; use --trainer peft"
            )


def has_varlen_kernel(network: Any) -> bool:
    """Return True if torch's varlen attention runs for this model, both ways, and agrees with the blocks."""
    try:
        blocks, kernel = (
            _run_trial(network, _TRIAL, _pack_trial(network, "grouped_mm", varlen=each)) for each in (False, True)
        )
    except (ImportError, RuntimeError, TypeError, ValueError) as error:  # builds differ in what they have and take
        if is_out_of_memory(error):
            raise
        return False
    return blocks.has_logits_of(kernel, 0.1) and _are_close([blocks.embedded], [kernel.embedded], tolerance=0.1)


def _compare_training_mode(network: Any, plain: _TrialResult) -> Iterator[tuple[_TrialResult, _TrialResult]]:
    """The trial in eval mode, and in training mode. Eval mode is on afterwards.

    Of a model that draws numbers in training, many tokens are tried, too: chance need not do something to each.
    """
    with torch.random.fork_rng():
        try:
            before = _get_rng_states(network)
            yield plain, _run_trial(network.train(), _TRIAL)
            if all(torch.equal(*each) for each in zip(before, _get_rng_states(network), strict=True)):
                return
            length = min(_MANY_TOKENS, get_max_length(network.config) or _MANY_TOKENS)
            words = min(_MANY_TOKENS, len(network.get_input_embeddings().weight) - 2)
            row = Tokens(tuple(2 + place % words for place in range(length)), 0)
            plain = _run_trial(network.eval(), [row])
            for _ in range(_DRAWS):
                yield plain, _run_trial(network.train(), [row])
        finally:
            network.eval()


def _get_rng_states(network: Any) -> list[Tensor]:
    """Of the generators that the network may draw from."""
    kind = network.device.type
    own = [getattr(torch, kind).get_rng_state(network.device)] if kind in ("cuda", "mps", "xpu") else []
    return [torch.get_rng_state(), *own]


def _run_trial(network: Any, rows: Sequence[Tokens], packing: Packing | None = None) -> _TrialResult:
    """There and back: each sequence alone, or all of them packed."""
    leaves, layers = list[Tensor](), list[Tensor]()

    def start(layer: Any, given: Any, out: Tensor) -> Tensor:
        leaves.append(out.detach().requires_grad_())
        return leaves[-1].clone()  # a model may change it in place

    def keep(layer: Any, given: Any, out: Any) -> None:
        parts = out if isinstance(out, tuple) else (out,)
        layers.extend(each for each in parts if isinstance(each, Tensor) and each.requires_grad)

    hooks = [layer.register_forward_hook(keep) for layer in find_linear_layers(network).values()]
    hooks.append(network.get_input_embeddings().register_forward_hook(start))
    try:
        with torch.enable_grad():
            own = _get_packed_logits(network, packing) if packing else _get_own_logits(network, rows)
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
    embedded = torch.cat(packing.split(embedded)) if packing else embedded
    return _TrialResult(torch.cat(own).detach(), embedded, found[len(leaves) :])


def _are_close(some: Sequence[Tensor], others: Sequence[Tensor], *, tolerance: float) -> bool:
    """True if tensors differ by no more than this share of their length. What is all but nothing is no measure."""
    if [each.shape for each in some] != [each.shape for each in others]:
        return False
    lengths = [float(each.float().norm()) for each in some]
    least = 1e-4 * max(lengths, default=0.0)
    gaps = [float((one.float() - other.float()).norm()) for one, other in zip(some, others, strict=True)]
    return all(gap <= tolerance * max(length, least) for gap, length in zip(gaps, lengths, strict=True))


def _ends_in_output_layer(network: Any) -> bool:
    """Return True if the logits are, bit for bit, what the output layer puts out: not capped, not scaled.

    The loss is taken from that. Small logits hardly differ from capped ones, so no tolerance would do.
    """
    made: list[Tensor] = []
    hook = network.get_output_embeddings().register_forward_hook(lambda layer, given, out: made.append(out[0].clone()))
    try:
        (logits,) = _get_own_logits(network, _TRIAL[:1])
    finally:
        hook.remove()
    return len(made) == 1 and torch.equal(made[0].to(logits.dtype), logits)


def _pack_trial(network: Any, kernel: str, *, varlen: bool = False) -> Packing:
    """The trial's sequences, each in a slot of its own, in the order in which they are listed."""
    sequences = [PackedSequence(slot, row) for slot, row in enumerate(_TRIAL)]
    return Packing(sequences, network.device, kernel, varlen)


def _get_packed_logits(network: Any, packing: Packing) -> list[Tensor]:
    """Logits (length, vocabulary) of each sequence, all in one pass."""
    with use_packed_attention(network):
        hidden = network.base_model(**packing.inputs, packing=packing).last_hidden_state[0]
    return [network.get_output_embeddings()(each) for each in packing.split(hidden)]


def _get_own_logits(network: Any, rows: Sequence[Tokens]) -> list[Tensor]:
    """The model's own logits (length, vocabulary) of each sequence alone."""
    inputs = (torch.tensor([row.ids], device=network.device) for row in rows)
    return [network(input_ids=ids, use_cache=False).logits[0] for ids in inputs]
