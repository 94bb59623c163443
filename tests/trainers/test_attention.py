"""Packed sequences never see each other, whatever their lengths, and the model gets its own attention back."""

from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.attention.varlen as varlen
from torch.nn.functional import scaled_dot_product_attention
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
    MixtralConfig,
    MixtralForCausalLM,
    OPTConfig,
    OPTForCausalLM,
    PhimoeConfig,
    PhimoeForCausalLM,
    set_seed,
)

from stages.errors import BadConfig
from stages.tokens.tokenization import Tokens
from stages.trainers.batched.attention import use_packed_attention
from stages.trainers.batched.compatibility import check_packable, has_varlen_kernel
from stages.trainers.batched.lora_kernels import KERNELS
from stages.trainers.batched.packing import Packing
from tests.conftest import SIZES, make_model
from tests.trainers.exact import BEYOND_ROUNDING, exact_model, packed, packed_hidden, pieces, sequence

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
BAD = 3


@pytest.fixture(scope="module", params=["llama", "qwen3"])
def network(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Any:
    return exact_model(make_model(tmp_path_factory.mktemp("packed"), request.param))


# ---- no sequence sees another


@pytest.mark.parametrize("path", KERNELS)
def test_each_sequence_has_the_hidden_states_that_it_has_alone(network: Any, path: str) -> None:
    with torch.no_grad():
        for row, found in zip(FLAT, packed_hidden(network, ROWS, path), strict=True):
            alone = network.base_model(input_ids=torch.tensor([row.ids]), use_cache=False).last_hidden_state[0]
            assert float((found - alone).abs().max()) < BEYOND_ROUNDING, len(row.ids)


@pytest.mark.parametrize("path", ["bmm", "grouped_mm"])
@pytest.mark.parametrize("changed", range(len(FLAT)))
def test_other_tokens_in_one_sequence_change_no_other_sequence(network: Any, changed: int, path: str) -> None:
    other = sequence(len(FLAT[changed].ids), 77)
    assert other.ids != FLAT[changed].ids
    rows = [[other if row is FLAT[changed] else row for row in slot] for slot in ROWS]
    with torch.no_grad():
        before, after = (packed_hidden(network, each, path) for each in (ROWS, rows))
    same = [torch.equal(first, second) for first, second in zip(before, after, strict=True)]
    assert same == [place != changed for place in range(len(FLAT))]


@pytest.mark.parametrize("chosen", [1, 2, 5, 7])
def test_a_loss_on_one_sequence_has_no_gradient_in_the_others(network: Any, chosen: int) -> None:
    packing = packed(ROWS)
    inputs = network.get_input_embeddings()(packing.input_ids[None]).detach().requires_grad_()
    with use_packed_attention(network):
        hidden = network.base_model(
            inputs_embeds=inputs, position_ids=packing.position_ids[None], use_cache=False, packing=packing
        ).last_hidden_state[0]
    pieces(packing, hidden)[chosen].square().sum().backward()
    assert inputs.grad is not None
    moved = [bool(piece.any()) for piece in pieces(packing, inputs.grad[0])]
    assert moved == [place == chosen for place in range(len(FLAT))]


def test_a_sequence_that_is_not_finite_spoils_no_other(network: Any) -> None:
    packing = packed(ROWS)
    inputs = network.get_input_embeddings()(packing.input_ids[None]).detach()
    pieces(packing, inputs[0])[BAD][:] = float("nan")
    inputs.requires_grad_()
    with use_packed_attention(network):
        hidden = network.base_model(
            inputs_embeds=inputs, position_ids=packing.position_ids[None], use_cache=False, packing=packing
        ).last_hidden_state[0]
    torch.cat(pieces(packing, hidden)).square().sum().backward()
    assert inputs.grad is not None
    for tensor in (hidden, inputs.grad[0]):
        fine = [bool(piece.isfinite().all()) for piece in pieces(packing, tensor)]
        assert fine == [place != BAD for place in range(len(FLAT))]


# ---- the model afterwards, and models that cannot be packed


def test_the_models_attention_is_its_own_again_also_after_an_error(model_dir: Path) -> None:
    network = AutoModelForCausalLM.from_pretrained(model_dir).eval()
    own = network.config._attn_implementation
    with pytest.raises(KeyError), use_packed_attention(network):
        assert network.config._attn_implementation != own
        raise KeyError
    assert network.config._attn_implementation == own
    assert network(input_ids=torch.tensor([[5, 6]])).logits.isfinite().all()


SMALL = {**SIZES, "initializer_range": 0.2, "pad_token_id": 0}
GPT2 = {"n_positions": 64, "n_embd": 32, "n_layer": 1, "n_head": 2, "vocab_size": 300}
EXPERTS = {**SMALL, "num_local_experts": 4}
OPT = {**SMALL, "dropout": 0.0, "ffn_dim": 48, "word_embed_proj_dim": 32}


class OwnGradient(torch.nn.SiLU):
    """In training the gradient passes as if the layer were not there; what comes out is the same."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = super().forward(x)
        return x + (y - x).detach() if self.training else y


def with_own_gradient(network: Any) -> Any:
    network.model.layers[0].mlp.act_fn = OwnGradient()
    return network


UNFIT: dict[str, tuple[Callable[[], Any], str]] = {
    "softcap": (lambda: Gemma2ForCausalLM(Gemma2Config(head_dim=16, **SMALL)), "attention cannot be packed"),
    "scaled logits": (lambda: GraniteForCausalLM(GraniteConfig(logits_scaling=8.0, **SMALL)), "its logits differ"),
    "capped logits": (
        lambda: Gemma2ForCausalLM(
            Gemma2Config(head_dim=16, attn_logit_softcapping=None, **{**SMALL, "initializer_range": 0.02})
        ),
        "changes logits behind its output layer",
    ),
    "convolution": (
        lambda: Lfm2ForCausalLM(Lfm2Config(layer_types=["conv", "full_attention"], **SMALL)),
        "its logits differ",
    ),
    "own attention": (
        lambda: BloomForCausalLM(
            BloomConfig(vocab_size=300, hidden_size=32, n_layer=2, n_head=2, initializer_range=0.2)
        ),
        "its logits differ",
    ),
    "attention dropout": (lambda: LlamaForCausalLM(LlamaConfig(attention_dropout=0.2, **SMALL)), "while it is trained"),
    "dropout": (lambda: GPT2LMHeadModel(GPT2Config(**GPT2)), "while it is trained"),
    "noise": (lambda: MixtralForCausalLM(MixtralConfig(router_jitter_noise=0.1, **EXPERTS)), "while it is trained"),
    "gradients of its own": (lambda: with_own_gradient(LlamaForCausalLM(LlamaConfig(**SMALL))), "llama computes other"),
    "choice of experts": (lambda: PhimoeForCausalLM(PhimoeConfig(**EXPERTS)), "phimoe computes otherwise"),
    "layers left out": (
        lambda: OPTForCausalLM(OPTConfig(layerdrop=0.9, **OPT)),
        "opt computes otherwise while it is trained",
    ),
}
FIT: dict[str, Callable[[], Any]] = {
    "llama": lambda: LlamaForCausalLM(LlamaConfig(**SMALL)),
    "experts": lambda: MixtralForCausalLM(MixtralConfig(**EXPERTS)),
    "chance that does nothing": lambda: OPTForCausalLM(OPTConfig(**OPT)),
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


@pytest.mark.parametrize(
    ("error", "raised", "words"),
    [
        (
            TypeError("unexpected keyword 'packing'"),
            BadConfig,
            r"packed \(TypeError: unexpected .*; use --trainer peft",
        ),
        (RuntimeError("shapes do not match"), BadConfig, r"packed \(RuntimeError: shapes .*; use --trainer peft"),
        (torch.OutOfMemoryError("CUDA out of memory"), torch.OutOfMemoryError, "CUDA out of memory"),
    ],
)
def test_what_fails_packed_alone_is_the_architectures_and_what_fails_always_is_itself(
    model_dir: Path, error: Exception, raised: type[Exception], words: str
) -> None:
    network = AutoModelForCausalLM.from_pretrained(model_dir).eval()
    always = False

    def fail(module: Any, given: Any, options: Any) -> None:
        if always or "packing" in options:
            raise error

    network.base_model.register_forward_pre_hook(fail, with_kwargs=True)
    with pytest.raises(raised, match=words):
        check_packable(network)
    always = True
    with pytest.raises(type(error), match=str(error)):
        check_packable(network)


@pytest.mark.parametrize("kind", FIT)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_model_that_is_trained_as_it_answers_passes(kind: str, dtype: torch.dtype) -> None:
    set_seed(0)
    check_packable(FIT[kind]().to(dtype).eval())


def test_the_check_draws_nothing_from_the_global_generator(model_dir: Path) -> None:
    network = AutoModelForCausalLM.from_pretrained(model_dir).eval()
    state = torch.get_rng_state()
    check_packable(network)
    assert torch.equal(torch.get_rng_state(), state)


def test_sequences_up_to_a_sliding_window_are_packed_and_longer_ones_refused() -> None:
    set_seed(0)
    network = MistralForCausalLM(MistralConfig(sliding_window=8, **SMALL)).double().eval()
    check_packable(network)

    def gap(rows: Sequence[Sequence[Tokens]]) -> float:
        with torch.no_grad():
            alone = [
                network.model(input_ids=torch.tensor([row.ids])).last_hidden_state[0] for slot in rows for row in slot
            ]
            return float((torch.cat(packed_hidden(network, rows)) - torch.cat(alone)).abs().max())

    assert gap([[sequence(8), sequence(3)], [sequence(7)]]) < 1e-5  # its norms are float32
    with pytest.raises(BadConfig, match="longer than the model's window of 8; use --trainer peft"):
        gap([[sequence(8)], [sequence(9)]])


# ---- the ragged kernel: a stand-in for the one that only GPUs have


def plain_varlen(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    cu_seq_q: torch.Tensor,
    cu_seq_k: torch.Tensor,
    max_q: int,
    max_k: int,
    *,
    scale: float | None = None,
    window_size: tuple[int, int] = (-1, -1),
) -> torch.Tensor:
    """torch's varlen_attn by the book: causal attention of each stretch of (total, heads, size) alone."""
    assert window_size == (-1, 0)
    assert cu_seq_q.dtype == cu_seq_k.dtype == torch.int32
    assert query.shape == key.shape == value.shape  # 2.11 has no grouped heads
    bounds = cu_seq_q.tolist()
    assert (bounds[0], bounds[-1]) == (0, len(query))
    assert max_q == max_k == max(end - start for start, end in pairwise(bounds))
    out = []
    for start, end in pairwise(bounds):
        q, k, v = (each[start:end].transpose(0, 1) for each in (query, key, value))
        out.append(scaled_dot_product_attention(q, k, v, is_causal=True, scale=scale).transpose(0, 1))
    return torch.cat(out)


@pytest.mark.parametrize("kind", ["llama", "qwen3"])
def test_the_ragged_kernel_gets_each_row_between_its_bounds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    network = exact_model(make_model(tmp_path, kind))
    monkeypatch.setattr(varlen, "varlen_attn", plain_varlen)
    blocks, kernel = (Packing(packed(ROWS).sequences, CPU, "grouped_mm", ragged) for ragged in (False, True))
    with torch.no_grad(), use_packed_attention(network):
        states = [
            torch.cat(pieces(each, network.base_model(**each.inputs, packing=each).last_hidden_state[0]))
            for each in (blocks, kernel)
        ]
    assert float((states[0] - states[1]).abs().max()) < BEYOND_ROUNDING
    assert has_varlen_kernel(network)


@pytest.mark.parametrize("error", [NotImplementedError("no kernel"), TypeError("unexpected keyword"), None])
def test_a_kernel_that_is_missing_or_wrong_or_goes_one_way_is_not_used(
    model_dir: Path, monkeypatch: pytest.MonkeyPatch, error: Exception | None
) -> None:
    network = AutoModelForCausalLM.from_pretrained(model_dir).eval().requires_grad_(False)
    assert not has_varlen_kernel(network)  # a CPU has none

    def broken(query: torch.Tensor, *arguments: Any, **options: Any) -> torch.Tensor:
        if error:
            raise error
        return plain_varlen(query, *arguments, **options).detach()  # no way back

    monkeypatch.setattr(varlen, "varlen_attn", broken)
    assert not has_varlen_kernel(network)
    monkeypatch.setattr(varlen, "varlen_attn", lambda query, *arguments, **options: torch.zeros_like(query))
    assert not has_varlen_kernel(network)
