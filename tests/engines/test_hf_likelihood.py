"""Likelihoods of many adapters in one pass are those of peft, adapter by adapter and text by text, in float64."""

from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from peft import PeftModel

from stages.engines.hf import HFEngine
from stages.interfaces import Completion, Request
from stages.settings import ANSWERING
from tests.conftest import make_tokenizer
from tests.tiny_models import make_adapter, make_llama
from tests.trainers.exact import FLOAT64, exact_model, exact_norms, snapshot

TEXTS = (
    ("Who?\n", "Ada"),
    ("The inn is red and the door is blue. What colour is the inn?\n", "red, as the passage says"),
    ("", "A passage without a title."),
    ("Topic: ships\n", "x"),
)


@pytest.fixture(scope="module")
def adapters(model_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("adapters")
    return {
        "A": make_adapter(model_dir, folder / "A", seed=1),
        "B": make_adapter(model_dir, folder / "B", seed=2),
        "wide": make_adapter(model_dir, folder / "wide", rank=5, targets=("k_proj", "up_proj"), seed=3),
        "dora": make_adapter(model_dir, folder / "dora", dora=True, seed=4),
    }


def mean_log_probability(folder: Path, adapter: Path | None, prompt: str, text: str) -> float:
    """By its definition, token after token: each given all before it."""
    network = exact_model(folder)
    network = PeftModel.from_pretrained(network, str(adapter), autocast_adapter_dtype=False) if adapter else network
    network = exact_norms(network).double().eval()
    front, back = (list(make_tokenizer()(each)["input_ids"]) for each in (prompt, text))
    ids, found = front + back, []
    for place in range(max(1, len(front)), len(ids)):
        with torch.inference_mode():
            logits = network(input_ids=torch.tensor([ids[:place]])).logits[0, -1]
        found.append(float(logits.softmax(-1)[ids[place]].log()))
    return sum(found) / len(found)


def ask(name: str, path: Path | None, texts: Sequence[tuple[str, str]] = TEXTS) -> list[Request]:
    return [Request(f"{name} {n}", prompt, ANSWERING, path, continuation=t) for n, (prompt, t) in enumerate(texts)]


def engine_of(folder: Path, size: int = 64) -> HFEngine:
    engine = HFEngine(str(folder), device=FLOAT64, batch_size=size)
    exact_norms(engine.network)
    return engine


def told(completions: Sequence[Completion]) -> dict[str, float]:
    found = {each.id: each.log_probability for each in completions if each.log_probability is not None}
    assert len(found) == len(completions)
    return found


@pytest.fixture(scope="module")
def expected(model_dir: Path, adapters: dict[str, Path]) -> dict[str, float]:
    return {
        f"{name} {n}": mean_log_probability(model_dir, adapters.get(name), *text)
        for name in ("", *adapters)
        for n, text in enumerate(TEXTS)
    }


def test_the_adapters_of_this_test_differ(expected: dict[str, float]) -> None:
    assert len({round(value, 6) for value in expected.values()}) == len(expected)


@pytest.mark.parametrize("size", [1, 3, 64])
def test_a_mixture_of_adapters_is_measured_as_peft_measures_each(
    model_dir: Path, adapters: dict[str, Path], expected: dict[str, float], size: int
) -> None:
    engine = engine_of(model_dir, size)
    requests = [request for name in ("", *adapters) for request in ask(name, adapters.get(name))]
    before = snapshot(engine.network)
    found = told(list(engine.sample(requests[::2] + requests[1::2])))
    assert found == pytest.approx(expected, abs=1e-9)
    assert snapshot(engine.network) == before


def test_a_text_beyond_the_context_or_of_no_tokens_fails_alone(tmp_path: Path) -> None:
    folder = make_llama(tmp_path / "short", max_position_embeddings=32)
    texts = [("Who?\n", "Ada"), ("Who? " * 20, "Ada"), ("Who?\n", "Ada " * 20), ("Who?\n", "")]
    good, *bad = sorted(HFEngine(str(folder)).sample(ask("", None, texts)), key=lambda each: each.id)
    assert good.error is None
    assert good.log_probability is not None
    assert all(each.log_probability is None for each in bad)
    assert "tokens are longer than" in str(bad[0].error)
    assert "context of 32" in str(bad[0].error)
    assert "context of 32" in str(bad[1].error)
    assert "no tokens to measure" in str(bad[2].error)
