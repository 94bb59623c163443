"""The vLLM engine against the transformers engine, whose answers are tested against naive loops."""

import shutil
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file, save_file

from stages.engines.hf import HFEngine
from stages.engines.vllm import VLLMEngine
from stages.errors import BadInput, MissingInput
from stages.interfaces import NullProgress, Request
from stages.settings import Sampling
from tests.engines.test_hf_adapters import make_adapter
from tests.tiny_models import answers, make_llama
from tests.vllm.conftest import GREEDY, NEEDS_VLLM, QUESTIONS, SIZES, ask

pytestmark = NEEDS_VLLM
WARM = Sampling(1.0, 0.95, 24, 7)
LONG = "The inn is red and the door is blue. " * 8  # more than one block of vLLM's cache


# ---- greedy answers


def test_greedy_answers_are_those_of_the_transformers_engine(engine: VLLMEngine, hf: HFEngine) -> None:
    expected = answers(hf, ask("", {}))
    assert answers(engine, ask("", {})) == expected
    assert len({each.text for each in expected}) == len(QUESTIONS)


def test_adapters_of_all_kinds_and_none_mix_in_one_call(
    engine: VLLMEngine, hf: HFEngine, adapters: dict[str, Path]
) -> None:
    requests = [each for name in ("", *adapters) for each in ask(name, adapters)]
    requests = requests[::2] + requests[1::2]  # no adapter's requests lie together
    expected = answers(hf, requests)
    assert answers(engine, requests) == expected
    plain = {
        request.prompt: found.text for request, found in zip(requests, expected, strict=True) if not request.adapter
    }
    changed = sum(found.text != plain[str(each.prompt)] for each, found in zip(requests, expected, strict=True))
    assert changed > 4 * len(adapters)


def test_a_request_without_adapter_is_answered_by_the_model_alone_when_every_slot_is_taken(
    engine: VLLMEngine, hf: HFEngine, adapters: dict[str, Path]
) -> None:
    """vLLM's CPU build would give it the adapter in the last slot, `head` even where no other has one."""
    answers(engine, [each for name in ("A", "B", "head") for each in ask(name, adapters, QUESTIONS[:1])])
    expected = answers(hf, ask("", {}))
    assert answers(engine, ask("", {})) == expected
    for name in ("A", "head"):
        assert answers(engine, [*ask("", {}), *ask(name, adapters, QUESTIONS[:3])])[:5] == expected


# ---- where an answer ends


def test_each_answer_is_cut_at_its_own_max_tokens(engine: VLLMEngine, hf: HFEngine) -> None:
    requests = [Request(str(n), QUESTIONS[1], replace(GREEDY, max_tokens=n)) for n in (1, 5, 24, 3)]
    found = answers(engine, requests)
    assert found == answers(hf, requests)
    assert [(each.tokens, each.finish) for each in found] == [(n, "length") for n in (1, 5, 24, 3)]


def test_an_answer_stops_at_an_end_token_and_drops_it(engine: VLLMEngine, hf: HFEngine) -> None:
    (free,) = answers(hf, [Request("a", QUESTIONS[1], GREEDY)])
    ids = [int(each) for each in hf.tokenizer(free.text)["input_ids"]]
    place = next(place for place in range(3, 24) if ids[place] not in ids[:place])
    usual = engine.ends, hf.ends
    engine.ends = hf.ends = {0, ids[place]}
    try:
        (found,) = answers(engine, [Request("a", QUESTIONS[1], GREEDY)])
        assert [found] == answers(hf, [Request("a", QUESTIONS[1], GREEDY)])
    finally:
        engine.ends, hf.ends = usual
    assert (found.finish, found.tokens) == ("stop", place)


def test_an_answer_ends_before_its_stop_string_as_with_transformers(
    engine: VLLMEngine, hf: HFEngine, adapters: dict[str, Path]
) -> None:
    free = answers(hf, [*ask("", {}), *ask("A", adapters)])
    requests = [
        replace(request, sampling=replace(request.sampling, stop=(found.text[place : place + 2], "never said")))
        for request, found, place in zip([*ask("", {}), *ask("A", adapters)], free, (3, 0, 9, 5, 1) * 2, strict=True)
    ]
    found = answers(engine, requests)
    assert found == answers(hf, requests)
    assert [each.text for each in found] == [
        each.text.partition(request.sampling.stop[0])[0] for each, request in zip(free, requests, strict=True)
    ]
    assert {each.finish for each in found} == {"stop"}
    assert not engine.llm.has_unfinished_requests()
    assert answers(engine, ask("", {})) == free[: len(QUESTIONS)]


def test_a_prompt_near_the_end_of_the_context_gets_what_is_left(engine: VLLMEngine, hf: HFEngine) -> None:
    requests = [Request(str(n), "xy" * (n // 2), replace(GREEDY, max_tokens=40)) for n in (500, 510)]
    found = answers(engine, requests)
    assert found == answers(hf, requests)
    assert [each.tokens for each in found] == [12, 2]
    full = [Request("a", "x" * 512, GREEDY)]
    assert answers(engine, [*full, *requests]) == [*answers(hf, full), *found]
    assert answers(engine, full)[0].error == f"a prompt of 512 tokens leaves no room in {engine.model}'s context of 512"
    assert not engine.llm.has_unfinished_requests()


# ---- drawn answers


def test_a_draw_depends_on_its_seed_alone(engine: VLLMEngine, adapters: dict[str, Path]) -> None:
    requests = [
        Request(f"{name} {seed}", QUESTIONS[1], replace(WARM, seed=seed), adapters.get(name))
        for name in ("", "A")
        for seed in (0, 1, 2, 2**32 - 1)
    ]
    together = answers(engine, requests)
    assert answers(engine, requests[::-1])[::-1] == together
    for request, found in zip(requests, together, strict=True):
        assert answers(engine, [request]) == [found]
    assert len({each.text for each in together[:4]}) == len({each.text for each in together[4:]}) == 4


def test_a_top_p_of_nothing_leaves_the_likeliest_token(engine: VLLMEngine, hf: HFEngine) -> None:
    requests = [Request("a", QUESTIONS[1], replace(WARM, top_p=0.0))]
    assert answers(engine, requests) == answers(hf, requests)


def test_samples_of_one_prompt_share_it_through_the_prefix_cache(
    engine: VLLMEngine, adapters: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    step, cached = engine.llm.step, {}

    def spied() -> list[Any]:
        outputs: list[Any] = step()
        cached.update({each.request_id: each.num_cached_tokens for each in outputs if each.finished})
        return outputs

    monkeypatch.setattr(engine.llm, "step", spied)
    answers(engine, [Request(str(seed), LONG, replace(WARM, seed=seed)) for seed in range(4)])
    assert sorted(count >= 128 for count in cached.values()) == [False, True, True, True]
    cached.clear()
    answers(engine, [Request("a", LONG, WARM, adapters["A"])])  # what an adapter makes of it is another matter
    assert list(cached.values()) == [0]


# ---- what is in work


class Notebook(NullProgress):
    """What an engine says to its Progress, as (+ or -, name)."""

    def __init__(self) -> None:
        self.told: list[tuple[str, str]] = []

    def begin_work(self, names: Iterable[str]) -> None:
        self.told += [("+", name) for name in names]

    def end_work(self, names: Iterable[str]) -> None:
        self.told += [("-", name) for name in names]


def test_no_more_is_in_work_than_the_batch_and_the_slots_hold(engine: VLLMEngine, adapters: dict[str, Path]) -> None:
    requests = [each for name in ("", "A", "rank", "B", "all", "one") for each in ask(name, adapters)]
    notebook, in_work = Notebook(), set()
    taken = [each.id for each in engine.sample(requests, notebook)]
    assert sorted(name for sign, name in notebook.told if sign == "+") == sorted(taken)
    assert [name for sign, name in notebook.told if sign == "-"] == taken
    most = 0
    for sign, name in notebook.told:
        (in_work.add if sign == "+" else in_work.remove)(name)
        most = max(most, len(in_work))
        assert len({name.split()[0] for name in in_work} - {"plain"}) <= 3
    assert most == 8


def test_answers_leave_as_they_finish(engine: VLLMEngine) -> None:
    requests = [Request(str(n), "Who?", replace(GREEDY, max_tokens=n)) for n in (300, 2, 40, 7)]
    assert [each.id for each in engine.sample(requests)] == ["2", "7", "40", "300"]


def test_a_consumer_that_stops_early_leaves_nothing_in_work(engine: VLLMEngine, hf: HFEngine) -> None:
    notebook = Notebook()
    completions = engine.sample([Request(str(n), "Who?", replace(GREEDY, max_tokens=n)) for n in (1, 400)], notebook)
    next(completions)
    completions.close()  # type: ignore[attr-defined]
    assert not engine.llm.has_unfinished_requests()
    assert ("-", "1") not in notebook.told
    assert answers(engine, ask("", {})) == answers(hf, ask("", {}))


# ---- what cannot be used


@pytest.fixture
def broken(adapters: dict[str, Path], llama: Path, tmp_path: Path) -> dict[str, Path]:
    folders = {name: Path(shutil.copytree(adapters["A"], tmp_path / name)) for name in ("cut", "renamed")}
    weights = folders["cut"] / "adapter_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-50])
    lost = load_file(folders["renamed"] / "adapter_model.safetensors")
    lost = {name.replace("layers.1", "layers.7"): weight for name, weight in lost.items()}
    save_file(lost, folders["renamed"] / "adapter_model.safetensors")
    other = make_llama(tmp_path / "other", **{**SIZES, "hidden_size": 96})
    return {
        **folders,
        "foreign": make_adapter(other, tmp_path / "foreign", 1, {}),
        "dora": make_adapter(llama, tmp_path / "dora", 1, {"use_dora": True}),
        "wide": make_adapter(llama, tmp_path / "wide", 1, {"r": 17}),
        "absent": tmp_path / "absent",
    }


@pytest.mark.parametrize(
    ("name", "kind", "words"),
    [
        ("cut", BadInput, r"/cut/adapter_model.safetensors: cut off"),
        ("renamed", BadInput, r"adapter .*/renamed: does not fit .*: no layer 'model.layers.7"),
        ("foreign", BadInput, r"adapter .*/foreign: does not fit .*: .* is 64×64, the adapter for 96×96"),
        ("dora", BadInput, r"adapter .*/dora: has DoRA, which vLLM cannot use; --engine hf can use it"),
        ("wide", BadInput, r"adapter .*/wide: rank 17, but vLLM was started for rank 16; give max_rank=17"),
        ("absent", MissingInput, r"adapter .*/absent: no such directory"),
    ],
)
def test_an_adapter_that_cannot_be_used_is_named_and_leaves_the_engine_well(
    engine: VLLMEngine, hf: HFEngine, broken: dict[str, Path], name: str, kind: type[Exception], words: str
) -> None:
    with pytest.raises(kind, match=words):
        answers(engine, [*ask("", {}), *ask(name, broken)])
    assert answers(engine, ask("", {})) == answers(hf, ask("", {}))
