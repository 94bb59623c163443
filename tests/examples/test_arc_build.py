"""The builder of the tiny ARC model: tokenizer, self-edits of pretraining, a smoke run, and the model that ships."""

import json
import random
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedTokenizerFast

from examples.tiny.arc.batches import encode, stream
from examples.tiny.arc.build import SMOKE, Feed, Recipe, build, main
from examples.tiny.arc.documents import EVERYTHING, Library, Part, task_document
from examples.tiny.arc.edits import EPOCHS, make_edit
from examples.tiny.arc.probes import EXAMS
from examples.tiny.arc.tasks import make_tasks
from examples.tiny.arc.tokenizer import ASSISTANT, END, build_tokenizer
from examples.tiny.batches import IGNORED, pad
from stages.domains.arc.prompts import answer_text, make_edit_prompt, make_example, make_task_prompt
from stages.domains.arc.self_edit import MAX_LEARNING_RATE, MIN_LEARNING_RATE, parse_edit
from stages.domains.arc.training_set import Puzzle
from stages.engines.hf import HFEngine
from stages.errors import BadEdit
from stages.interfaces import Request
from stages.models.device import Device
from stages.settings import Sampling
from stages.tokens.tokenization import encode_example, encode_prompt

ARC = Path(__file__).parents[2] / "examples" / "tiny" / "arc"
MODEL = ARC / "model"


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def tokenizer() -> PreTrainedTokenizerFast:
    return build_tokenizer()


@pytest.fixture(scope="module")
def smoke_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("smoke") / "model"
    build(SMOKE, out)
    return out


def documents(count: int) -> list[str]:
    library = Library(random.Random(0), EVERYTHING)
    return ["".join(part.text for part in library.draw()) for _ in range(count)]


# ---- tokenizer


def test_text_survives_the_tokenizer(tokenizer: PreTrainedTokenizerFast) -> None:
    for text in ("Free text — 漢字 🦦\n\n", '{"a": 1.5e-07}', *documents(30)):
        assert tokenizer.decode(tokenizer.encode(text)) == text


def test_a_pair_of_small_grids_is_twenty_tokens(tokenizer: PreTrainedTokenizerFast) -> None:
    task = next(iter(make_tasks("train").values()))
    lengths = [
        len(encode_prompt(tokenizer, make_task_prompt(task.demonstrations[:count], task.tests[0].input)))
        for count in (2, 3)
    ]
    assert lengths[1] - lengths[0] == 21  # and the end of the line
    assert len(tokenizer.encode(answer_text(task.tests[0].output))) == 10


def test_a_puzzle_of_pretraining_is_the_products_prompt_and_answer(tokenizer: PreTrainedTokenizerFast) -> None:
    """The same ids, whether a document is encoded part by part or the product renders its chat."""
    for task in make_tasks("train").values():
        ids, _ = encode(tokenizer, task_document(task, whole=False))
        row = make_example(Puzzle(task.demonstrations, task.tests[0]), whole=False)
        assert tuple(ids) == encode_example(tokenizer, row, end=True).ids


def test_a_self_edit_of_pretraining_follows_the_products_prompt(tokenizer: PreTrainedTokenizerFast) -> None:
    library = Library(random.Random(3), EVERYTHING)
    ids, targets = encode(tokenizer, library.edit())
    prompt = encode_prompt(tokenizer, make_edit_prompt(Library(random.Random(3), EVERYTHING).task().demonstrations))
    assert ids[: len(prompt)] == prompt
    assert targets == [IGNORED] * len(prompt) + ids[len(prompt) :]
    assert ids[-1] == tokenizer.eos_token_id == 0


def test_the_chat_template_marks_each_turn_and_changes_nothing(tokenizer: PreTrainedTokenizerFast) -> None:
    turns = [{"role": "system", "content": " a\n"}, {"role": "user", "content": "b -> "}]
    prompt = tokenizer.apply_chat_template(turns, add_generation_prompt=True, tokenize=False)
    assert prompt == f"<|system|> a\n{END}<|user|>b -> {END}{ASSISTANT}"
    whole = tokenizer.apply_chat_template([*turns, {"role": "assistant", "content": "c"}], tokenize=False)
    assert whole == prompt + f"c{END}"


# ---- batches


def test_targets_lie_on_counted_parts_only_and_pads_carry_none(tokenizer: PreTrainedTokenizerFast) -> None:
    parts = [Part("Input:\n", False), Part("2 0", True), Part("\n\n", False)]
    batch = pad([encode(tokenizer, parts), encode(tokenizer, [Part("1" * 9, True)])])
    assert [tokenizer.decode(row[row != IGNORED]) for row in batch.targets] == ["2 0", "1" * 9]


def test_batches_hold_every_document_once_and_keep_to_their_size(tokenizer: PreTrainedTokenizerFast) -> None:
    numbers = iter(range(1000))
    read: list[str] = []
    batches = stream(lambda: [Part(f"n{next(numbers)}", True)], 40, tokenizer, random.Random(0))
    while len(read) < 256:
        batch = next(batches)
        assert batch.tokens <= 40
        read += [tokenizer.decode(row[row != IGNORED]) for row in batch.targets]
    assert sorted(read) == sorted(f"n{number}" for number in range(256))


# ---- self-edits


def test_self_edits_vary_and_most_can_be_read() -> None:
    rng = random.Random(0)
    chosen, bad = [], 0
    for _ in range(1000):
        try:
            chosen.append(parse_edit(make_edit(rng)))
        except BadEdit:
            bad += 1
    assert 10 <= bad <= 60
    assert {edit.epochs for edit in chosen} == set(EPOCHS)
    assert all(MIN_LEARNING_RATE < edit.learning_rate < MAX_LEARNING_RATE for edit in chosen)
    assert len({edit.learning_rate for edit in chosen}) == 16
    assert len({edit.tools for edit in chosen}) == 16
    assert Counter(edit.strategy for edit in chosen).most_common()[-1][1] > 400
    assert any(edit.repairs for edit in chosen)


# ---- the builder


def test_a_smoke_build_goes_through_all_stages_and_reports(smoke_model: Path) -> None:
    report = json.loads((smoke_model / "build.json").read_text())
    assert report["recipe"]["steps"] == report["result"]["step"] == SMOKE.steps
    assert report["result"]["stage"] == 2
    assert report["result"]["loss"] < 6
    assert set(report["result"]["probes"]) == set(EXAMS)


def test_a_stage_opens_when_its_probe_is_high_enough(tokenizer: PreTrainedTokenizerFast) -> None:
    feed = Feed(Recipe(), tokenizer)
    for probes, stage in (({"stay": 0.4, "moves": 1.0}, 0), ({"stay": 0.9, "moves": 0.0}, 1), ({"moves": 0.9}, 2)):
        feed.open(probes)
        assert feed.stage == stage


def test_auto_classes_load_what_was_built(smoke_model: Path, tokenizer: PreTrainedTokenizerFast) -> None:
    loaded = AutoTokenizer.from_pretrained(smoke_model)
    assert loaded.chat_template == tokenizer.chat_template
    for text in documents(30):
        assert loaded.encode(text) == tokenizer.encode(text)
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


# ---- what ships


def test_the_shipped_model_carries_no_paths_and_only_known_files() -> None:
    known = {"config.json", "generation_config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"}
    assert {file.name for file in MODEL.iterdir()} == known | {"build.json", "chat_template.jinja"}
    assert not [file.name for file in MODEL.glob("*.json") if re.search(r'": "/', file.read_text())]
    assert (MODEL / "model.safetensors").stat().st_size < 4.5e6


def test_the_shipped_tokenizer_is_the_one_that_the_builder_makes(tokenizer: PreTrainedTokenizerFast) -> None:
    shipped = AutoTokenizer.from_pretrained(MODEL)
    assert shipped.get_vocab() == tokenizer.get_vocab()
    assert shipped.chat_template == tokenizer.chat_template


def test_the_shipped_model_was_built_by_this_recipe() -> None:
    built = json.loads((MODEL / "build.json").read_text())["recipe"]
    assert built == json.loads(json.dumps(asdict(Recipe())))


def test_the_shipped_model_writes_self_edits_that_can_mostly_be_read_and_vary() -> None:
    engine = HFEngine(str(MODEL), device=Device("cpu", "float32"))
    tasks = list(make_tasks("heldout").values())[:40]
    requests = [
        Request(str(place), make_edit_prompt(task.demonstrations), Sampling(1.0, 1.0, 100, place))
        for place, task in enumerate(tasks)
    ]
    texts = [completion.text for completion in engine.sample(requests) if completion.finish == "stop"]
    read = []
    for text in texts:
        try:
            read.append(parse_edit(text))
        except BadEdit:
            continue
    assert len(read) > 0.8 * len(tasks)
    assert len({edit.learning_rate for edit in read}) > 8
    assert len({edit.tools for edit in read}) > 4


def test_the_human_designed_self_edit_is_one() -> None:
    assert not parse_edit((ARC / "oracle.json").read_text()).repairs
