"""The tokenizer of the tiny ARC model: a table, not a training. Fixed sentences, and digits with what stands before.

Sequences are short that way: a 3 x 3 grid is ten tokens, a self-edit about thirty. What the table does not hold falls
apart into bytes, so that every text can be written.
"""

from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from stages.domains.arc import grid_text, prompts
from stages.domains.arc.self_edit import STRATEGIES, SWITCHES

END, SYSTEM, USER, ASSISTANT = "<|end|>", "<|system|>", "<|user|>", "<|assistant|>"  # END has id 0
CHAT_TEMPLATE = (
    "{% for message in messages %}<|{{ message['role'] }}|>{{ message['content'] }}"
    "<|end|>{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
GRID_END, ARROW = "]]" + grid_text.END, "]]" + prompts.ARROW  # behind an output, behind an input
DIGITS = [f"{before}{digit}" for before in (" ", "[[", "]\n [") for digit in range(10)]
KEYS = [f'"{key}": ' for key in (*SWITCHES.values(), "data_generation", "training")]
VALUES = [f'"{key}": ' for key in ("strategy", "learning_rate", "num_train_epochs")]
PROMPTS = [
    prompts.EDIT_SYSTEM,
    prompts.EDIT_RULE + prompts.EDIT_CHOICES,
    prompts.TASK_SYSTEM,
    "Input:\n",
    "\n\nOutput:\n",
    "\n\n",
]
LAYOUT = [",\n    ", "{\n  ", "{\n    ", "\n  },\n  ", "\n  }\n}", "true", "false", "True", "False", "0.", "00", "e-"]
PHRASES = [*PROMPTS, GRID_END, ARROW, *DIGITS, *KEYS, *VALUES, *(f'"{one}"' for one in STRATEGIES), *LAYOUT]


def build_tokenizer() -> PreTrainedTokenizerFast:
    """Bytes, and the phrases as tokens that are taken first, the longest first."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    roles = [END, SYSTEM, USER, ASSISTANT]
    vocabulary = {token: number for number, token in enumerate([*roles, *alphabet])}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(roles)
    tokenizer.add_tokens([AddedToken(phrase, normalized=False) for phrase in dict.fromkeys(PHRASES)])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        eos_token=END,
        pad_token=END,
        chat_template=CHAT_TEMPLATE,
        clean_up_tokenization_spaces=False,
        model_max_length=1024,
    )
