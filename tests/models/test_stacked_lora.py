"""The stacked adapters against peft's own: initial weights, outputs, gradients; and the model afterwards."""

import gc
import weakref
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model, get_peft_model_state_dict, set_peft_model_state_dict
from transformers import AutoModelForCausalLM

from stages.models.stacked_lora import LoraStack, SlotRows
from stages.trainers.batched.attention import use_packed_attention
from stages.trainers.batched.lora_kernels import PackedLayout
from stages.trainers.batched.packing import Packing
from stages.trainers.batched.trainer import find_target_layers
from tests.trainers.exact import BEYOND_ROUNDING, exact_model, packed, pieces, sequence, snapshot

CHOICES = {
    "default": (),
    "all": ("all-linear",),
    "some": ("k_proj", "down_proj"),
    "one": ("layers.1.self_attn.q_proj",),
}
RANK, ALPHA = 3, 7.0
State = dict[str, torch.Tensor]


def peft_targets(targets: tuple[str, ...]) -> Any:
    return "all-linear" if targets == ("all-linear",) else list(targets) or None


def peft_model(network: Any, targets: tuple[str, ...], seed: int = 0) -> Any:
    torch.manual_seed(seed)
    return get_peft_model(
        network, LoraConfig(r=RANK, lora_alpha=ALPHA, target_modules=peft_targets(targets), task_type="CAUSAL_LM")
    ).eval()


def random_state(stack: LoraStack, seed: int) -> State:
    generator = torch.Generator().manual_seed(seed)
    return {
        name: torch.randn(weight.shape, generator=generator, dtype=weight.dtype) / 3
        for name, weight in stack.get_peft_state(stack.weights[0]).items()
    }


def filled(network: Any, targets: tuple[str, ...], slots: int) -> tuple[LoraStack, list[State]]:
    """A stack with random adapters in its slots, each with a scale of its own."""
    stack = LoraStack(network, find_target_layers(network, targets), rank=RANK, slots=slots)
    states = [random_state(stack, seed) for seed in range(slots)]
    for slot, state in enumerate(states):
        stack.load_slot(slot, state, 0.5 + slot)
    return stack, states


def set_scale(student: Any, scale: float) -> None:
    for part in student.modules():
        if hasattr(part, "lora_A"):
            part.scaling["default"] = scale


def frozen(folder: Path) -> Any:
    return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval().requires_grad_(False)


def logits_by_peft(
    folder: Path, targets: tuple[str, ...], state: State, scale: float, ids: torch.Tensor
) -> torch.Tensor:
    student = peft_model(exact_model(folder), targets)
    set_scale(student, scale)
    assert not set_peft_model_state_dict(student, state).unexpected_keys
    with torch.no_grad():
        return student(input_ids=ids).logits


# ---- initial weights


@pytest.mark.parametrize("targets", CHOICES.values(), ids=CHOICES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_the_initial_weights_are_bitwise_pefts_from_the_same_seed(
    qwen_dir: Path, dtype: torch.dtype, targets: tuple[str, ...]
) -> None:
    network = AutoModelForCausalLM.from_pretrained(qwen_dir, dtype=dtype)
    stack = LoraStack(network, find_target_layers(network, targets), rank=RANK, slots=3)
    stack.weights.fill_(9.0)  # what an earlier job left
    for slot, seed in ((2, 7), (0, 123456789), (1, 7)):
        stack.start_slot(slot, stack.init_weights(seed), ALPHA / RANK)
    for slot, seed in enumerate((123456789, 7, 7)):
        expected = get_peft_model_state_dict(
            peft_model(AutoModelForCausalLM.from_pretrained(qwen_dir, dtype=dtype), targets, seed)
        )
        found = stack.get_peft_state(stack.weights[slot])
        assert list(found) == list(expected)
        assert all(found[name].dtype == expected[name].dtype for name in found)
        assert all(torch.equal(found[name], expected[name]) for name in found)


def test_an_initial_draw_does_not_touch_the_global_generator(model_dir: Path) -> None:
    network = AutoModelForCausalLM.from_pretrained(model_dir)
    before = torch.get_rng_state()
    stack = LoraStack(network, find_target_layers(network, ()), rank=RANK, slots=1)
    stack.init_weights(5)
    assert torch.equal(torch.get_rng_state(), before)


# ---- outputs


@pytest.mark.parametrize("targets", CHOICES.values(), ids=CHOICES)
def test_a_batch_of_adapters_gives_each_ones_own_logits(model_dir: Path, targets: tuple[str, ...]) -> None:
    network = exact_model(model_dir)
    stack, states = filled(network, targets, 3)
    rows = torch.stack([torch.tensor(sequence(9, seed).ids) for seed in range(6)])  # two rows a slot
    with stack, torch.no_grad():
        stack.set_weights(3, SlotRows.of([0, 0, 1, 1, 2, 2], 3, stack.device))
        found = network(input_ids=rows).logits
    plain = exact_model(model_dir)(input_ids=rows).logits
    for slot, state in enumerate(states):
        mine = slice(2 * slot, 2 * slot + 2)
        expected = logits_by_peft(model_dir, targets, state, 0.5 + slot, rows[mine])
        assert float((found[mine] - expected).abs().max()) < BEYOND_ROUNDING
        assert float((found[mine] - plain[mine]).abs().max()) > 1e-3


def backward(network: Any, stack: LoraStack, packing: Packing, *, slots: int) -> None:
    """Of the sum of cubes of all that is no filling: behind a norm, that of squares would be mere rounding."""
    with use_packed_attention(network):
        stack.bind_gradients(slots)
        stack.layout = PackedLayout(packing)
        hidden = network.base_model(**packing.inputs, packing=packing).last_hidden_state[0]
        torch.cat(pieces(packing, hidden)).pow(3).sum().backward()


@pytest.mark.parametrize("path", ["naive", "bmm"])
def test_gradients_of_all_slots_at_once_are_pefts_one_by_one(model_dir: Path, path: str) -> None:
    network = exact_model(model_dir)
    stack, states = filled(network, ("all-linear",), 4)  # the last slot is idle
    rows = [[sequence(9), sequence(4)], [sequence(1)], [sequence(30)]]
    with stack:
        backward(network, stack, packed(rows, path), slots=3)
    stack.weights.copy_(stack.grads)
    for slot, sequences in enumerate(rows):
        student = peft_model(exact_model(model_dir), ("all-linear",))
        set_scale(student, 0.5 + slot)
        set_peft_model_state_dict(student, states[slot])
        for row in sequences:
            body = student.get_base_model().base_model
            body(input_ids=torch.tensor([row.ids])).last_hidden_state.pow(3).sum().backward()
        for name, weight in student.named_parameters():
            if weight.requires_grad:
                found = stack.get_peft_state(stack.weights[slot])[name.replace(".default", "")]
                assert weight.grad is not None
                assert float((found - weight.grad).abs().max()) < 1e-12 * max(1.0, float(weight.grad.abs().max()))
    assert not stack.grads[3].any()


@pytest.mark.parametrize("path", ["naive", "bmm"])
def test_gradients_add_up_until_they_are_cleared_and_land_in_the_stack(model_dir: Path, path: str) -> None:
    network = exact_model(model_dir)
    stack, _ = filled(network, (), 2)
    found = []
    with stack:
        for _ in range(2):
            backward(network, stack, packed([[sequence(5)], [sequence(6)]], path), slots=2)
            found.append(stack.grads.clone())
    assert found[0].any()
    assert torch.allclose(found[1], 2 * found[0], rtol=1e-12)


# ---- slots


def test_an_adapter_comes_out_as_it_went_in_and_moves_whole(model_dir: Path) -> None:
    network = exact_model(model_dir)
    stack, states = filled(network, ("all-linear",), 3)
    stack.copy_slot(2, 0)
    for slot, kept in ((0, 2), (1, 1), (2, 2)):
        found = stack.get_peft_state(stack.weights[slot])
        assert found.keys() == states[kept].keys()
        assert all(torch.equal(found[name], states[kept][name]) for name in found)
    assert stack.scale.flatten().tolist() == [2.5, 1.5, 2.5]


def test_a_state_that_came_out_is_no_view_of_the_stack(model_dir: Path) -> None:
    stack, states = filled(exact_model(model_dir), (), 1)
    found = stack.get_peft_state(stack.weights[0])
    stack.weights.zero_()
    assert all(torch.equal(found[name], states[0][name]) for name in found)


# ---- the model


def test_the_model_is_itself_before_and_after_and_within_until_something_is_laid(model_dir: Path) -> None:
    network = frozen(model_dir)
    before = snapshot(network)
    stack, _ = filled(network, ("all-linear",), 2)
    assert snapshot(network) == before
    with stack:
        ids = torch.tensor([[5, 6, 7, 8, 9]])
        assert network(input_ids=ids).logits.tolist() == before[4]
        stack.set_weights(1, SlotRows.of([0], 1, stack.device))
        assert network(input_ids=ids).logits.tolist() != before[4]
    assert snapshot(network) == before


def test_the_model_is_itself_again_after_an_error(model_dir: Path) -> None:
    network = frozen(model_dir)
    before = snapshot(network)
    stack, _ = filled(network, ("all-linear",), 2)
    with pytest.raises(KeyError), stack:
        raise KeyError
    assert snapshot(network) == before


def test_a_stack_that_is_left_is_gone_at_once(model_dir: Path) -> None:
    network = frozen(model_dir)
    gc.disable()  # nothing but counting references may free it: its memory is wanted for the next
    try:
        stack, _ = filled(network, ("all-linear",), 2)
        with stack:
            stack.set_weights(2, SlotRows.of([0, 1], 2, stack.device))
            network(input_ids=torch.tensor([[5, 6], [7, 8]]))
            weights = weakref.ref(stack.weights)
        del stack
        assert weights() is None
    finally:
        gc.enable()
