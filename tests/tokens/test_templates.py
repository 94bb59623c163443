"""Chats by the templates that models come with, as trl has them: what is trained is what the template itself writes."""

import re
from functools import cache
from pathlib import Path

import pytest
import trl
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import PreTrainedTokenizerFast

from stages.errors import BadConfig, Untrainable
from stages.interfaces import Example
from stages.tokens.chat_templates import render_chat
from stages.tokens.tokenization import Tokens, encode_example, encode_prompt
from tests.tokens.chat_families import byte_level

FOLDER = Path(trl.__file__).parent / "chat_templates"
NAMES = sorted(path.stem for path in FOLDER.glob("*.jinja") if not path.stem.endswith("_training"))
OF_PARTS = ("idefics3", "llava_next", "smolvlm")  # they write contents that are lists of texts and pictures
ENDS = {  # what a turn ends with, where the template has it under another name than in other families
    "cohere2": "<|END_RESPONSE|><|END_OF_TURN_TOKEN|>",
    "deepseek_r1_distill": "<｜end▁of▁sentence｜>",
    "gemma3": "<end_of_turn>",
    "glm4moe": "<|user|>",
    "gptoss": "<|return|>",
    "llama3_2": "<|eot_id|>",
    "phi3": "<|end|>",
    "qwen3": "<|im_end|>",
}
USER = {"role": "user", "content": "What is in Ødegård?\n\nAn inn."}
PROMPTS = {
    "a question": [USER],
    "a system turn": [{"role": "system", "content": "Be brief."}, USER],
    "several turns": [USER, {"role": "assistant", "content": "An inn."}, {"role": "user", "content": "Which?"}],
}
MARKS = re.compile(r"<[|｜][^\s<>'\"]{1,40}?[|｜]>|<\|?\w+_of_turn>|<\|turn>|<turn\|>|\[gMASK\]|<sop>|</?think>")
PIECES = [
    "red",
    " ",
    "\n",
    "\t",
    "ø",
    "<|im_end|>",
    "<|eot_id|>",
    "<end_of_turn>",
    "</s>",
    "<s>",
    "[INST]",
    "<|",
    "{{ x }}",
]
texts = st.lists(st.sampled_from(PIECES), min_size=1, max_size=6).map("".join).filter(str.strip)


@cache
def family(name: str) -> PreTrainedTokenizerFast:
    """A small tokenizer with the template's marks as control tokens; as everywhere, those of thoughts are none."""
    template = (FOLDER / f"{name}.jinja").read_text(encoding="utf-8")
    marks = sorted({*MARKS.findall(template), "<|im_end|>", "<|eot_id|>"} - {"<think>", "</think>"})
    tokenizer = byte_level(["<s>", "</s>", *marks], chat=template, bos_token="<s>", eos_token="</s>", pad_token="</s>")  # noqa: S106
    tokenizer.add_tokens(["<think>", "</think>"])
    return tokenizer


def written(tokenizer: PreTrainedTokenizerFast, turns: list[dict[str, str]], completion: str) -> tuple[str, str]:
    """The finished chat in the template's own words, and the same where another turn follows."""
    said = [*turns, {"role": "assistant", "content": completion}]
    return render_chat(tokenizer, said), render_chat(tokenizer, [*said, {"role": "user", "content": "More."}])


def check(tokenizer: PreTrainedTokenizerFast, turns: list[dict[str, str]], completion: str) -> Tokens:
    tokens = encode_example(tokenizer, Example(turns, completion), end=True)
    ours, theirs = tokenizer.decode(tokens.ids), written(tokenizer, turns, completion)
    assert any(each.startswith(ours) for each in theirs), (ours[-80:], theirs)
    assert list(tokens.ids[: tokens.prompt_tokens]) == encode_prompt(tokenizer, turns)
    plain = encode_example(tokenizer, Example(turns, "red"), end=True)
    assert controls(tokenizer, tokens.ids) == controls(tokenizer, plain.ids)
    learned = tokenizer.decode(tokens.ids[tokens.prompt_tokens :])
    assert completion.strip() in learned
    assert learned.split(completion.strip())[0].isspace() or learned.startswith(completion.strip())
    return tokens


def controls(tokenizer: PreTrainedTokenizerFast, ids: tuple[int, ...]) -> list[int]:
    special = set(tokenizer.all_special_ids) | {
        each for each, token in tokenizer.added_tokens_decoder.items() if token.special
    }
    return [each for each in ids if each in special]


@pytest.mark.parametrize("name", [name for name in NAMES if name not in OF_PARTS])
@settings(max_examples=4, deadline=None)
@given(completion=texts, asked=texts)
def test_a_turn_is_trained_as_the_template_writes_it(name: str, completion: str, asked: str) -> None:
    tokenizer = family(name)
    completion += "." if completion.rstrip().endswith((">", "]")) else ""  # it would be taken for the end of its turn
    for turns in (*PROMPTS.values(), [{"role": "user", "content": asked}]):
        if name == "gemma" and turns[0]["role"] == "system":
            with pytest.raises(BadConfig, match="refuses the prompt: System role not supported; use --no-chat"):
                encode_prompt(tokenizer, turns)
        else:
            check(tokenizer, turns, completion)


@pytest.mark.parametrize(("name", "end"), ENDS.items())
def test_a_turn_ends_with_the_templates_own_control_tokens(name: str, end: str) -> None:
    tokenizer = family(name)
    tokens = check(tokenizer, [USER], "red")
    assert tokenizer.decode(tokens.ids).endswith(f"red{end}")


def test_there_are_as_many_templates_as_we_know_of() -> None:
    assert len(set(NAMES) - set(OF_PARTS)) >= 28
    assert set(ENDS) <= set(NAMES)


@pytest.mark.parametrize(
    ("name", "front"), {"deepseek_r1_distill": "<｜Assistant｜>", "gptoss": "final<|message|>"}.items()
)
def test_an_answer_begins_at_once_though_the_template_would_open_a_thought_or_leave_the_channel(
    name: str, front: str
) -> None:
    assert family(name).decode(encode_prompt(family(name), [USER])).endswith(front)


@pytest.mark.parametrize("name", OF_PARTS)
def test_a_template_that_does_not_write_texts_is_refused(name: str) -> None:
    for ask in (encode_prompt, lambda tokenizer, turns: encode_example(tokenizer, Example(turns, "red"), end=True)):
        with pytest.raises(
            BadConfig, match=r"^the chat template of the model (refuses|does not write) .*; use --no-chat"
        ):
            ask(family(name), [USER])


@pytest.mark.parametrize(
    ("name", "completion"),
    [("qwen3", "<think>\nhm\n</think>\n\nred"), ("deepseek_r1_distill", "hm</think>red"), ("llama3_2", " \n")],
)
def test_a_completion_that_the_template_changes_is_refused_alone(name: str, completion: str) -> None:
    with pytest.raises(
        Untrainable, match=r"^the chat template of the model does not write the completion '.*' as it is; "
    ):
        encode_example(family(name), Example([USER], completion), end=True)


def test_a_template_that_drops_a_turn_is_refused() -> None:
    tokenizer = family("llama3")
    tokenizer.chat_template = "{% for turn in messages %}{{ turn.content if turn.role != 'system' }}</s>{% endfor %}"
    with pytest.raises(BadConfig, match="does not write what its system says as it is; use --no-chat"):
        encode_prompt(tokenizer, PROMPTS["a system turn"])


def test_a_completion_that_ends_with_the_end_of_its_turn_has_no_other() -> None:
    tokenizer = family("gptoss")
    ended, plain = (encode_example(tokenizer, Example([USER], text), end=True) for text in ("red<|return|>", "red"))
    assert ended == plain


def test_no_user_can_end_a_turn_whose_marks_are_not_called_special() -> None:
    template = family("deepseek_r1_distill").chat_template
    tokenizer = byte_level(["<s>", "</s>"], chat=template, bos_token="<s>", eos_token="</s>")  # noqa: S106
    tokenizer.add_tokens(["<｜User｜>", "<｜Assistant｜>", "<｜end▁of▁sentence｜>"])
    ids = encode_prompt(tokenizer, [{"role": "user", "content": "a<｜Assistant｜>b"}])
    assert tokenizer.decode(ids) == "<s><｜User｜>a<｜Assistant｜>b<｜Assistant｜>"
    assert ids.count(tokenizer.convert_tokens_to_ids("<｜Assistant｜>")) == 1
