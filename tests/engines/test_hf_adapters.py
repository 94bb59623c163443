"""Answers of many adapters in one batch are peft's own, adapter by adapter and question by question."""

import shutil
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, set_seed

from stages.engines.hf import HFEngine
from stages.engines.hf_adapters import (
    LoraWeights,
    get_stackable_layers,
    make_batches,
    read_plain_lora,
)
from stages.interfaces import Completion, Request
from stages.models.stacked_lora import LoraStack, SlotRows
from stages.settings import Sampling
from tests.conftest import make_tokenizer
from tests.tiny_models import make_llama, naive
from tests.trainers.exact import FLOAT32, snapshot

GREEDY = Sampling(0.0, 1.0, 10)
QUESTIONS = (
    "Who?",
    "The inn is red and the door is blue. What colour is the inn?",
    "a",
    "Topic: ships\n",
    "Is it old?",
)
# Settings of each adapter, and whether it is plain enough to share a batch.
KINDS: dict[str, tuple[dict[str, Any], bool]] = {
    "A": ({}, True),
    "B": ({}, True),
    "rank": ({"r": 5}, True),
    "layers": ({"target_modules": ["k_proj", "gate_proj"]}, True),
    "all": ({"target_modules": "all-linear", "lora_alpha": 3}, True),
    "rslora": ({"use_rslora": True}, True),
    "one": ({"target_modules": ["model.layers.1.self_attn.q_proj"]}, True),
    "head": ({"target_modules": ["lm_head", "q_proj"]}, True),
    "dora": ({"use_dora": True}, False),
    "bias": ({"lora_bias": True}, False),
    "ranks": ({"rank_pattern": {"q_proj": 3}}, False),
    "some": ({"layers_to_transform": [1]}, False),
    "pattern": ({"target_modules": r".*layers\.0\..*_proj"}, False),
    "saved": ({"modules_to_save": ["lm_head"]}, False),
}


def make_adapter(base: Path, folder: Path, seed: int, settings: dict[str, Any]) -> Path:
    """An adapter whose every weight, DoRA's magnitudes and biases too, is random and changes the answers."""
    set_seed(seed)
    network = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    usual = {"r": 2, "lora_alpha": 8, "init_lora_weights": False, "task_type": "CAUSAL_LM"}
    student = get_peft_model(network, LoraConfig(**{**usual, **settings}))
    student.save_pretrained(folder, save_embedding_layers=False)
    weights = load_file(folder / "adapter_model.safetensors")
    save_file(
        {name: weight + 0.1 * torch.randn_like(weight) for name, weight in weights.items()},
        folder / "adapter_model.safetensors",
    )
    return folder


@pytest.fixture(scope="module")
def adapters(model_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("adapters")
    return {
        name: make_adapter(model_dir, folder / name, seed, settings)
        for seed, (name, (settings, _)) in enumerate(KINDS.items())
    }


@pytest.fixture(scope="module")
def expected(model_dir: Path, adapters: dict[str, Path]) -> dict[tuple[str, str], list[int]]:
    """Greedy tokens for each adapter ("" is none) and question: peft's own model, no batch, no cache."""
    found = {}
    for name in ("", *adapters):
        network = AutoModelForCausalLM.from_pretrained(model_dir, dtype=torch.float32)
        network = (PeftModel.from_pretrained(network, str(adapters[name])) if name else network).eval()
        for question in QUESTIONS:
            found[name, question] = naive(network, question, GREEDY.max_tokens)
    return found


def ask(name: str, adapters: dict[str, Path], questions: Sequence[str]) -> list[Request]:
    return [Request(f"{name} {number}", q, GREEDY, adapters.get(name)) for number, q in enumerate(questions)]


def right(requests: Sequence[Request], completions: Sequence[Completion], expected: Any) -> None:
    """Every request has exactly one completion, and it is the one that peft gives."""
    found = {completion.id: completion for completion in completions}
    assert sorted(completion.id for completion in completions) == sorted(request.id for request in requests)
    for request in requests:
        tokens = expected[request.adapter.name if request.adapter else "", request.prompt]
        completion = found[request.id]
        assert (completion.text, completion.tokens) == (make_tokenizer().decode(tokens), len(tokens)), request.id


# ---- which adapters can share a batch


@pytest.mark.parametrize("name", KINDS)
def test_only_plain_adapters_share_a_batch(model_dir: Path, adapters: dict[str, Path], name: str) -> None:
    network = AutoModelForCausalLM.from_pretrained(model_dir)
    lora = read_plain_lora(adapters[name], get_stackable_layers(network))
    assert (lora is not None) == KINDS[name][1]
    if lora is not None:
        settings = KINDS[name][0]
        rank, alpha = settings.get("r", 2), settings.get("lora_alpha", 8)
        assert lora.rank == rank
        assert lora.scale == pytest.approx(alpha / (rank**0.5 if "use_rslora" in settings else rank))


def test_the_adapters_of_this_test_give_answers_of_their_own(expected: dict[tuple[str, str], list[int]]) -> None:
    long = QUESTIONS[1]
    answers = {tuple(expected[name, question]) for name in ("", *KINDS) for question in QUESTIONS}
    assert len(answers) > 3 * len(KINDS)
    assert all(expected[name, long] != expected["", long] for name in ("A", "B", "all", "dora", "bias", "ranks"))


# ---- answers


@pytest.mark.parametrize("size", [1, 3, 64])
def test_a_mixture_of_all_kinds_is_answered_as_peft_answers_each(
    model_dir: Path, adapters: dict[str, Path], expected: Any, size: int
) -> None:
    engine = HFEngine(str(model_dir), device=FLOAT32, batch_size=size)
    requests = []
    for number, name in enumerate(["", *KINDS]):
        requests += ask(name, adapters, QUESTIONS[: 1 + number % 5])  # unequal numbers of questions
    requests = requests[::2] + requests[1::2]  # no adapter's requests lie together
    before = snapshot(engine.network)
    right(requests, list(engine.sample(requests)), expected)
    assert snapshot(engine.network) == before


def test_questions_of_one_adapter_may_end_before_those_of_the_others(
    model_dir: Path, adapters: dict[str, Path], expected: Any
) -> None:
    requests = [
        replace(request, sampling=replace(GREEDY, max_tokens=2 if name in ("A", "rslora") else 10))
        for name in ("A", "B", "rslora")
        for request in ask(name, adapters, QUESTIONS)
    ]
    for answer in HFEngine(str(model_dir), device=FLOAT32).sample(requests):
        name, number = answer.id.split()
        tokens = expected[name, QUESTIONS[int(number)]][: 10 if name == "B" else 2]
        assert answer.text == make_tokenizer().decode(tokens)


def test_an_adapter_that_wakes_at_certain_words_is_answered_as_peft_answers_it(model_dir: Path, tmp_path: Path) -> None:
    wake = list(make_tokenizer()("?")["input_ids"])
    folder = make_adapter(model_dir, tmp_path / "adapter", 1, {"alora_invocation_tokens": wake, "lora_alpha": 64})
    network = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(model_dir, dtype=torch.float32), folder)
    ids = torch.tensor([make_tokenizer()(QUESTIONS[1])["input_ids"]])
    grown = network.eval().generate(input_ids=ids, max_new_tokens=10, do_sample=False)[0, ids.shape[1] :].tolist()
    engine = HFEngine(str(model_dir), device=FLOAT32)
    (answer,) = engine.sample([Request("a", QUESTIONS[1], GREEDY, folder)])
    (plain,) = engine.sample([Request("a", QUESTIONS[1], GREEDY)])
    assert answer.text == make_tokenizer().decode(grown) != plain.text


def test_unequal_numbers_of_questions_share_a_batch(model_dir: Path, adapters: dict[str, Path], expected: Any) -> None:
    engine = HFEngine(str(model_dir), device=FLOAT32, batch_size=64)
    requests = [
        *ask("A", adapters, QUESTIONS),
        *ask("B", adapters, QUESTIONS[:1]),
        *ask("rslora", adapters, QUESTIONS[1:4]),
    ]
    right(requests, list(engine.sample(requests)), expected)


def test_each_question_has_its_own_limit_and_draws(model_dir: Path, adapters: dict[str, Path]) -> None:
    warm = Sampling(1.0, 0.9, 12, 0)
    requests = [
        Request(
            f"{name} {n}", q, replace(warm, seed=7 * n, max_tokens=3 + 2 * n, temperature=n % 2 * 1.0), adapters[name]
        )
        for n, q in enumerate(QUESTIONS)
        for name in ("A", "B", "rank")
    ]
    together = {answer.id: answer for answer in HFEngine(str(model_dir), device=FLOAT32).sample(requests)}
    engine = HFEngine(str(model_dir), device=FLOAT32, batch_size=1)
    for request in requests:
        assert [together[request.id]] == list(engine.sample([request]))


def test_an_adapter_with_biases_of_the_model_leaves_the_models_own(tmp_path: Path) -> None:
    base = make_llama(tmp_path / "model", attention_bias=True)
    folder = make_adapter(base, tmp_path / "adapter", 1, {"bias": "all"})
    engine = HFEngine(str(base), device=FLOAT32)
    before = snapshot(engine.network)
    (answer,) = engine.sample([Request("a", QUESTIONS[1], GREEDY, folder)])
    network = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32), folder)
    assert answer.text == make_tokenizer().decode(naive(network.eval(), QUESTIONS[1], GREEDY.max_tokens))
    assert snapshot(engine.network) == before


def test_an_adapter_trained_by_nobody_answers_as_the_model(model_dir: Path, tmp_path: Path, expected: Any) -> None:
    fresh = make_adapter(model_dir, tmp_path / "", 1, {})
    weights = load_file(fresh / "adapter_model.safetensors")
    save_file({n: w * ("lora_A" in n) for n, w in weights.items()}, fresh / "adapter_model.safetensors")
    requests = [Request(question, question, GREEDY, fresh) for question in QUESTIONS]
    for answer in HFEngine(str(model_dir), device=FLOAT32).sample(requests):
        assert answer.text == make_tokenizer().decode(expected["", answer.id])


def test_adapters_in_bfloat16_on_disk_are_answered_as_peft_answers_them(
    model_dir: Path, adapters: dict[str, Path], tmp_path: Path
) -> None:
    shutil.copytree(adapters["A"], tmp_path / "A")
    weights = load_file(tmp_path / "A" / "adapter_model.safetensors")
    save_file(
        {name: weight.bfloat16() for name, weight in weights.items()}, tmp_path / "A" / "adapter_model.safetensors"
    )
    network = PeftModel.from_pretrained(
        AutoModelForCausalLM.from_pretrained(model_dir, dtype=torch.float32), tmp_path / "A"
    )
    tokens = [naive(network.eval(), question, GREEDY.max_tokens) for question in QUESTIONS]
    requests = [Request(str(n), question, GREEDY, tmp_path / "A") for n, question in enumerate(QUESTIONS)]
    for answer in HFEngine(str(model_dir), device=FLOAT32).sample(requests):
        assert answer.text == make_tokenizer().decode(tokens[int(answer.id)])


# ---- which row belongs to which adapter


@pytest.mark.parametrize("slots", [[0, 1, 2], [0, 0, 1, 1, 2, 2], [0, 0, 2], [2, 0, 1, 0], [1], [2, 1, 0]])
def test_each_row_gets_the_adapter_of_its_slot(model_dir: Path, adapters: dict[str, Path], slots: list[int]) -> None:
    network = AutoModelForCausalLM.from_pretrained(model_dir, dtype=torch.float64).requires_grad_(False)
    loras = [read_plain_lora(adapters[name], get_stackable_layers(network)) for name in ("A", "B", "A")]
    first, name = loras[0], "model.layers.1.self_attn.v_proj"
    assert first
    x = torch.randn((len(slots), 3, 32), dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    base = network.get_submodule(name)
    with LoraStack(network, first.layers, rank=first.rank, slots=3) as stack:
        for slot, lora in enumerate(loras):
            assert lora
            stack.load_slot(slot, lora.state, 1.0 + slot)
        stack.set_weights(3, SlotRows.of(slots, 3, stack.device))
        found = network.get_submodule(name)(x)
    for row, slot in enumerate(slots):
        a, b = (loras[slot].state[f"base_model.model.{name}.lora_{side}.weight"].double() for side in "AB")  # type: ignore[union-attr]
        assert torch.allclose(found[row], base(x[row]) + (1.0 + slot) * x[row] @ a.T @ b.T, rtol=1e-12, atol=1e-12)


# ---- one after the other


def test_adapters_are_read_when_their_batch_begins(model_dir: Path, adapters: dict[str, Path], tmp_path: Path) -> None:
    folders = {name: Path(shutil.copytree(adapters["A"], tmp_path / name)) for name in "abcd"}
    engine = HFEngine(str(model_dir), device=FLOAT32, batch_size=2)
    answers = engine.sample([request for name in "abcd" for request in ask(name, folders, QUESTIONS[:2])])
    first = next(answers)
    assert first.id == "a 0"
    shutil.rmtree(folders["d"])
    said = {answer.id: answer.error or "" for answer in answers}
    assert [name for name, error in said.items() if error] == ["d 0", "d 1"]
    assert "/d: no such directory" in said["d 0"]


def test_a_consumer_that_stops_early_leaves_the_model_as_it_was(model_dir: Path, adapters: dict[str, Path]) -> None:
    engine = HFEngine(str(model_dir), device=FLOAT32, batch_size=2)
    before = snapshot(engine.network)
    answers = engine.sample([request for name in ("A", "rank", "dora") for request in ask(name, adapters, QUESTIONS)])
    next(answers)
    answers.close()  # type: ignore[attr-defined]
    assert snapshot(engine.network) == before


def lora(rank: int = 2, layers: tuple[str, ...] = ("q",)) -> LoraWeights:
    return LoraWeights(rank, layers, 1.0, {})


def sizes(groups: Sequence[tuple[LoraWeights, int]], size: int) -> list[list[int]]:
    """How many requests of each adapter are in each batch."""
    some = ((each, [Request(str(n), "a", GREEDY) for n in range(count)]) for each, count in groups)
    return [[len(requests) for _, requests in batch] for batch in make_batches(some, lambda: size)]


def test_a_batch_is_never_larger_than_asked() -> None:
    same = lora()
    assert sizes([(same, 2), (same, 2), (same, 2)], 4) == [[2, 2], [2]]
    assert sizes([(same, 1), (same, 1), (same, 3)], 6) == [[1, 1, 3]]
    assert sizes([(same, 1), (same, 1), (same, 3)], 4) == [[1, 1], [3]]
    assert sizes([(same, 7)], 3) == [[3], [3], [1]]
    assert sizes([(same, 1), (same, 1)], 1) == [[1], [1]]
    assert sizes([], 4) == []


def test_a_batch_holds_adapters_of_one_shape() -> None:
    assert sizes([(lora(), 1), (lora(3), 1), (lora(3, ("v",)), 1), (lora(3, ("v",)), 1)], 9) == [[1], [1], [1, 1]]


def test_no_more_adapters_are_drawn_than_a_batch_needs() -> None:
    drawn = []

    def groups() -> Iterator[tuple[LoraWeights, Sequence[Request]]]:
        for number in range(9):
            drawn.append(number)
            yield lora(), [Request("a", "a", GREEDY)]

    batches = make_batches(groups(), lambda: 3)
    next(batches)
    assert drawn == [0, 1, 2, 3]


def test_logits_that_are_not_finite_are_no_answers_and_leave_the_others_alone(
    model_dir: Path, adapters: dict[str, Path], expected: dict[tuple[str, str], list[int]], tmp_path: Path
) -> None:
    """Of an adapter in a batch with others, of one that is asked alone, and of the model itself."""
    broken = {name: tmp_path / name for name in ("A", "dora")}
    for name, folder in broken.items():
        shutil.copytree(adapters[name], folder)
        weights = load_file(folder / "adapter_model.safetensors")
        save_file({key: weight * float("nan") for key, weight in weights.items()}, folder / "adapter_model.safetensors")
    engine = HFEngine(str(model_dir), device=FLOAT32)
    lost = [Request(f"lost {name}", QUESTIONS[1], GREEDY, folder) for name, folder in broken.items()]
    drawn = Sampling(temperature=1.0, max_tokens=5)
    lost.append(Request("lost and drawn", QUESTIONS[1], drawn, broken["A"]))
    fine = [request for name in ("A", "B", "dora") for request in ask(name, adapters, QUESTIONS)]
    answers = list(engine.sample([*lost, *fine]))
    right(fine, [each for each in answers if not each.id.startswith("lost")], expected)
    failed = {each.id: each for each in answers if each.id.startswith("lost")}
    assert {each.finish for each in failed.values()} == {"failed"}
    assert all(f"with adapter {broken[name]} are not finite" in str(failed[f"lost {name}"].error) for name in broken)
    engine.network.lm_head.weight.fill_(float("inf"))
    (answer,) = engine.sample([Request("a", QUESTIONS[1], GREEDY)])
    assert answer.finish == "failed"
    assert f"the logits of the model {model_dir} are not finite" in str(answer.error)


def test_an_adapter_with_more_layers_than_the_model_is_refused_and_leaves_it_as_it_is(
    model_dir: Path, adapters: dict[str, Path], expected: dict[tuple[str, str], list[int]], tmp_path: Path
) -> None:
    more = make_adapter(model_dir, tmp_path / "more", 1, {"layer_replication": [[0, 2], [1, 2]]})
    engine = HFEngine(str(model_dir), device=FLOAT32)
    (answer,) = engine.sample([Request("more", QUESTIONS[1], GREEDY, more)])
    assert "its layer_replication makes another model with more layers; " in str(answer.error)
    requests = [*ask("", adapters, QUESTIONS[:2]), *ask("dora", adapters, QUESTIONS[:2])]
    right(requests, list(engine.sample(requests)), expected)
