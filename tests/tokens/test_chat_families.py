"""Chats as Llama 3 and Qwen write them, and texts for base models: which tokens are learned, to the letter."""

import json
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from stages.domains.arc.prompts import make_edit_prompt, make_example, make_task_prompt
from stages.domains.arc.training_set import Pair, Puzzle
from stages.domains.qa import QA
from stages.interfaces import Completion, Example
from stages.records.task import QaTask
from stages.records.thoughts import HARMONY, remove_thoughts
from stages.tokens.chat_templates import get_turn_end
from stages.tokens.tokenization import Tokens, decode_completion, encode_example, encode_prompt, get_stop_ids
from tests.tokens.chat_families import (
    ASSISTANT,
    BOS,
    EOT,
    FAMILIES,
    PAD,
    TEXT_END,
    Family,
    base_model,
    byte_level,
    llama_like,
    qwen_like,
)

EDIT = json.dumps({"data_generation": {"use_basic_augmentations": True}, "training": {"learning_rate": 1e-4}}, indent=2)
PASSAGE = QaTask(id="t", domain="qa", title="Inns", context="The inn at Ødegård\nis red.", questions=())


def grid(height: int, width: int, colour: int = 0) -> tuple[tuple[int, ...], ...]:
    return tuple(tuple((colour + row * column) % 10 for column in range(width)) for row in range(height))


def puzzle(*sides: int) -> Puzzle:
    """As many demonstrations as there are sides, less one; the last is asked."""
    pairs = [Pair(grid(side, side, 1), grid(side, 2 * side, 2)) for side in sides]
    return Puzzle(tuple(pairs[:-1]), pairs[-1])


EXAMPLES = {
    "self-edit": Example(make_edit_prompt(puzzle(2, 3, 4).pairs), EDIT),
    "no demonstration": make_example(puzzle(1), whole=False),
    "small grids": make_example(puzzle(1, 2, 3), whole=False),
    "large grids": make_example(puzzle(10, 12, 15), whole=False),
    "passage": Example(QA().edit_prompt(PASSAGE, "implications", chat=True), "The inn is red.\nØdegård has an inn."),
    "no system turn": Example(QA().edit_prompt(PASSAGE, "rewrite", chat=True), "An inn, red.\n\nAt Ødegård."),
}
BASES = {starts: base_model(starts=starts) for starts in (True, False)}
families = pytest.mark.parametrize("family", FAMILIES.values(), ids=FAMILIES)
examples = pytest.mark.parametrize("made", EXAMPLES.values(), ids=EXAMPLES)


def text(tokenizer: PreTrainedTokenizerFast, ids: object) -> str:
    return str(tokenizer.decode(ids, skip_special_tokens=False))


def whole(made: Example) -> Example:
    return Example(made.prompt, made.completion, loss_on_prompt=True)


def targets(tokens: Tokens) -> list[int]:
    """What the tokens must predict, in order."""
    return [target for _, _, target, _ in tokens.cells if target != -100]


def check(family: Family, made: Example) -> None:
    """Loss on the completion and its end, silence on the prompt that sampling has too, and nothing else."""
    tokens = encode_example(family.tokenizer, made, end=True)
    learned = [label for label in tokens.labels if label != -100]
    said = made.completion.strip() if family.trims else made.completion
    assert text(family.tokenizer, learned) == said + family.end
    assert targets(tokens) == learned
    assert tokens.weight == len(learned)
    assert text(family.tokenizer, tokens.ids[: tokens.prompt_tokens]) == family.written(made.prompt) + family.thought
    assert encode_prompt(family.tokenizer, made.prompt) == list(tokens.ids[: tokens.prompt_tokens])


# ---- chats


@families
@examples
def test_the_loss_is_on_the_completion_and_the_end_of_the_turn_alone(family: Family, made: Example) -> None:
    check(family, made)


@families
@settings(max_examples=25, deadline=None)
@given(st.data())
def test_the_loss_is_on_the_completion_alone_for_any_grids(family: Family, data: st.DataObject) -> None:
    side = st.integers(1, 8)
    pairs = [
        Pair(*(grid(data.draw(side), data.draw(side), data.draw(st.integers(0, 9))) for _ in range(2)))
        for _ in range(data.draw(st.integers(1, 4)))
    ]
    check(family, make_example(Puzzle(tuple(pairs[:-1]), pairs[-1]), whole=False))
    check(
        family, Example(make_edit_prompt(pairs), f" {data.draw(st.text(st.characters(codec='utf-8'), max_size=20))}.\n")
    )


@families
@examples
def test_a_whole_example_has_the_same_tokens_and_all_of_them_are_learned(family: Family, made: Example) -> None:
    tokens = encode_example(family.tokenizer, whole(made), end=True)
    assert tokens.ids == encode_example(family.tokenizer, made, end=True).ids
    assert tokens.labels == list(tokens.ids)
    assert targets(tokens) == list(tokens.ids[1:])  # nothing predicts the first


@families
@examples
def test_a_start_token_comes_once_and_only_where_the_family_has_one(family: Family, made: Example) -> None:
    found = text(family.tokenizer, encode_example(family.tokenizer, made, end=True).ids)
    assert found.count(BOS) == bool(family.bos)
    assert found.startswith(family.bos)


@families
@examples
def test_the_tokens_are_the_templates_own_of_the_finished_chat(family: Family, made: Example) -> None:
    """Up to the end of the assistant's turn: Qwen's has a line end behind it. A template that thinks puts an empty
    thought before a finished answer, which is then in the prompt.
    """
    finished = [*made.prompt, {"role": "assistant", "content": made.completion}]
    theirs = family.tokenizer.apply_chat_template(finished, return_dict=False, date_string="26 Jul 2024")
    tokens = encode_example(family.tokenizer, made, end=True)
    ours = list(tokens.ids)
    assert theirs[: len(ours)] == ours
    assert text(family.tokenizer, tokens.ids[: tokens.prompt_tokens]).endswith(family.thought)
    assert text(family.tokenizer, theirs[len(ours) :]) == ("" if family.bos else "\n")


def test_a_turn_is_learned_as_the_template_trims_it() -> None:
    tokenizer = llama_like()
    (_, user) = make_task_prompt([], grid(1, 1))
    front = text(tokenizer, encode_prompt(tokenizer, [user]))
    assert user["content"] == "[[0]] -> "
    assert front.endswith(f"\n\n[[0]] ->{EOT}{ASSISTANT['llama']}")  # in sampling and training alike
    tokens = encode_example(tokenizer, Example([user], "\n a\n"), end=True)
    assert text(tokenizer, tokens.ids) == f"{front}a{EOT}"


# ---- the day


def test_a_template_reads_no_clock() -> None:
    tokenizer = llama_like()
    day = "{{ strftime_now('%Y-%m-%d %H:%M') }} and {{ strftime_now(format='%d %b %Y') }}"
    tokenizer.chat_template = day + "{% for turn in messages %}{{ ': ' + turn.content }}{% endfor %}"
    front = text(tokenizer, encode_prompt(tokenizer, [{"role": "user", "content": "x"}]))
    assert front == "2024-07-26 00:00 and 26 Jul 2024: x:"


# ---- the end of a turn


@families
def test_a_model_stops_where_it_is_taught_to(family: Family) -> None:
    taught = encode_example(family.tokenizer, EXAMPLES["small grids"], end=True)
    silent = SimpleNamespace(generation_config=SimpleNamespace(eos_token_id=None))
    ends = get_stop_ids(family.tokenizer, silent)
    assert ends == {family.tokenizer.eos_token_id, taught.ids[-1]}
    row = [*taught.ids[taught.prompt_tokens :], *taught.ids[:5]]
    assert decode_completion(family.tokenizer, ends, "a", row).text == EXAMPLES["small grids"].completion


@pytest.mark.parametrize(("tokenizer", "end"), [(llama_like(end=TEXT_END), TEXT_END), (qwen_like(end=PAD), PAD)])
@pytest.mark.parametrize("prompt", ["", "Passage:\n"])
def test_a_text_ends_with_the_tokenizers_end_token(tokenizer: PreTrainedTokenizerFast, end: str, prompt: str) -> None:
    assert text(tokenizer, encode_example(tokenizer, Example(prompt, "red"), end=True).ids[-1:]) == end
    assert text(tokenizer, encode_example(tokenizer, Example([], "red"), end=True).ids[-1:]) == end


@pytest.mark.parametrize(
    ("template", "end"),
    [
        (None, TEXT_END),
        ("{% for turn in messages %}{{ turn.content + ' ' + '<|eot_id|>' }}{% endfor %}", EOT),
        ("{% for turn in messages %}{{ turn.content + '<|eot_id|>\n' }}{% endfor %}<|end_of_text|>", EOT),
        ("{% for turn in messages %}{{ 'User: ' + turn.content + '\n' }}{% endfor %}", TEXT_END),
        ("{{ raise_exception('a user first') if messages[0].role != 'user' }}{{ messages[1].content }}<|eot_id|>", EOT),
        ("{{ bos_token }}<|eot_id|>{{ messages | length }}", TEXT_END),
        ("{{ raise_exception('no') }}", TEXT_END),
        ("{{ messages[0].content.nothing.at.all }}<|eot_id|>", TEXT_END),
    ],
    ids=["no template", "a blank first", "two ends", "no mark", "a user first", "nothing shown", "refused", "broken"],
)
def test_the_end_of_a_turn_is_the_templates_or_else_the_tokenizers(template: str | None, end: str) -> None:
    tokenizer = llama_like(end=TEXT_END)
    tokenizer.chat_template = template
    assert get_turn_end(tokenizer)[1] == (tokenizer.convert_tokens_to_ids(end),)


def test_a_blank_that_decodes_to_nothing_is_no_end_of_a_turn() -> None:
    """SentencePiece's mark of a blank, which Llama 2's template puts before its end token."""
    tokenizer = Tokenizer(models.WordLevel({"▁": 0, "</s>": 1, "<eos>": 2}, unk_token="▁"))  # noqa: S106
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    made = PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<eos>", extra_special_tokens=["</s>"])  # noqa: S106
    made.chat_template = "{% for turn in messages %}{{ turn.content + ' </s>' }}{% endfor %}"
    assert made(" </s>")["input_ids"] == [0, 1]
    assert get_turn_end(made) == (" ", (1,))


def test_the_end_of_a_turn_is_found_in_a_tokenizer_read_from_a_directory(tmp_path: Path) -> None:
    llama_like(end=TEXT_END).save_pretrained(tmp_path)
    read = AutoTokenizer.from_pretrained(tmp_path)
    assert (read.eos_token, get_turn_end(read)) == (TEXT_END, ("", (read.convert_tokens_to_ids(EOT),)))
    tokens = encode_example(read, EXAMPLES["small grids"], end=True)
    assert tokens == encode_example(llama_like(end=TEXT_END), EXAMPLES["small grids"], end=True)


# ---- base models


@pytest.mark.parametrize("starts", [True, False])
@pytest.mark.parametrize("all_of_it", [True, False])
def test_a_text_has_its_start_token_once_and_an_end_only_behind_the_completion(starts: bool, all_of_it: bool) -> None:
    tokenizer = BASES[starts]
    made = make_example(puzzle(2, 3, 4), whole=all_of_it, chat=False)
    tokens = encode_example(tokenizer, made, end=True)
    front = encode_prompt(tokenizer, made.prompt)
    assert text(tokenizer, front) == f"{BOS if starts else ''}{made.prompt}"
    assert list(tokens.ids[: len(front)]) == front
    assert text(tokenizer, tokens.ids[len(front) :]) == made.completion + tokenizer.eos_token
    assert tokens.prompt_tokens == (0 if all_of_it else len(front))
    assert targets(tokens) == list(tokens.ids[1 if all_of_it else len(front) :])


def test_no_token_reaches_over_the_end_of_the_prompt() -> None:
    tokenizer = BASES[False]
    joined = [tokenizer.decode([each]) for each in tokenizer("]] -> [[2]]#")["input_ids"]]
    assert any("-> [" in each for each in joined)  # or this test shows nothing
    for prompt, completion in (("]] -> ", "[[2]]#"), ("]] ->", " [[2]]#")):
        tokens = encode_example(tokenizer, Example(prompt, completion), end=True)
        assert text(tokenizer, tokens.ids[: tokens.prompt_tokens]) == prompt
        assert text(tokenizer, tokens.ids[tokens.prompt_tokens :]) == completion + PAD


@pytest.mark.parametrize("starts", [True, False])
@given(prompt=st.text(st.characters(codec="utf-8"), min_size=1), completion=st.text(st.characters(codec="utf-8")))
def test_any_text_is_cut_between_prompt_and_completion(starts: bool, prompt: str, completion: str) -> None:
    tokenizer = BASES[starts]
    tokens = encode_example(tokenizer, Example(prompt, completion), end=True)
    assert text(tokenizer, tokens.ids[: tokens.prompt_tokens]) == (BOS if starts else "") + prompt
    assert text(tokenizer, tokens.ids[tokens.prompt_tokens :]) == completion + tokenizer.eos_token


# ---- thoughts

MAGISTRAL = byte_level(["</s>", "[THINK]", "[/THINK]", "[INST]"], eos_token="</s>", pad_token="</s>")  # noqa: S106
GPT_OSS = byte_level(["<|return|>", *HARMONY[:4], "<|call|>"], eos_token="<|return|>", pad_token="<|return|>")  # noqa: S106
ANALYSIS = "<|channel|>analysis<|message|>Two?<|end|><|start|>assistant"


def come(tokenizer: PreTrainedTokenizerFast, written: str, prompt: str = "") -> Completion:
    """The completion of which the model has written these tokens."""
    row = tokenizer(written, add_special_tokens=False)["input_ids"]
    before = tokenizer(prompt, add_special_tokens=False)["input_ids"]
    return decode_completion(tokenizer, {tokenizer.eos_token_id}, "a", row, before)


@pytest.mark.parametrize(
    ("tokenizer", "written", "answer"),
    [
        (MAGISTRAL, "[THINK]Two? No.[/THINK] [[1]]#</s>", " [[1]]#"),
        (MAGISTRAL, "[THINK]Two? No.", None),
        (GPT_OSS, f"{ANALYSIS}<|channel|>final<|message|>[[1]]#<|return|>", "[[1]]#"),
        (GPT_OSS, ANALYSIS, None),
        (qwen_like(), "<think>\nTwo?\n</think>\n\n[[1]]#<|im_end|>", "\n\n[[1]]#"),
    ],
)
def test_special_tokens_that_mark_a_thought_stay_in_its_text(
    tokenizer: PreTrainedTokenizerFast, written: str, answer: str | None
) -> None:
    found = come(tokenizer, written)
    assert found.text == written.removesuffix(tokenizer.eos_token)
    assert remove_thoughts(found.text) == answer


def test_other_special_tokens_are_dropped_as_before() -> None:
    assert come(MAGISTRAL, "[THINK]Two?[INST][/THINK][INST]é [[1]]#</s>").text == "[THINK]Two?[/THINK]é [[1]]#"
    assert come(MAGISTRAL, "é [INST][[1]]# [THINK]x</s>").text == "é [[1]]# x"


@pytest.mark.parametrize("opening", ["<think>", "<think>\n", "[THINK]"])
def test_a_thought_that_the_prompt_has_opened_begins_the_text(opening: str) -> None:
    """DeepSeek-R1 and QwQ: without its mark nobody could tell a thought that was cut off from an answer."""
    cut = come(MAGISTRAL, "Two? No", prompt=f"the output:{opening}")
    assert (cut.text, remove_thoughts(cut.text), cut.finish) == (f"{opening}Two? No", None, "length")
    close = "[/THINK]" if opening == "[THINK]" else "</think>"
    whole = come(MAGISTRAL, f"Two? No.{close}[[1]]#</s>", prompt=f"the output:{opening}")
    assert (remove_thoughts(whole.text), whole.finish) == ("[[1]]#", "stop")
    assert come(MAGISTRAL, "Two? No", prompt=f"{opening}x{close}\n\n").text == "Two? No"
