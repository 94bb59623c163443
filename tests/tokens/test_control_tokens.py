"""Texts as token ids by tokenizers of every kind: nothing nobody wrote comes in, and control tokens are letters."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from tokenizers.processors import TemplateProcessing
from transformers import ByT5Tokenizer, PreTrainedTokenizerBase, PreTrainedTokenizerFast

from stages.interfaces import Example
from stages.tokens.tokenization import decode_completion, encode_example, encode_prompt

TEXTS = ["the inn is red\nand old", "answer: red. The red inn!", "<s> </s> [INST]", "1. An inn, 2. a red one"]
SPECIAL = ["<unk>", "<s>", "</s>", "<|im_end|>", "[INST]"]
BYTES = [f"<0x{each:02X}>" for each in range(256)]
Piece = pre_tokenizers.Metaspace, decoders.Metaspace


def trained(tokenizer: Tokenizer, *, adds: str = "<s> $A") -> PreTrainedTokenizerFast:
    """The tokenizer with some merges or pieces, and what it puts around a text."""
    trainer: Any
    if isinstance(tokenizer.model, models.Unigram):
        letters = {"unk_token": "<unk>", "initial_alphabet": list(LETTERS)}
        trainer = trainers.UnigramTrainer(vocab_size=120, special_tokens=SPECIAL, show_progress=False, **letters)
    else:
        letters = {"initial_alphabet": pre_tokenizers.ByteLevel.alphabet()} if not tokenizer.model.byte_fallback else {}
        trainer = trainers.BpeTrainer(vocab_size=420, special_tokens=SPECIAL, show_progress=False, **letters)
    tokenizer.train_from_iterator(TEXTS * 20, trainer)
    if getattr(tokenizer.model, "byte_fallback", False) is True and isinstance(tokenizer.model, models.BPE):
        told = json.loads(tokenizer.to_str())
        vocabulary = told["model"]["vocab"]
        for each in BYTES:
            vocabulary.setdefault(each, len(vocabulary))
        tokenizer = Tokenizer.from_str(json.dumps(told))
    ids = {each: tokenizer.token_to_id(each) for each in ("<s>", "</s>")}
    tokenizer.post_processor = TemplateProcessing(single=adds, special_tokens=list(ids.items()))
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        **{"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"},
        extra_special_tokens=["<|im_end|>", "[INST]"],
    )


LETTERS = "abcdefghijklmnopqrstuvwxyzATI0123456789.,:!<>/[]|_▁"


def byte_fallback() -> models.BPE:
    return models.BPE(byte_fallback=True)


def llama_2() -> Tokenizer:
    """A blank before every text, by the normalizer: behind a special token, too."""
    tokenizer = Tokenizer(byte_fallback())
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    tokenizer.decoder = fallback_decoder(strip=1)
    return tokenizer


def gemma() -> Tokenizer:
    """No blank before a text."""
    tokenizer = Tokenizer(byte_fallback())
    tokenizer.normalizer = normalizers.Replace(" ", "▁")
    tokenizer.decoder = fallback_decoder(strip=0)
    return tokenizer


def fallback_decoder(*, strip: int) -> decoders.Decoder:
    steps = [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()]
    return decoders.Sequence([*steps, decoders.Strip(" ", strip, 0)] if strip else steps)


def metaspace(scheme: str, model: Any) -> Tokenizer:
    tokenizer = Tokenizer(model)
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme=scheme)
    tokenizer.decoder = (
        decoders.Metaspace(prepend_scheme=scheme)
        if isinstance(model, models.Unigram)
        else decoders.Sequence([decoders.ByteFallback(), decoders.Metaspace(prepend_scheme=scheme)])
    )
    return tokenizer


def byte_level(*, prefix: bool) -> Tokenizer:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=prefix)
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer


KINDS: dict[str, Callable[[], PreTrainedTokenizerBase]] = {
    "llama 2": lambda: trained(llama_2()),
    "gemma": lambda: trained(gemma()),
    "metaspace, always": lambda: trained(metaspace("always", byte_fallback())),
    "metaspace, first": lambda: trained(metaspace("first", byte_fallback())),
    "metaspace, never": lambda: trained(metaspace("never", byte_fallback())),
    "unigram": lambda: trained(metaspace("always", models.Unigram())),
    "unigram, first": lambda: trained(metaspace("first", models.Unigram())),
    "bytes": lambda: trained(byte_level(prefix=False)),
    "bytes behind a blank": lambda: trained(byte_level(prefix=True)),
    "an end token of its own": lambda: trained(llama_2(), adds="<s> $A </s>"),
    "python": lambda: ByT5Tokenizer(extra_ids=0, additional_special_tokens=["<|im_end|>", "[INST]"]),
}
MADE = {name: make() for name, make in KINDS.items()}
kinds = pytest.mark.parametrize("kind", MADE)
PIECES = ["red", "inn", "a", " ", "\n", ":", ".", "1", "<|im_end|>", "</s>", "<s>", "[INST]", "<unk>", "<", "/s>"]
LOSSY = ("unigram", "unigram, first")  # a letter that they do not know is lost, as the line end here
texts = st.lists(st.sampled_from(PIECES), min_size=1, max_size=7).map("".join)


def plain(tokenizer: PreTrainedTokenizerBase, ids: Any) -> str:
    return str(tokenizer.decode(list(ids), skip_special_tokens=True, clean_up_tokenization_spaces=False))


def specials(tokenizer: PreTrainedTokenizerBase, ids: Any) -> list[str]:
    found = dict(zip(tokenizer.all_special_ids, tokenizer.all_special_tokens, strict=True))
    return [found[each] for each in ids if each in found and found[each] != "<unk>"]


@kinds
@settings(max_examples=30, deadline=None)
@given(prompt=texts, completion=texts)
def test_prompt_and_completion_are_the_text_to_the_letter(kind: str, prompt: str, completion: str) -> None:
    tokenizer, kept = MADE[kind], "\n" if kind in LOSSY else ""
    prompt, completion = (
        part.replace(kept, ".") if kept else part for part in (f"Q{prompt}".replace("Q", "a"), completion)
    )
    completion = f"{completion}." if completion.endswith("</s>") else completion  # which would be its end
    tokens = encode_example(tokenizer, Example(prompt, completion), end=True)
    own = " " if kind == "bytes behind a blank" else ""  # which it puts before a text, and does not take off again
    assert plain(tokenizer, tokens.ids) == own + prompt + completion
    assert list(tokens.ids[: tokens.prompt_tokens]) == encode_prompt(tokenizer, prompt)
    assert plain(tokenizer, tokens.ids[: tokens.prompt_tokens]) == own + prompt
    first = [tokenizer.bos_token] if not isinstance(tokenizer, ByT5Tokenizer) else []
    assert specials(tokenizer, tokens.ids) == [*first, tokenizer.eos_token]
    answer = decode_completion(tokenizer, {tokenizer.eos_token_id}, "a", tokens.ids[tokens.prompt_tokens :])
    assert (answer.text, answer.finish) == (completion, "stop")
    alone = encode_example(tokenizer, Example("", prompt), end=True)  # a training sequence of `seal adapt`
    assert plain(tokenizer, alone.ids) == own + prompt
    assert specials(tokenizer, alone.ids) == [*first, tokenizer.eos_token]


def test_a_control_token_that_is_looked_for_in_normalized_text_is_letters() -> None:
    tokenizer = trained(llama_2())
    mark = AddedToken("<|x|>", normalized=True, special=True)
    tokenizer.add_special_tokens({"extra_special_tokens": [mark]}, replace_extra_special_tokens=False)
    text = "a<|x|> b <|x|>"
    assert specials(tokenizer, tokenizer(text)["input_ids"]) == ["<s>", "<|x|>"]
    assert specials(tokenizer, encode_prompt(tokenizer, text)) == ["<s>"]
    assert plain(tokenizer, encode_prompt(tokenizer, text)) == text


PHI = (
    "{% for turn in messages %}{{ '<|' + turn.role + '|>\n' + turn.content + '<|end|>\n' }}{% endfor %}"
    "{{ '<|assistant|>\n' if add_generation_prompt }}"
)
MISTRAL = (
    "{{ bos_token }}{% for turn in messages %}{% if turn.role == 'user' %}{{ '[INST] ' + turn.content + ' [/INST]' }}"
    "{% else %}{{ ' ' + turn.content + eos_token }}{% endif %}{% endfor %}"
)


@pytest.mark.parametrize("said", ["red", " red", "\n- red", "red\n", "a <|end|> [INST]", "</s> red"])
@pytest.mark.parametrize(("template", "end"), [(PHI, "<|end|>"), (MISTRAL, "</s>")], ids=["phi", "mistral"])
def test_what_is_said_in_a_chat_is_kept_though_marks_swallow_blanks_or_the_template_puts_one(
    template: str, end: str, said: str
) -> None:
    tokenizer = trained(llama_2())
    marks = [AddedToken(f"<|{name}|>", rstrip=True, normalized=False) for name in ("user", "assistant", "end")]
    tokenizer.add_special_tokens({"extra_special_tokens": marks}, replace_extra_special_tokens=False)
    tokenizer.chat_template = template
    turns = [{"role": "user", "content": "the <|end|> inn </s>"}]
    tokens = encode_example(tokenizer, Example(turns, said), end=True)
    front, learned = tokens.ids[: tokens.prompt_tokens], tokens.ids[tokens.prompt_tokens :]
    assert list(front) == encode_prompt(tokenizer, turns)
    assert specials(tokenizer, learned) == [end]
    answer = decode_completion(tokenizer, {learned[-1]}, "a", learned, front, chat=True)
    assert (answer.text, answer.finish) == (said, "stop")


def test_words_of_a_lower_case_tokenizer_go_on_where_the_prompt_ends() -> None:
    made = Tokenizer(models.WordPiece(unk_token="[UNK]"))  # noqa: S106
    made.normalizer, made.pre_tokenizer = normalizers.BertNormalizer(), pre_tokenizers.BertPreTokenizer()
    made.decoder = decoders.WordPiece()
    words = trainers.WordPieceTrainer(vocab_size=200, special_tokens=["[UNK]", "[CLS]", "[SEP]"], show_progress=False)
    made.train_from_iterator(TEXTS * 20, words)
    made.post_processor = TemplateProcessing(single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 1), ("[SEP]", 2)])
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=made, **{"bos_token": "[CLS]", "eos_token": "[SEP]"})
    tokens = encode_example(tokenizer, Example("The [SEP] inn is ", "Red"), end=True)
    shown = tokenizer.convert_ids_to_tokens(list(tokens.ids))
    assert (shown[0], shown[-3:], shown.count("[SEP]")) == ("[CLS]", ["is", "red", "[SEP]"], 1)
