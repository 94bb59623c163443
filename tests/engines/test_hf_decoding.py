"""Our own decoding loop against a naive one without cache or batch, for models of several kinds; and what it saves."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import pytest
import torch
import transformers
from torch import nn
from transformers import AutoModelForCausalLM, set_seed
from transformers.cache_utils import DynamicLayer

from stages.engines import hf_decoding
from stages.engines.hf_decoding import (
    RoomyLayer,
    Row,
    cheapest_groups,
    chunked_output,
    complete,
    decodable,
    groups_of,
    left_padded,
)
from stages.engines.hf_sampling import SeededSampling
from stages.interfaces import Sampling
from stages.trainers.batched import chunked_loss

USUAL = {"vocab_size": 300, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "eos_token_id": 0}
WIDE = {**USUAL, "intermediate_size": 48, "num_key_value_heads": 1, "head_dim": 16, "bos_token_id": None}
LEARNED = {"n_positions": 64, "n_embd": 32, "n_layer": 2, "n_head": 2, "vocab_size": 300, "eos_token_id": 0}
OURS: dict[str, tuple[str, dict[str, Any]]] = {
    "rotary": ("LlamaConfig", WIDE),
    "learned positions": ("GPT2Config", {**LEARNED, "bos_token_id": 0}),
    "learned positions from the mask": ("OPTConfig", {**USUAL, "ffn_dim": 48, "word_embed_proj_dim": 32}),
    "a window": ("MistralConfig", {**WIDE, "sliding_window": 6}),
    "a window in some layers": (
        "Gemma3TextConfig",
        {**WIDE, "sliding_window": 6, "layer_types": ["sliding_attention", "full_attention"]},
    ),
    "a window over a whole cache": (
        "GPTNeoConfig",
        {
            **{"vocab_size": 300, "hidden_size": 32, "num_layers": 2, "num_heads": 2, "max_position_embeddings": 64},
            **{
                "attention_types": [[["global", "local"], 1]],
                "window_size": 6,
                "bos_token_id": None,
                "eos_token_id": 0,
            },
        },
    ),
    "a window that holds all": (
        "Gemma3TextConfig",
        {**WIDE, "sliding_window": 64, "layer_types": ["sliding_attention", "full_attention"]},
    ),
    "parallel blocks": ("GPTNeoXConfig", {**USUAL, "intermediate_size": 48}),
}
NOT_OURS: dict[str, tuple[str, dict[str, Any]]] = {
    "a state instead of a cache": ("MambaConfig", USUAL),
    "states in some layers": ("Lfm2Config", {**WIDE, "layer_types": ["conv", "full_attention"]}),
    "steps of its own": ("Phi3Config", {**USUAL, "intermediate_size": 48}),
    "no positions": ("MptConfig", {"d_model": 32, "n_heads": 2, "n_layers": 2, "vocab_size": 300}),
}
LIMIT = 9


def make(kind: tuple[str, dict[str, Any]]) -> Any:
    """A random model whose answers differ from prompt to prompt."""
    set_seed(1)
    config = getattr(transformers, kind[0])(**kind[1], pad_token_id=0)
    network = AutoModelForCausalLM.from_config(config, dtype=torch.float32).eval().requires_grad_(False)
    for name, weight in network.named_parameters():
        if weight.ndim == 2 and "norm" not in name:
            weight.normal_(std=0.3)
    return network


def prompt(length: int, seed: int = 0) -> list[int]:
    return torch.randint(2, 300, (length,), generator=torch.Generator().manual_seed(100 * length + seed)).tolist()


PASSAGE, OTHER = prompt(14), prompt(10)
PROMPTS = [  # an unlike one, then five that begin alike, twice the same, then two of another passage
    prompt(4),
    *[PASSAGE + prompt(length) for length in (1, 8, 3, 3, 12)],
    *[OTHER + prompt(length) for length in (2, 7)],
    prompt(1),
]


def naive(network: Any, ids: Sequence[int], count: int, ends: Sequence[int] = (0,)) -> list[int]:
    """The likeliest next token, up to an end token, which it keeps."""
    found: list[int] = []
    while len(found) < count and not (found and found[-1] in ends):
        with torch.inference_mode():
            found.append(int(network(input_ids=torch.tensor([[*ids, *found]])).logits[0, -1].argmax()))
    return found


def greedy(network: Any, rows: Sequence[Row], ends: Sequence[int] = (0,)) -> list[list[int]]:
    sampler = SeededSampling([Sampling(0.0)] * len(rows), torch.device("cpu"))
    return complete(network, rows, sampler, ends=set(ends), pad=0, lay=lambda slots: None)


@contextmanager
def passes(network: Any) -> Iterator[list[tuple[int, int]]]:
    """(rows, tokens of each) of every pass."""
    seen: list[tuple[int, int]] = []
    hook = network.register_forward_pre_hook(
        lambda _, __, given: seen.append(tuple(given["input_ids"].shape)), with_kwargs=True
    )
    yield seen
    hook.remove()


# ---- the same tokens


@pytest.mark.parametrize("kind", OURS.values(), ids=OURS)
def test_a_batch_gets_the_tokens_of_each_prompt_alone(kind: tuple[str, dict[str, Any]]) -> None:
    network = make(kind)
    assert decodable(network)
    expected = [naive(network, ids, LIMIT) for ids in PROMPTS]
    assert greedy(network, [Row(ids, LIMIT) for ids in PROMPTS]) == expected
    assert len({tuple(text) for text in expected}) > 5
    for ids, text in zip(PROMPTS, expected, strict=True):
        assert greedy(network, [Row(ids, LIMIT)]) == [text]


@pytest.mark.parametrize("kind", OURS.values(), ids=OURS)
def test_rows_that_leave_early_change_nothing_for_the_others(kind: tuple[str, dict[str, Any]]) -> None:
    network = make(kind)
    free = [naive(network, ids, LIMIT) for ids in PROMPTS]
    ends = [0, free[1][2], free[6][4]]  # said in the middle of some answers
    rows = [Row(ids, 1 + number % LIMIT) for number, ids in enumerate(PROMPTS)] + [Row(ids, 12) for ids in PROMPTS]
    with passes(network) as seen:
        found = greedy(network, rows, ends)
    assert found == [naive(network, row.prompt, row.limit, ends) for row in rows]
    assert len({count for count, length in seen if length == 1}) > 1


@pytest.mark.parametrize("kind", NOT_OURS.values(), ids=NOT_OURS)
def test_other_models_are_left_to_transformers(kind: tuple[str, dict[str, Any]]) -> None:
    assert not decodable(make(kind))


def test_long_answers_outgrow_the_room_of_the_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    network = make(OURS["rotary"])
    monkeypatch.setattr(hf_decoding, "ROOM", 3)
    rows = [Row(ids, 20) for ids in PROMPTS]
    assert greedy(network, rows) == [naive(network, row.prompt, 20) for row in rows]


def test_the_cache_holds_what_transformers_own_would() -> None:
    roomy, plain = RoomyLayer(), DynamicLayer()
    generator = torch.Generator().manual_seed(0)
    for length, rows in ((5, [2, 0, 0, 1]), (1, None), (1, None), (70, [3, 1]), (1, None), (1, [1, 1, 0])):
        new = torch.randn((3 if plain.keys is None else len(plain.keys), 2, length, 4), generator=generator)
        found, expected = roomy.update(new, -new), plain.update(new, -new)
        assert all(torch.equal(one, other) for one, other in zip(found, expected, strict=True))
        if rows:
            roomy.batch_select_indices(torch.tensor(rows))
            plain.batch_select_indices(torch.tensor(rows))
        assert torch.equal(roomy.keys, plain.keys)
        assert torch.equal(roomy.values, plain.values)
        assert roomy.get_seq_length() == plain.get_seq_length()


def test_a_token_is_written_beside_the_others_not_with_a_copy_of_them_all() -> None:
    layer = RoomyLayer()
    places = []
    for _ in range(10):
        layer.update(torch.zeros(2, 2, 1, 4), torch.zeros(2, 2, 1, 4))
        places.append(layer.keys.data_ptr())
    assert len(set(places[2:])) == 1


@pytest.mark.parametrize("kind", ["rotary", "parallel blocks"])
def test_the_output_layer_in_chunks_of_words_says_the_same_and_is_put_back(
    monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    network = make(OURS[kind])
    head = network.get_output_embeddings()
    expected = [naive(network, ids, LIMIT) for ids in PROMPTS]
    for words in (1, 7, 299):
        monkeypatch.setattr(chunked_loss, "CHUNK_WORDS", {"cpu": words})
        assert greedy(network, [Row(ids, LIMIT) for ids in PROMPTS]) == expected
    with chunked_output(network):
        x = torch.randn(3, 5, head.in_features)
        assert torch.allclose(head(x), nn.functional.linear(x, head.weight, head.bias), atol=1e-5)
        assert "forward" in vars(head)
    with pytest.raises(ZeroDivisionError), chunked_output(network):
        raise ZeroDivisionError
    assert "forward" not in vars(head)


# ---- what is read once


@pytest.mark.parametrize("kind", ["rotary", "a window that holds all"])
def test_a_beginning_that_rows_share_is_read_once(kind: str) -> None:
    network = make(OURS[kind])
    rows = [Row(PASSAGE + prompt(length), 1, slot) for slot in (0, 1) for length in (2, 4, 3)]
    told: list[Sequence[int]] = []
    sampler = SeededSampling([Sampling(0.0)] * 6, torch.device("cpu"))
    with passes(network) as seen:
        found = complete(network, rows, sampler, ends={0}, pad=0, lay=told.append)
    assert seen == [(2, 14), (6, 4)]
    assert told == [[0, 1], [0, 0, 0, 1, 1, 1]]
    assert found == [naive(network, row.prompt, 1) for row in rows]


def test_samples_of_one_prompt_share_all_but_its_last_token() -> None:
    network = make(OURS["rotary"])
    rows = [Row(ids, 1) for ids in (prompt(30), prompt(29)) for _ in range(5)]
    with passes(network) as seen:
        greedy(network, rows)
    assert seen == [(2, 29), (10, 1)]


def test_a_model_with_a_window_reads_each_prompt_whole() -> None:
    network = make(OURS["a window in some layers"])
    with passes(network) as seen:
        greedy(network, [Row(PASSAGE, 1)] * 4)
    assert seen == [(4, 14)]


def test_groups_are_neighbours_of_one_slot_that_begin_alike() -> None:
    rows = [Row([1, 2, 3, 4], 1, 0), Row([1, 2, 5, 6], 1, 0), Row([1, 2, 5, 6], 1, 1), Row([9, 2, 5, 6], 1, 1)]

    def sizes(share: float) -> list[tuple[int, int, list[int]]]:
        return [(group.slot, group.size, list(group.prefix)) for group in groups_of(rows, share)]

    assert sizes(0.0) == [(0, 2, [1, 2]), (1, 2, [])]
    assert sizes(0.5) == [(0, 2, [1, 2]), (1, 1, [1, 2, 5]), (1, 1, [9, 2, 5])]
    assert sizes(0.6) == [(0, 1, [1, 2, 3]), (0, 1, [1, 2, 5]), (1, 1, [1, 2, 5]), (1, 1, [9, 2, 5])]


def test_a_long_first_prompt_does_not_take_in_short_ones() -> None:
    long = prompt(40)
    rows = [Row(long, 1), Row(long[:3], 1), Row(long[:3], 1)]
    assert [group.size for group in groups_of(rows, 0.5)] == [1, 2]


def test_prompts_that_begin_unlike_are_not_grouped() -> None:
    assert cheapest_groups([Row(prompt(9, seed), 1) for seed in range(4)]) == []
    assert cheapest_groups([Row(prompt(9), 1)]) == []


# ---- the loop


def test_finished_rows_leave_in_lumps() -> None:
    network = make(OURS["rotary"])
    rows = [Row(prompt(5, limit), limit) for limit in range(1, 9)]
    with passes(network) as seen:
        greedy(network, rows, ends=())
    assert [count for count, _ in seen[1:]] == [8, 6, 6, 4, 3, 2, 1]


def test_nothing_is_computed_after_the_last_token() -> None:
    network = make(OURS["rotary"])
    with passes(network) as seen:
        assert [len(text) for text in greedy(network, [Row(prompt(5), 3), Row(prompt(6), 1)], ends=())] == [3, 1]
    assert len(seen) == 3


def test_pads_are_on_the_left() -> None:
    ids, mask = left_padded([[5], [6, 7, 8]], 9, torch.device("cpu"))
    assert ids.tolist() == [[9, 9, 5], [6, 7, 8]]
    assert mask.tolist() == [[0, 0, 1], [1, 1, 1]]
