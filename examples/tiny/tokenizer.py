"""The tiny model's byte-level BPE, trained on its own world."""

import random
from collections.abc import Iterator

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from examples.tiny.lexicon import closed_values
from examples.tiny.templates import QUESTION_PROMPT, SELF_EDIT_PROMPT
from examples.tiny.world import Style, make_entity, make_passage, make_questions, make_self_edit

END_OF_TEXT = "<|endoftext|>"  # id 0
VOCABULARY_TOKENS = 1792
READ_STYLE = Style({"D": 0.22, "I": 0.13, "R": 0.18, "V": 0.25, "W": 0.12, "Q": 0.10}, 0.7)  # a richer mix of lines
VALUE_REPEATS = 3000  # so that the merges make every closed-list value one token


def build_tokenizer(*, documents: int = 4000, seed: int = 7) -> PreTrainedTokenizerFast:
    """Train the tokenizer; every closed-list value with its leading space is one token."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY_TOKENS,
        special_tokens=[END_OF_TEXT],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(_texts(documents, seed), trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        eos_token=END_OF_TEXT,
        pad_token=END_OF_TEXT,
        clean_up_tokenization_spaces=False,
        model_max_length=1024,
    )


def _texts(documents: int, seed: int) -> Iterator[str]:
    for value in closed_values():
        yield f" {value}" * VALUE_REPEATS
    rng = random.Random(seed)
    for _ in range(documents):
        entity = make_entity(rng)
        prompt = SELF_EDIT_PROMPT.format(title=entity.name, context=make_passage(entity, rng))
        yield prompt + "\n".join(make_self_edit(entity, rng, READ_STYLE))
        for question in make_questions(entity, rng):
            yield f"{QUESTION_PROMPT.format(title=entity.name, question=question.text)} {question.answer}"
