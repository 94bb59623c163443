"""Prompts and examples as token ids: where the loss is, and where special tokens are."""

from pathlib import Path

import pytest
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from stages.errors import BadConfig, Untrainable
from stages.interfaces import Example, TrainingSet
from stages.models.device import Device
from stages.models.loading import load_model, load_tokenizer
from stages.settings import FitConfig
from stages.tokens.tokenization import Tokens, encode_example, encode_prompt, encode_training_set, get_stop_ids
from tests.conftest import END, make_tokenizer

MESSAGES = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Who?"}]


def taught(tokenizer: PreTrainedTokenizerFast, tokens: Tokens) -> str:
    """The text of the tokens that carry loss."""
    return tokenizer.decode([label for label in tokens.labels if label != -100])


def test_loss_is_on_the_completion_and_the_end_token_after_a_text_prompt() -> None:
    tokenizer = make_tokenizer()
    tokens = encode_example(tokenizer, Example("Question:\n", " the answer…\n"), end=True)
    assert taught(tokenizer, tokens) == " the answer…\n" + END
    assert tokenizer.decode(tokens.ids) == "Question:\n the answer…\n" + END
    assert len(tokens.labels) == len(tokens.ids)


def test_loss_is_on_the_completion_and_the_end_token_after_a_chat_prompt(chat_dir: Path) -> None:
    tokenizer = load_tokenizer(str(chat_dir))
    tokens = encode_example(tokenizer, Example(MESSAGES, "It was Ada."), end=True)
    assert taught(tokenizer, tokens) == "It was Ada." + END
    assert tokenizer.decode(tokens.ids) == tokenizer.apply_chat_template(
        [*MESSAGES, {"role": "assistant", "content": "It was Ada."}], tokenize=False
    ).removesuffix("\n")


def test_loss_is_on_every_token_where_the_prompt_is_empty() -> None:
    tokenizer = make_tokenizer()
    tokens = encode_example(tokenizer, Example("", "The inn\nis red."), end=True)
    assert taught(tokenizer, tokens) == "The inn\nis red." + END
    assert tokens.prompt_tokens == 0


def test_without_the_end_token_there_is_one_target_less() -> None:
    tokenizer = make_tokenizer()
    with_end = encode_example(tokenizer, Example("a", "bc"), end=True)
    without = encode_example(tokenizer, Example("a", "bc"), end=False)
    assert with_end.ids == (*without.ids, tokenizer.eos_token_id)
    assert taught(tokenizer, without) == "bc"


@pytest.mark.parametrize("prompt", ["", "Question: "])
def test_a_start_token_comes_once_and_first(starting_tokenizer: PreTrainedTokenizerFast, prompt: str) -> None:
    tokens = encode_example(starting_tokenizer, Example(prompt, "red"), end=True)
    assert starting_tokenizer.decode(tokens.ids) == f"<|im_start|>{prompt}red{END}"


@pytest.mark.parametrize("prompt", ["", "Question: "])
def test_an_end_token_that_the_tokenizer_adds_itself_is_not_doubled(
    ending_tokenizer: PreTrainedTokenizerFast, prompt: str
) -> None:
    tokens = encode_example(ending_tokenizer, Example(prompt, "red"), end=True)
    assert ending_tokenizer.decode(tokens.ids) == f"{prompt}red{END}"
    assert ending_tokenizer.decode(encode_prompt(ending_tokenizer, "Question: ")) == "Question: "


def test_a_chat_prompt_is_rendered_up_to_the_assistants_turn(chat_dir: Path) -> None:
    tokenizer = load_tokenizer(str(chat_dir))
    assert tokenizer.decode(encode_prompt(tokenizer, MESSAGES)) == (
        f"<|im_start|>system\nBe brief.{END}\n<|im_start|>user\nWho?{END}\n<|im_start|>assistant\n"
    )


def test_a_chat_prompt_without_a_chat_template_names_the_way_out(model_dir: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(model_dir)
    with pytest.raises(BadConfig, match="has no chat template; use --no-chat"):
        encode_prompt(tokenizer, MESSAGES)


@pytest.mark.parametrize(("declared", "ends"), [(None, {0}), (7, {0, 7}), ([7, 8], {0, 7, 8})])
def test_a_model_stops_at_its_tokenizers_end_token_and_at_its_own(
    model_dir: Path, declared: int | list[int] | None, ends: set[int]
) -> None:
    network = load_model(str(model_dir), Device("cpu", "float32"))
    network.generation_config.eos_token_id = declared
    assert get_stop_ids(make_tokenizer(), network) == ends


@pytest.mark.parametrize(
    ("template", "words"),
    [
        ("{{ raise_exception('no system turns') }}", "no system turns"),
        ("{% macro f(x) %}{{ f(x) }}{% endmacro %}{{ f(1) }}", "maximum recursion depth exceeded"),
        ({"rag": "a", "tools": "b"}, "This model has multiple chat templates with no default"),
        ("{% if %}", "Expected an expression"),
        ("{{ 1 / 0 }}", "division by zero"),
        ("{{ messages[0].content + 1 }}", "can only concatenate str"),
        ("{{ ''.__class__.__mro__ }}", "access to attribute '__class__' of 'str' object is unsafe"),
    ],
)
def test_a_chat_template_that_fails_is_said_plainly_and_costs_a_plain_text_nothing(
    template: object, words: str
) -> None:
    tokenizer = make_tokenizer()
    tokenizer.chat_template = template
    with pytest.raises(BadConfig, match=f"refuses the prompt: {words}.*; use --no-chat, or other turns"):
        encode_prompt(tokenizer, [{"role": "system", "content": "x"}])
    assert encode_prompt(tokenizer, "x") == encode_prompt(make_tokenizer(), "x")


def test_a_sequence_longer_than_the_models_context_is_refused(model_dir: Path) -> None:
    tokenizer, network = load_tokenizer(str(model_dir)), load_model(str(model_dir), Device("cpu"))
    long = TrainingSet((Example("", "short"), Example("", "passage " * 600)))
    with pytest.raises(Untrainable, match=r"longer than the model's context of 512; split the passage"):
        encode_training_set(tokenizer, network, long, FitConfig())


@pytest.mark.parametrize("example", [Example("", ""), Example("", "a"), Example("a b", "")])
def test_a_set_in_which_no_token_is_learned_is_refused_and_not_called_trained(
    model_dir: Path, example: Example
) -> None:
    tokenizer, network = load_tokenizer(str(model_dir)), load_model(str(model_dir), Device("cpu"))
    with pytest.raises(Untrainable, match="there are no tokens to train on"):
        encode_training_set(tokenizer, network, TrainingSet((example,)), FitConfig(pad_mode="none"))
    other = TrainingSet((example, Example("a b", "c d")) if example.completion else (Example("a", "c d"),))
    assert encode_training_set(tokenizer, network, other, FitConfig(pad_mode="none"))
