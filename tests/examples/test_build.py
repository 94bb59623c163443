"""The builder: tokenizer, documents, a smoke run, and the model that ships."""

import json
import math
import random
import re
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedTokenizerFast

from examples.tiny.architecture import make_model
from examples.tiny.batches import IGNORED, encode, loss_on, pad, stream
from examples.tiny.build import SMOKE, Feed, Recipe, build, main, train
from examples.tiny.documents import Document, Library, make_pool, question_prompt
from examples.tiny.lexicon import closed_values
from examples.tiny.muon import orthogonalise
from examples.tiny.tasks import SIZES, make_entities, task_lines
from examples.tiny.tokenizer import END_OF_TEXT, VOCABULARY_TOKENS, build_tokenizer
from examples.tiny.world import Style

TINY = Path(__file__).parents[2] / "examples" / "tiny"
MODEL = TINY / "model"


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def tokenizer() -> PreTrainedTokenizerFast:
    return build_tokenizer(documents=SMOKE.tokenizer_documents)


@pytest.fixture(scope="module")
def smoke_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("smoke") / "model"
    build(SMOKE, out)
    return out


def documents(count: int) -> list[Document]:
    library = Library(random.Random(0), make_pool(8), Style())
    return [draw() for draw in (library.long, library.mini, library.short) for _ in range(count)]


def test_every_value_with_its_space_is_one_token(tokenizer: PreTrainedTokenizerFast) -> None:
    assert len(tokenizer) == VOCABULARY_TOKENS
    assert [value for value in closed_values() if len(tokenizer.encode(f" {value}")) != 1] == []


def test_text_survives_the_tokenizer(tokenizer: PreTrainedTokenizerFast) -> None:
    for text in ("Zorath lives in Hexham.\n", "Ünïcode — 漢字 🦦", *("".join(one) for one in documents(5))):
        assert tokenizer.decode(tokenizer.encode(text)) == text


def test_loss_falls_on_completions_only(tokenizer: PreTrainedTokenizerFast) -> None:
    batch = pad(encode(tokenizer, [Document("Question one?\n", f" Hexham{END_OF_TEXT}"), Document("", "All of it.")]))
    counted = [tokenizer.decode(row[row != IGNORED]) for row in batch.targets]
    assert counted == [f" Hexham{END_OF_TEXT}", "All of it."]


def test_padding_changes_no_loss(tokenizer: PreTrainedTokenizerFast) -> None:
    model = make_model(len(tokenizer))
    pair = encode(tokenizer, documents(1)[:1])
    alone, beside = pad(pair), pad([*pair, *encode(tokenizer, documents(6)[-6:])])
    beside.targets[1:] = IGNORED
    assert loss_on(model, beside).item() == pytest.approx(loss_on(model, alone).item(), abs=1e-4)


def test_batches_of_a_group_hold_every_document_once(tokenizer: PreTrainedTokenizerFast) -> None:
    numbers = iter(range(1000))
    batches = stream(lambda: Document("", f"number {next(numbers)}"), 3, tokenizer, random.Random(0))
    read = [tokenizer.decode(row[row != IGNORED]) for _ in range(8) for row in next(batches).targets]
    assert sorted(read) == sorted(f"number {number}" for number in range(24))


def test_the_full_mix_comes_only_after_the_gate(tokenizer: PreTrainedTokenizerFast) -> None:
    feed = Feed(SMOKE, tokenizer)
    assert set(feed.step()) == {"mini"}
    feed.gate_open = True
    assert set(feed.step()) == {"long", "mini", "short"}


def test_the_learning_rate_warms_up_stays_and_falls() -> None:
    recipe = Recipe(steps=1000)
    shares = [recipe.lr_share(step) for step in range(1000)]
    assert shares[0] < 0.02
    assert shares[99:400] == [1.0] * 301
    assert shares[400:] == sorted(shares[400:], reverse=True)
    assert shares[-1] == recipe.last_lr_share


def test_orthogonalised_matrices_have_singular_values_near_one() -> None:
    for shape in ((128, 384), (384, 128), (128, 128)):
        values = torch.linalg.svdvals(orthogonalise(torch.randn(shape, generator=torch.Generator().manual_seed(0))))
        assert float(values.max()) < 1.4
        assert float(values.median()) > 0.5


def test_a_smoke_build_learns_and_reports(smoke_model: Path) -> None:
    report = json.loads((smoke_model / "build.json").read_text())
    assert report["recipe"]["steps"] == report["result"]["step"] == SMOKE.steps
    assert report["result"]["gate_open"]
    assert report["result"]["losses"]["mini"] < math.log(VOCABULARY_TOKENS)
    assert set(report["result"]["probes"]) == {"copy", "derive", "pool", "open_book", "mini"}


def test_a_seed_reproduces(tokenizer: PreTrainedTokenizerFast) -> None:
    def losses() -> list[dict[str, float]]:
        torch.manual_seed(0)
        recipe = replace(SMOKE, steps=2)
        return [one.losses for one in train(recipe, make_model(len(tokenizer)), tokenizer)]

    assert losses() == losses()


def test_auto_classes_load_what_was_built(smoke_model: Path, tokenizer: PreTrainedTokenizerFast) -> None:
    loaded = AutoTokenizer.from_pretrained(smoke_model)
    for one in documents(20):
        assert loaded.encode("".join(one)) == tokenizer.encode("".join(one))
    model = AutoModelForCausalLM.from_pretrained(smoke_model)
    assert model.dtype == torch.float32
    assert {model.generation_config.eos_token_id, loaded.eos_token_id, loaded.pad_token_id} == {0}


def test_a_build_refuses_to_overwrite(smoke_model: Path) -> None:
    with pytest.raises(FileExistsError, match=r"exists \(name another --out, or remove it\)"):
        build(SMOKE, smoke_model)


def test_the_command_names_its_options(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("sys.argv", ["build", "--help"])
    with pytest.raises(SystemExit, match="0"):
        main()
    shown = capsys.readouterr().out
    assert all(option in shown for option in ("--out", "--preset", "--seed", "--steps"))


def test_the_task_files_are_what_the_generator_writes() -> None:
    for name, entities in make_entities().items():
        assert (TINY / f"{name}.jsonl").read_text() == task_lines(entities)
        assert len(entities) == SIZES[name]


def test_the_shipped_model_carries_no_paths_and_only_known_files() -> None:
    """Its files hold no path of the machine that made them."""
    known = {"config.json", "generation_config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"}
    assert {file.name for file in MODEL.iterdir()} == known | {"build.json"}
    assert not [file.name for file in MODEL.glob("*.json") if re.search(r'": "/', file.read_text())]


def test_the_shipped_tokenizer_is_the_one_that_the_builder_makes() -> None:
    shipped = AutoTokenizer.from_pretrained(MODEL)
    assert shipped.get_vocab() == build_tokenizer(documents=Recipe().tokenizer_documents).get_vocab()


def test_the_shipped_model_was_built_by_this_recipe() -> None:
    assert json.loads((MODEL / "build.json").read_text())["recipe"] == asdict(Recipe())


def test_the_shipped_model_stops_and_answers_a_map_question() -> None:
    tokenizer, model = AutoTokenizer.from_pretrained(MODEL), AutoModelForCausalLM.from_pretrained(MODEL)
    ids = tokenizer(question_prompt("heron", "What kind of creature is the heron?"), return_tensors="pt")
    answer = model.generate(**ids, do_sample=False, max_new_tokens=8)[0, ids["input_ids"].shape[1] :]
    assert answer[-1] == 0
    assert tokenizer.decode(answer, skip_special_tokens=True).strip() == "bird"
