"""The transformers engine against naive loops and against peft's own answers, one prompt at a time."""

import json
import re
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer, GPT2Config, GPT2LMHeadModel, set_seed

from stages.engines import hf
from stages.engines.hf import HFEngine
from stages.errors import BadConfig
from stages.interfaces import Completion, Request
from stages.models.device import Device
from stages.models.loading import load_model, load_tokenizer
from stages.settings import Sampling
from tests.conftest import make_tokenizer
from tests.invented import Notes
from tests.tiny_models import answers, make_adapter, make_llama, naive

FLOAT32 = Device("cpu", "float32")
GREEDY = Sampling(0.0, 1.0, 12)
WARM = Sampling(1.0, 0.95, 20, 7)
PROMPTS = ("Who?", "The inn is red and the door is blue. What colour is the inn?", "a", "Question: Topic: ships\n")


@pytest.fixture(scope="module")
def engine(model_dir: Path) -> HFEngine:
    return HFEngine(str(model_dir), device=FLOAT32)


def ask(
    engine: HFEngine, prompts: Sequence[Any], sampling: Sampling = GREEDY, adapter: Path | None = None
) -> list[str]:
    """The texts in the order of the prompts."""
    return [completion.text for completion in answers(engine, [Request(p, p, sampling, adapter) for p in prompts])]


def naive_text(folder: Path, prompt: str, count: int = 12, adapter: Path | None = None) -> str:
    """The same through a model that is loaded for this answer alone, by peft where there is an adapter."""
    network = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    network = network if adapter is None else PeftModel.from_pretrained(network, str(adapter))
    return make_tokenizer().decode(naive(network.eval(), prompt, count))


# ---- greedy answers


def test_a_batch_answers_as_a_naive_loop_does(engine: HFEngine, model_dir: Path) -> None:
    expected = [naive_text(model_dir, prompt) for prompt in PROMPTS]
    assert ask(engine, PROMPTS) == expected
    assert len(set(expected)) > 1


def test_a_qwen3_answers_as_its_own_generate_does(qwen_dir: Path) -> None:
    network = AutoModelForCausalLM.from_pretrained(qwen_dir, dtype=torch.float32).eval()
    tokenizer = AutoTokenizer.from_pretrained(qwen_dir)
    expected = []
    for prompt in PROMPTS:
        ids = tokenizer(prompt, return_tensors="pt")["input_ids"]
        mask = torch.ones_like(ids)
        grown = network.generate(ids, attention_mask=mask, max_new_tokens=12, do_sample=False)[0, ids.shape[1] :]
        expected.append(tokenizer.decode(grown, skip_special_tokens=True))
    assert ask(HFEngine(str(qwen_dir), device=FLOAT32), PROMPTS) == expected


def test_batches_of_any_size_and_order_give_the_same_answers(model_dir: Path, engine: HFEngine) -> None:
    expected = dict(zip(PROMPTS, ask(engine, PROMPTS), strict=True))
    for size in (1, 3):
        small = HFEngine(str(model_dir), device=FLOAT32, batch_size=size)
        assert ask(small, PROMPTS[::-1]) == [expected[prompt] for prompt in PROMPTS[::-1]]


def test_the_checkpoints_own_sampling_settings_play_no_part(model_dir: Path, tmp_path: Path, engine: HFEngine) -> None:
    shutil.copytree(model_dir, tmp_path / "model")
    own = {"do_sample": True, "temperature": 3.0, "repetition_penalty": 5.0, "max_length": 5, "eos_token_id": 0}
    (tmp_path / "model" / "generation_config.json").write_text(json.dumps(own))
    assert ask(HFEngine(str(tmp_path / "model"), device=FLOAT32), PROMPTS) == ask(engine, PROMPTS)


def test_a_chat_prompt_is_answered_as_its_rendered_text(chat_dir: Path) -> None:
    chat = HFEngine(str(chat_dir), device=FLOAT32)
    rendered = "<|im_start|>user\nWho?<|endoftext|>\n<|im_start|>assistant\n"
    messages = [{"role": "user", "content": "Who?"}]
    (completion,) = chat.sample([Request("a", messages, GREEDY)])
    assert completion.text == naive_text(chat_dir, rendered, GREEDY.max_tokens)
    assert ask(chat, [rendered]) != [completion.text]  # as a text its control tokens are letters


def test_a_chat_prompt_for_a_model_without_template_is_an_error(engine: HFEngine) -> None:
    with pytest.raises(BadConfig, match="no chat template; use --no-chat"):
        list(engine.sample([Request("a", [{"role": "user", "content": "Who?"}], GREEDY)]))


# ---- where an answer ends


@pytest.fixture(scope="module")
def stopping(model_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[int]]:
    """The model with one more end token: the one that its greedy answer to "Who?" has first at place 3 or later."""
    network = AutoModelForCausalLM.from_pretrained(model_dir, dtype=torch.float32).eval()
    free = naive(network, "Who?", 12)
    place = next(place for place in range(3, 12) if free[place] not in free[:place])
    folder = tmp_path_factory.mktemp("stopping") / "model"
    shutil.copytree(model_dir, folder)
    (folder / "generation_config.json").write_text(json.dumps({"eos_token_id": [0, free[place]]}))
    return folder, free[:place]


def test_an_answer_stops_at_an_end_token_and_drops_it(stopping: tuple[Path, list[int]]) -> None:
    folder, kept = stopping
    (completion,) = HFEngine(str(folder), device=FLOAT32).sample([Request("a", "Who?", GREEDY)])
    assert completion == Completion("a", make_tokenizer().decode(kept), "stop", len(kept), prompt_tokens=4)


def test_each_answer_of_a_batch_is_cut_at_its_own_max_tokens(model_dir: Path, engine: HFEngine) -> None:
    network = AutoModelForCausalLM.from_pretrained(model_dir, dtype=torch.float32).eval()
    free = naive(network, "Who?", 12)
    limits = (1, 5, 12, 3)
    found = answers(engine, [Request(str(n), "Who?", replace(GREEDY, max_tokens=n)) for n in limits])
    for limit, completion in zip(limits, found, strict=True):
        assert completion == Completion(
            str(limit), make_tokenizer().decode(free[:limit]), "length", limit, prompt_tokens=4
        )


def test_a_neighbour_that_may_go_on_does_not_turn_a_cut_answer_into_a_stopped_one(
    stopping: tuple[Path, list[int]],
) -> None:
    folder, kept = stopping
    engine = HFEngine(str(folder), device=FLOAT32)
    exact = Request("exact", "Who?", replace(GREEDY, max_tokens=len(kept)))
    longer = Request("longer", "Who?", GREEDY)
    (alone,) = engine.sample([exact])
    assert answers(engine, [exact, longer])[0] == alone
    assert alone.finish == "length"
    assert answers(engine, [exact, longer])[1].finish == "stop"


def test_a_long_neighbour_takes_no_room_from_a_short_prompt(engine: HFEngine) -> None:
    long = Request("long", "xy" * 250, replace(GREEDY, max_tokens=40))  # 500 tokens of a context of 512
    short = Request("short", "Who?", replace(GREEDY, max_tokens=40))
    together = answers(engine, [long, short])
    assert together == [*engine.sample([long]), *engine.sample([short])]
    assert [completion.tokens for completion in together] == [12, 40]


def test_learned_positions_are_never_overrun(tmp_path: Path) -> None:
    set_seed(0)
    sizes = {"n_positions": 64, "n_embd": 32, "n_layer": 1, "n_head": 2, "vocab_size": 300, "initializer_range": 0.5}
    GPT2LMHeadModel(GPT2Config(bos_token_id=0, eos_token_id=0, tie_word_embeddings=False, **sizes)).save_pretrained(
        tmp_path
    )
    make_tokenizer().save_pretrained(tmp_path)
    engine = HFEngine(str(tmp_path), device=FLOAT32)
    requests = [Request(str(n), "x" * n, replace(GREEDY, max_tokens=1000)) for n in (60, 5, 63)]
    together = answers(engine, requests)
    assert together == [completion for request in requests for completion in engine.sample([request])]
    assert [completion.tokens for completion in together] == [4, 59, 1]


def test_a_prompt_that_fills_the_context_fails_alone(engine: HFEngine) -> None:
    requests = [Request("a", "x" * 512, GREEDY), Request("b", PROMPTS[0], GREEDY)]
    progress = Notes()
    found = {completion.id: completion for completion in engine.sample(requests, progress)}
    assert sorted(progress.started) == ["a", "b"]  # else the count of requests never gets full
    assert (found["a"].finish, found["a"].text, found["a"].tokens) == ("failed", "", None)
    error = f"a prompt of 512 tokens leaves no room in {engine.model}'s context of 512"
    assert found["a"].error == error
    assert [found["b"]] == list(engine.sample(requests[1:]))


# ---- drawn answers


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_draw_depends_on_neither_neighbours_nor_batch_size_nor_order(model_dir: Path, dtype: str) -> None:
    requests = [Request(f"{i}", prompt, replace(WARM, seed=i)) for i, prompt in enumerate(PROMPTS)]
    alone = HFEngine(str(model_dir), device=Device("cpu", dtype), batch_size=1)
    expected = answers(alone, requests)
    for size in (3, 64):
        engine = HFEngine(str(model_dir), device=Device("cpu", dtype), batch_size=size)
        assert answers(engine, requests) == expected
        assert answers(engine, requests[::-1]) == expected[::-1]
    mixed = [requests[0], Request("greedy", "Who?", GREEDY), Request("hot", PROMPTS[1], Sampling(3.0, 1.0, 30, 9))]
    assert answers(alone, mixed) == answers(engine, mixed)
    assert answers(engine, mixed)[0] == expected[0]


def test_other_seeds_draw_other_texts_and_the_same_seed_the_same(engine: HFEngine) -> None:
    requests = [Request(f"{seed}", "Who?", replace(WARM, seed=seed)) for seed in (0, 1, 2, 3)]
    first = answers(engine, requests)
    torch.manual_seed(1)  # the global generator plays no part
    assert answers(engine, requests) == first
    assert len({completion.text for completion in first}) == 4


# ---- adapters


@pytest.fixture(scope="module")
def adapters(model_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A and B of one shape, C of another rank on other layers, D and E of a kind that cannot share a batch."""
    folder = tmp_path_factory.mktemp("adapters")
    return {
        "A": make_adapter(model_dir, folder / "A", seed=1),
        "B": make_adapter(model_dir, folder / "B", seed=2),
        "C": make_adapter(model_dir, folder / "C", seed=3, rank=5, targets=("k_proj", "gate_proj")),
        "D": make_adapter(model_dir, folder / "D", seed=4, dora=True),
        "E": make_adapter(model_dir, folder / "E", seed=5, dora=True),
    }


def test_an_adapter_answers_as_pefts_own_model_does(
    engine: HFEngine, model_dir: Path, adapters: dict[str, Path]
) -> None:
    plain = ask(engine, PROMPTS)
    for adapter in adapters.values():
        expected = [naive_text(model_dir, prompt, adapter=adapter) for prompt in PROMPTS]
        assert ask(engine, PROMPTS, GREEDY, adapter) == expected
        assert expected != plain


def test_adapters_take_turns_without_leaving_a_trace(model_dir: Path, adapters: dict[str, Path]) -> None:
    turns: list[Path | None] = [adapters[name] if name else None for name in ["A", "", *"BACDED", "", *"DAB"]]
    engine = HFEngine(str(model_dir), device=FLOAT32)
    before = {name: weight.clone() for name, weight in engine.network.state_dict().items()}
    for adapter in turns:
        fresh = HFEngine(str(model_dir), device=FLOAT32)
        assert ask(engine, PROMPTS, GREEDY, adapter) == ask(fresh, PROMPTS, GREEDY, adapter)
    list(engine.sample([Request("a", "Who?", GREEDY)]))
    after = engine.network.state_dict()
    assert after.keys() == before.keys()
    assert all(torch.equal(after[name], before[name]) for name in before)


def test_requests_of_several_adapters_mix_in_one_call(
    engine: HFEngine, adapters: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    examined = list[Path]()
    monkeypatch.setattr(hf, "is_tuned_model", examined.append)  # on a network's disk that takes its time
    choices = [None, *(adapters[name] for name in "ACDBEDA"), None]
    requests = [Request(str(i), PROMPTS[i % 4], GREEDY, adapter) for i, adapter in enumerate(choices)]
    found = answers(engine, requests)
    assert sorted(examined) == sorted(adapters[name] for name in "ABCDE")
    assert found == [completion for request in requests for completion in engine.sample([request])]


def refusal(engine: HFEngine, adapter: Path) -> str:
    """Why an adapter's requests fail; one that is asked for beside it answers all the same."""
    requests = [Request("plain", PROMPTS[0], GREEDY), *(Request(each, each, GREEDY, adapter) for each in PROMPTS)]
    plain, *others = engine.sample(requests)
    assert (plain.id, plain.error) == ("plain", None)
    assert {(other.text, other.finish) for other in others} == {("", "failed")}
    (said,) = {other.error for other in others}
    assert said
    return said


@pytest.mark.parametrize("after", ["", "A"])
@pytest.mark.parametrize(
    ("other", "words"),
    [
        ({"hidden_size": 48}, "does not fit this model: .*size mismatch"),
        ({"num_hidden_layers": 1}, "does not fit this model: no weight for .*layers.1.*lora_A"),
        ({"num_hidden_layers": 3}, "does not fit this model: no layer for .*layers.2.*lora_A"),
    ],
)
def test_an_adapter_of_another_model_is_refused_and_leaves_the_engine_well(
    model_dir: Path, adapters: dict[str, Path], tmp_path: Path, other: dict[str, int], words: str, after: str
) -> None:
    engine = HFEngine(str(model_dir), device=FLOAT32)
    plain = ask(engine, PROMPTS)
    ask(engine, PROMPTS, GREEDY, adapters[after] if after else None)
    foreign = make_adapter(make_llama(tmp_path / "base", **other), tmp_path / "adapter", seed=9)
    if after:  # the very settings of A, so that only the weights can tell
        shutil.copy(adapters["A"] / "adapter_config.json", foreign)
    assert re.search(words, refusal(engine, foreign))
    assert ask(engine, PROMPTS) == plain
    assert ask(engine, PROMPTS, GREEDY, adapters["A"]) == ask(
        HFEngine(str(model_dir), device=FLOAT32), PROMPTS, GREEDY, adapters["A"]
    )


def test_adapters_that_cannot_be_read_are_refused(engine: HFEngine, adapters: dict[str, Path], tmp_path: Path) -> None:
    assert re.search(r"adapter .*absent: no such directory", refusal(engine, tmp_path / "absent"))
    shutil.copytree(adapters["A"], tmp_path / "binary")
    (tmp_path / "binary" / "adapter_model.safetensors").rename(tmp_path / "binary" / "adapter_model.bin")
    assert "only a .bin, which is not read; it needs adapter_model.safetensors" in refusal(engine, tmp_path / "binary")
    shutil.copytree(adapters["A"], tmp_path / "torn")
    (tmp_path / "torn" / "adapter_model.safetensors").write_bytes(b"torn")
    assert "does not fit this model" in refusal(engine, tmp_path / "torn")


def test_an_engine_leaves_the_models_own_settings_and_layers_also_when_stopped_early(
    model_dir: Path, tmp_path: Path
) -> None:
    tokenizer, network = load_tokenizer(str(model_dir)), load_model(str(model_dir), Device("cpu", "float32"))
    network.generation_config.eos_token_id = [0, 7]
    adapter = make_adapter(model_dir, tmp_path / "dora", dora=True)
    for _ in range(2):
        engine = HFEngine("x", loaded=(tokenizer, network))
        assert engine.ends == {0, 7}
        answers = engine.sample([Request(f"{n}", "Who?", Sampling(0.0, 1.0, 4), adapter) for n in range(2)])
        next(answers)
        answers.close()  # type: ignore[attr-defined]
        assert not any("lora" in name for name, _ in network.named_modules())


def test_a_completion_begins_with_the_mark_of_a_thought_that_its_prompt_has_opened(engine: HFEngine) -> None:
    for prompt in ("Who?\n<think>\n", "Who?\n"):
        ids = make_tokenizer()(prompt)["input_ids"]
        assert make_tokenizer().decode(ids) == prompt  # or this test shows nothing
        (text,) = ask(engine, [prompt])
        assert text.startswith("<think>\n") == ("<think>" in prompt)


def test_settings_that_this_peft_does_not_know_are_refused_unless_they_say_nothing(
    engine: HFEngine, adapters: dict[str, Path], tmp_path: Path
) -> None:
    newer = Path(shutil.copytree(adapters["A"], tmp_path / "newer"))
    settings = json.loads((newer / "adapter_config.json").read_text())
    (newer / "adapter_config.json").write_text(json.dumps({**settings, "use_newthing": None}))
    assert ask(engine, PROMPTS, GREEDY, newer) == ask(engine, PROMPTS, GREEDY, adapters["A"])
    (newer / "adapter_config.json").write_text(json.dumps({**settings, "use_newthing": True}))
    assert "this peft does not know its use_newthing; pip install -U peft" in refusal(engine, newer)
    (newer / "adapter_config.json").write_text(json.dumps({**settings, "peft_type": "BRANDNEW"}))
    assert "does not fit this model: KeyError: 'BRANDNEW'" in refusal(engine, newer)
