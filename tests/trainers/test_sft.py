"""The outer update: against independent loops, for where its loss is, and for what it writes."""

import json
import os
import shutil
from collections.abc import Callable
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from datasets import Dataset
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer
from trl import SFTConfig, SFTTrainer

from stages import filter as filter_stage
from stages.errors import BadConfig, NoSpace
from stages.interfaces import Example
from stages.models.device import Device
from stages.models.loading import load_model, load_tokenizer
from stages.records.jsonl import to_json
from stages.records.record import Message
from stages.records.schema import Checkpoint
from stages.settings import SftConfig
from stages.sources.training_pairs import read_pair
from stages.tokens.tokenization import encode_example
from stages.trainers.model_files import check_saving, get_shared_weights
from stages.trainers.sft import SupervisedTrainer
from tests.conftest import END, files_of_at_most, make_tokenizer
from tests.invented import Notes, a_line, numbered
from tests.models.architectures import make_architecture
from tests.models.broken import edit
from tests.tiny_models import make_llama

FLOAT32 = Device("cpu", "float32")
LORA = SftConfig(rank=2, alpha=8.0, targets=("q_proj", "down_proj"), learning_rate=1e-2, epochs=3, batch_size=2)
FULL = SftConfig(full=True, learning_rate=1e-3, epochs=3, batch_size=2)
WILD = replace(LORA, learning_rate=1e30, targets=("q_proj", "k_proj"))
EXAMPLES = [
    Example("Passage: The inn is red.\nImplications:\n", "The inn has a colour."),
    Example("Passage:\n", "It is old, and nobody has painted it for years."),
    Example("Passage: Who painted it? It was Ada, in spring.\n", "Ada paints."),
    Example("P", "a"),
]
Weights = dict[str, torch.Tensor]
Loss = Callable[[Any, Any], torch.Tensor]


def tune(model: Path, out: Path, config: SftConfig, examples: list[Example] = EXAMPLES) -> Checkpoint:
    return SupervisedTrainer(str(model), device=FLOAT32).finetune(examples, config, out)


def weights_of(folder: Path) -> Weights:
    return load_file(folder / "model.safetensors")


def distance(first: Weights, second: Weights) -> float:
    assert first.keys() == second.keys()
    return max(float((first[name] - second[name]).abs().max()) for name in first)


# ---- the same training written down a second time


def plain_loop(
    folder: Path, config: SftConfig, compute_loss: Loss, dtype: torch.dtype = torch.float32
) -> tuple[Weights, list[float]]:
    """One step an epoch; a LoRA is merged by hand. The loss is told the network that was there before."""
    torch.manual_seed(config.seed)
    network: Any = AutoModelForCausalLM.from_pretrained(folder, dtype=dtype)
    before, student = deepcopy(network), network
    if not config.full:
        settings = LoraConfig(r=config.rank, lora_alpha=config.alpha, target_modules=list(config.targets))
        student = get_peft_model(network, settings)
    trained = [weight for weight in student.parameters() if weight.requires_grad]
    optimizer, losses = torch.optim.AdamW(trained, weight_decay=0.0), []
    for step in range(config.epochs):
        loss = compute_loss(student, before)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(trained, config.max_grad_norm)
        optimizer.param_groups[0]["lr"] = config.learning_rate * (1 - step / config.epochs)
        optimizer.step()
        losses.append(loss.item())
    return merged(student, config) if not config.full else dict(network.state_dict()), losses


def completion_loss(student: Any, example: Example) -> torch.Tensor:
    tokenizer = make_tokenizer()
    prompt, text = (tokenizer(part)["input_ids"] for part in (str(example.prompt), example.completion + END))
    chances = student(input_ids=torch.tensor([prompt + text])).logits[0].log_softmax(-1)
    return -chances[range(len(prompt) - 1, len(prompt) + len(text) - 1), text].mean()


def merged(student: Any, config: SftConfig) -> Weights:
    """Every weight of the base; alpha/rank · B A is added where there is an adapter."""
    state = {name.removeprefix("base_model.model."): weight.detach() for name, weight in student.state_dict().items()}
    found = {name.replace(".base_layer", ""): weight for name, weight in state.items() if ".lora_" not in name}
    for name in list(found):
        stem = name.removesuffix(".weight")
        if f"{stem}.lora_A.default.weight" in state:
            a, b = state[f"{stem}.lora_A.default.weight"], state[f"{stem}.lora_B.default.weight"]
            found[name] = found[name] + config.alpha / config.rank * b @ a
    return found


@pytest.mark.parametrize("config", [LORA, FULL], ids=["lora", "full"])
def test_training_on_one_example_equals_an_independent_loop(model_dir: Path, tmp_path: Path, config: SftConfig) -> None:
    checkpoint = tune(model_dir, tmp_path / "tuned", replace(config, batch_size=1), EXAMPLES[:1])
    expected, losses = plain_loop(model_dir, config, lambda student, before: completion_loss(student, EXAMPLES[0]))
    assert distance(weights_of(tmp_path / "tuned"), expected) < 2e-6
    assert (checkpoint.loss_first, checkpoint.loss_last) == pytest.approx((losses[0], losses[-1]), abs=1e-3)
    assert checkpoint.steps == len(losses)


# ---- what is trained


def test_a_lora_changes_its_targets_alone_and_by_no_more_than_its_rank(model_dir: Path, tmp_path: Path) -> None:
    tune(model_dir, tmp_path / "tuned", LORA)
    before, after = weights_of(model_dir), weights_of(tmp_path / "tuned")
    assert after.keys() == before.keys()
    for name in before:
        if any(f".{target}." in name for target in LORA.targets):
            assert int(torch.linalg.matrix_rank((after[name] - before[name]).double(), atol=1e-5)) == LORA.rank
        else:
            assert torch.equal(after[name], before[name])


def test_a_full_training_changes_every_weight(model_dir: Path, tmp_path: Path) -> None:
    tune(model_dir, tmp_path / "tuned", FULL)
    before, after = weights_of(model_dir), weights_of(tmp_path / "tuned")
    assert all(not torch.equal(after[name], before[name]) for name in before)


def test_the_prompt_carries_no_loss(model_dir: Path, tmp_path: Path) -> None:
    example = EXAMPLES[1]
    checkpoint = tune(model_dir, tmp_path / "tuned", replace(FULL, epochs=1, batch_size=1), [example])
    network = AutoModelForCausalLM.from_pretrained(model_dir, dtype=torch.float32)
    everything = Example("P", str(example.prompt)[1:] + example.completion)
    assert checkpoint.loss_first == pytest.approx(completion_loss(network, example).item(), abs=1e-3)
    assert checkpoint.loss_first != pytest.approx(completion_loss(network, everything).item(), abs=1e-2)


def test_the_size_of_a_forward_pass_does_not_change_the_training(model_dir: Path, tmp_path: Path) -> None:
    sizes = {micro: replace(LORA, batch_size=4, micro_batch=micro) for micro in (1, 2, 4)}
    for micro, config in sizes.items():
        tune(model_dir, tmp_path / str(micro), config)
    one = weights_of(tmp_path / "1")
    assert distance(weights_of(model_dir), one) > 1e-3
    assert distance(one, weights_of(tmp_path / "2")) < 2e-5
    assert distance(one, weights_of(tmp_path / "4")) < 2e-5


def test_the_same_seed_gives_the_same_bytes_and_another_seed_others(model_dir: Path, tmp_path: Path) -> None:
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        torch.manual_seed(ord(name))  # the state that it starts from plays no part
        tune(model_dir, tmp_path / name, replace(LORA, seed=seed))
    a, b, c = ((tmp_path / name / "model.safetensors").read_bytes() for name in "abc")
    assert a == b
    assert a != c


def test_a_chat_model_learns_from_chat_prompts(chat_dir: Path, tmp_path: Path) -> None:
    messages = [{"role": "user", "content": "Who?"}]
    checkpoint = tune(chat_dir, tmp_path / "tuned", replace(LORA, epochs=8), [Example(messages, "Ada.")])
    assert checkpoint.loss_last < checkpoint.loss_first
    assert AutoTokenizer.from_pretrained(tmp_path / "tuned").chat_template


@pytest.mark.parametrize(
    ("line", "shown", "learned"),
    [
        ({"prompt": "Q: Who?\nA:", "completion": " Ada."}, f"Q: Who?\nA: Ada.{END}", [f" Ada.{END}"]),
        ({"prompt": "P", "completion": f"Ada.{END}"}, f"PAda.{END}", [f"Ada.{END}"]),
        ({"prompt": "", "completion": "Ada."}, f"Ada.{END}", [f"Ada.{END}"]),
        (
            {"messages": [{"role": "user", "content": "Who?"}, {"role": "assistant", "content": "Ada."}]},
            f"<|im_start|>user\nWho?{END}\n<|im_start|>assistant\nAda.{END}",
            [f"Ada.{END}"],
        ),
        (
            {
                "prompt": [{"role": "system", "content": "S"}, {"role": "user", "content": "A?"}],
                "completion": [
                    {"role": "assistant", "content": "a"},
                    {"role": "user", "content": "B?"},
                    {"role": "assistant", "content": "b"},
                ],
            },
            f"<|im_start|>system\nS{END}\n<|im_start|>user\nA?{END}\n<|im_start|>assistant\na{END}\n"
            f"<|im_start|>user\nB?{END}\n<|im_start|>assistant\nb{END}",
            [f"a{END}", f"b{END}"],
        ),
    ],
    ids=["text", "ended already", "no prompt", "messages", "two turns"],
)
def test_lines_of_others_are_learned_on_their_completions_alone(
    chat_dir: Path, line: dict[str, Any], shown: str, learned: list[str]
) -> None:
    tokenizer = load_tokenizer(str(chat_dir))
    tokens = [encode_example(tokenizer, example, end=True) for example in read_pair(line).examples]
    assert tokenizer.decode(tokens[-1].ids) == shown
    assert [tokenizer.decode([label for label in each.labels if label >= 0]) for each in tokens] == learned


@pytest.mark.parametrize("prompt", ["Read about Ødegård.\n", (Message(role="user", content="Read about Ødegård."),)])
def test_trl_itself_takes_the_lines_of_filter_and_learns_the_same(
    chat_dir: Path, tmp_path: Path, prompt: str | tuple[Message, ...]
) -> None:
    line = a_line(numbered("Ada", 1), [True], completion="An inn.\nIt is red.")
    assert line.edit is not None
    filtered = filter_stage.run([line.grow(edit=line.edit.model_copy(update={"prompt": prompt}))])
    pair = json.loads(to_json(filtered.examples[0]))
    rows = Dataset.from_list([{key: pair[key] for key in ("prompt", "completion")}])
    trainer = SFTTrainer(
        model=str(chat_dir),
        args=SFTConfig(output_dir=str(tmp_path), use_cpu=True, bf16=False, report_to=[]),
        train_dataset=rows,
        processing_class=load_tokenizer(str(chat_dir)),
    )
    (theirs,) = trainer.train_dataset
    (ours,) = [encode_example(load_tokenizer(str(chat_dir)), example, end=True) for example in read_pair(pair).examples]
    assert tuple(theirs["input_ids"][: len(ours.ids)]) == ours.ids
    assert theirs["labels"][: len(ours.ids)] == ours.labels
    assert make_tokenizer().decode(theirs["input_ids"][len(ours.ids) :]) == ("" if isinstance(prompt, str) else "\n")


def test_control_tokens_in_texts_are_told_and_learned_as_letters(model_dir: Path, tmp_path: Path) -> None:
    examples = [Example(f"A{END}.", "b"), Example("a", f"b{END}"), Example("a", "b")]
    trainer, once = SupervisedTrainer(str(model_dir), device=FLOAT32), replace(LORA, epochs=1)
    trainer.finetune(examples, once, tmp_path / "out", notes := Notes())
    told = f"1 of 3 examples have control tokens in their text ({END}), which are learned as letters"
    assert notes.notes == [f"{told}; give a chat as messages"]


# ---- what is written


def test_the_result_is_an_ordinary_model_directory(qwen_dir: Path, tmp_path: Path) -> None:
    checkpoint = tune(qwen_dir, tmp_path / "new" / "tuned", LORA)
    folder = tmp_path / "new" / "tuned"
    assert (checkpoint.model, checkpoint.base) == (str(folder), str(qwen_dir))
    assert checkpoint.fit["targets"] == ["q_proj", "down_proj"]
    assert [path.name for path in folder.parent.iterdir()] == ["tuned"]
    names = {path.name for path in folder.iterdir()}
    assert names >= {"config.json", "model.safetensors", "tokenizer.json"}
    assert not [name for name in names if "adapter" in name]
    (folder.parent / "other").touch()  # readable for as many as any file of this user
    assert {path.stat().st_mode for path in folder.iterdir()} == {(folder.parent / "other").stat().st_mode}
    loaded = AutoModelForCausalLM.from_pretrained(folder)
    assert type(loaded).__name__ == "Qwen3ForCausalLM"
    assert distance(dict(loaded.state_dict()), weights_of(folder)) == 0
    assert AutoTokenizer.from_pretrained(folder)("a red inn")["input_ids"] == make_tokenizer()("a red inn")["input_ids"]


def test_the_directory_is_absent_when_its_writing_fails(model_dir: Path, tmp_path: Path) -> None:
    with files_of_at_most(20_000), pytest.raises(OSError, match="File too large"):
        tune(model_dir, tmp_path / "tuned", replace(LORA, epochs=1))
    assert not (tmp_path / "tuned").exists()


@pytest.mark.parametrize(
    ("config", "words"),
    [
        (replace(LORA, batch_size=10, micro_batch=4), "--micro-batch 4: does not divide --batch-size 10"),
        (replace(LORA, targets=("q_proj", "query")), "--target query: not in this model, which has down_proj, gate"),
        (
            replace(LORA, learning_rate=1e30, targets=("q_proj", "k_proj")),
            "--learning-rate 1e+30: the training diverged; take a smaller one",
        ),
    ],
)
def test_settings_that_cannot_work_are_named_and_nothing_is_written(
    model_dir: Path, tmp_path: Path, config: SftConfig, words: str
) -> None:
    with pytest.raises(BadConfig) as caught:
        tune(model_dir, tmp_path / "tuned", config)
    assert str(caught.value).startswith(words)
    assert not list(tmp_path.iterdir())


# ---- what would fail at the end fails at the start


@pytest.fixture
def untrainable(monkeypatch: pytest.MonkeyPatch) -> None:
    """A training that begins fails the test."""

    def train(*arguments: object) -> None:
        raise AssertionError("was trained")

    monkeypatch.setattr(SupervisedTrainer, "_train", train)


def test_settings_that_sample_without_saying_so_are_mended_and_told(model_dir: Path, tmp_path: Path) -> None:
    model, progress = Path(shutil.copytree(model_dir, tmp_path / "model")), Notes()
    edit(model / "generation_config.json", temperature=0.6, top_p=0.9, pad_token_id=-1)
    config = replace(LORA, epochs=1)
    SupervisedTrainer(str(model), device=FLOAT32).finetune(EXAMPLES[-1:], config, tmp_path / "out", progress)
    written = json.loads((tmp_path / "out" / "generation_config.json").read_text())
    assert (written["temperature"], written["top_p"], written["do_sample"]) == (0.6, 0.9, True)
    assert written["pad_token_id"] >= 0
    assert [note.partition(":")[0] for note in progress.notes] == [
        "generation_config.json has a negative pad_token_id",
        "generation_config.json says how to sample but not do_sample",
    ]
    tune(tmp_path / "out", tmp_path / "next", config, EXAMPLES[-1:])


@pytest.mark.usefixtures("untrainable")
def test_settings_that_cannot_be_saved_again_are_refused_before_the_training(model_dir: Path, tmp_path: Path) -> None:
    model = Path(shutil.copytree(model_dir, tmp_path / "model"))
    edit(model / "generation_config.json", early_stopping=True)
    with pytest.raises(BadConfig, match=r"generation_config\.json cannot be saved again: `early_stopping`: .* mend it"):
        tune(model, tmp_path / "out", LORA)


@pytest.mark.usefixtures("untrainable")
@pytest.mark.parametrize("owner", ["transformers.PreTrainedModel", "transformers.PreTrainedTokenizerFast"])
def test_what_a_library_cannot_save_is_not_trained(
    model_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, owner: str
) -> None:
    def refuse(*arguments: object, **named: object) -> None:
        raise RuntimeError("some tensors share memory")

    trainer = SupervisedTrainer(str(model_dir), device=FLOAT32)
    monkeypatch.setattr(f"{owner}.save_pretrained", refuse)
    with pytest.raises(BadConfig, match="cannot be saved, and so is not trained: some tensors share memory"):
        trainer.finetune(EXAMPLES, LORA, tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("untrainable")
def test_a_disk_that_could_not_hold_the_model_is_known_before_the_training(
    model_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=50_000))
    with pytest.raises(NoSpace, match=r"the model's weights need 0\.\d MB and 0\.1 MB are free"):
        tune(model_dir, tmp_path / "out", LORA)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("untrainable")
def test_a_folder_that_cannot_be_written_to_is_known_before_the_training(
    model_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    with pytest.raises(PermissionError, match="cannot be written to"):
        tune(model_dir, tmp_path / "out", LORA)


def test_weights_in_one_place_are_tried_and_little_is_written(tmp_path: Path) -> None:
    network = load_model(str(make_llama(tmp_path / "tied", tie_word_embeddings=True)), FLOAT32)
    shared = get_shared_weights(network)
    assert shared.keys() == {"model.embed_tokens.weight", "lm_head.weight"}
    assert all(weight.shape == (1, 32) for weight in shared.values())
    network.model.layers[0].mlp.gate_proj.weight = network.model.layers[1].mlp.gate_proj.weight
    tokenizer = load_tokenizer(str(tmp_path / "tied"))
    with pytest.raises(BadConfig, match="cannot be saved, and so is not trained: "):
        check_saving(network, tokenizer, tmp_path / "out", str(tmp_path / "tied"), 4)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(("kind", "why"), [("gemma", "the embeddings' weights"), ("llama", "trl trains no LoRA")])
def test_an_output_layer_has_no_lora(tmp_path: Path, kind: str, why: str) -> None:
    folder = str(make_architecture(kind, tmp_path / kind))
    config = replace(LORA, targets=("q_proj", "lm_head"))
    with pytest.raises(BadConfig, match=rf"--target lm_head: it .*{why}.*give --full"):
        SupervisedTrainer(folder, device=FLOAT32).finetune(EXAMPLES, config, tmp_path / "out")


@pytest.mark.parametrize("kind", ["mixtral", "gpt2"])
def test_a_model_of_another_kind_keeps_its_settings_and_is_loaded_again(tmp_path: Path, kind: str) -> None:
    """Of Mixtral trl would learn the balance of the experts, too, and leave that in the settings."""
    folder, out = make_architecture(kind, tmp_path / kind), tmp_path / "out"
    SupervisedTrainer(str(folder), device=FLOAT32).finetune(EXAMPLES, replace(LORA, targets=("all-linear",)), out)
    before, after = (json.loads((each / "config.json").read_text()) for each in (folder, out))
    keys = ("router_aux_loss_coef", "output_router_logits", "model_type", "architectures")
    assert [after.get(key) for key in keys] == [before.get(key) for key in keys]
    load_model(str(out), FLOAT32)


def test_a_loss_that_trl_does_not_know_is_refused_where_it_is_taken(tmp_path: Path) -> None:
    folder = str(make_architecture("llama4_text", tmp_path / "llama4"))
    trainer, lora = SupervisedTrainer(folder, device=FLOAT32), replace(LORA, targets=("q_proj",))
    for config, examples in ((FULL, EXAMPLES), (replace(lora, loss="dpo"), [replace(EXAMPLES[0], rejected="It.")])):
        with pytest.raises(BadConfig, match=r"trl cannot train this architecture .*; take another model"):
            trainer.finetune(examples, config, tmp_path / "out")
    trainer.finetune(EXAMPLES, lora, tmp_path / "out")
