"""Small tokenizers with the habits of the families that models come in, and the same chats written by hand.

The templates are our own and short; what they write is what the families' documentation shows: Llama 3 and 3.2
(llama.com, "Model Cards & Prompt formats"), Qwen2.5 and Qwen3 (qwen.readthedocs.io). All are byte-level BPE, with
merges over brackets, blanks and line ends. A chat model's keep white space and words apart, as the families' do; a base
model's do not, so that a text cut in two has other tokens than the whole.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from tokenizers.processors import TemplateProcessing
from transformers import PreTrainedTokenizerFast

BOS, TEXT_END, EOT = "<|begin_of_text|>", "<|end_of_text|>", "<|eot_id|>"
IM_END, PAD = "<|im_end|>", "<|endoftext|>"
ASSISTANT = {"llama": "<|start_header_id|>assistant<|end_header_id|>\n\n", "qwen": "<|im_start|>assistant\n"}
NO_THOUGHT = "<think>\n\n</think>\n\n"
LLAMA_CHAT = (
    "{% if date_string is not defined %}{% if strftime_now is defined %}"
    "{% set date_string = strftime_now('%d %b %Y') %}{% else %}{% set date_string = '26 Jul 2024' %}{% endif %}"
    "{% endif %}"
    "{% set given = messages[0].role == 'system' %}"
    "{{ bos_token + '<|start_header_id|>system<|end_header_id|>\n\nCutting Knowledge Date: December 2023\n' }}"
    "{{ 'Today Date: ' + date_string + '\n\n' + (messages[0].content | trim if given else '') + '<|eot_id|>' }}"
    "{% for turn in (messages[1:] if given else messages) %}"
    "{{ '<|start_header_id|>' + turn.role + '<|end_header_id|>\n\n' + turn.content | trim + '<|eot_id|>' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{% endif %}"
)
QWEN_CHAT = (
    "{% if messages[0].role != 'system' %}{{ '<|im_start|>system\nYou are helpful.<|im_end|>\n' }}{% endif %}"
    "{% for turn in messages %}{{ '<|im_start|>' + turn.role + '\n' + turn.content + '<|im_end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
QWEN_THINKING_CHAT = (
    "{% if messages[0].role != 'system' %}{{ '<|im_start|>system\nYou are helpful.<|im_end|>\n' }}{% endif %}"
    "{% for turn in messages %}{{ '<|im_start|>' + turn.role + '\n' }}"
    "{% if turn.role == 'assistant' and loop.last %}{{ '<think>\n\n</think>\n\n' }}{% endif %}"
    "{{ turn.content + '<|im_end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}"
    "{% if enable_thinking is defined and not enable_thinking %}{{ '<think>\n\n</think>\n\n' }}{% endif %}{% endif %}"
)
Turns = Sequence[Mapping[str, str]]


@dataclass(frozen=True)
class Family:
    """A tokenizer, the token behind its assistant's turns, and its chat prompts, written without a template."""

    tokenizer: PreTrainedTokenizerFast
    end: str
    written: Callable[[Turns], str]
    bos: str = ""
    thought: str = ""  # what a template that can think ends its prompts with, since it is told not to
    trims: bool = False  # its template takes the blanks from a text's ends


def llama_like(*, end: str = EOT) -> PreTrainedTokenizerFast:
    """Llama 3: a start token before every text, and another end token for turns than for texts."""
    marks = [BOS, TEXT_END, "<|start_header_id|>", "<|end_header_id|>", EOT]
    tokenizer = byte_level(marks, bos_token=BOS, eos_token=end, pad_token=TEXT_END, chat=LLAMA_CHAT)
    return starting(tokenizer, BOS)


def qwen_like(*, thinking: bool = False, end: str = IM_END) -> PreTrainedTokenizerFast:
    """Qwen2.5, or Qwen3 with its empty thought; no start token. `end`: that of the base models is <|endoftext|>."""
    chat = QWEN_THINKING_CHAT if thinking else QWEN_CHAT
    return byte_level([PAD, "<|im_start|>", IM_END], eos_token=end, pad_token=PAD, chat=chat)


def base_model(*, starts: bool) -> PreTrainedTokenizerFast:
    """No chat template; with a start token before every text or none."""
    if starts:
        tokenizer = byte_level([BOS, TEXT_END], apart=False, bos_token=BOS, eos_token=TEXT_END, pad_token=TEXT_END)
        return starting(tokenizer, BOS)
    return byte_level([PAD], apart=False, eos_token=PAD, pad_token=PAD)


def byte_level(
    marks: list[str], *, chat: str | None = None, apart: bool = True, **named: str
) -> PreTrainedTokenizerFast:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=apart)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=400,
        special_tokens=marks,
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    grids = [
        "[[1 2]\n [3 4]] -> [[5 6]\n [7 8]]#\n[[0 0 0]] -> [[9]]#\n",
        "assistant\n\n[[1]]#",
        "the output:\n- a line\n",
    ]
    tokenizer.train_from_iterator(grids * 20, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, chat_template=chat, clean_up_tokenization_spaces=False, **named
    )


def starting(tokenizer: PreTrainedTokenizerFast, mark: str) -> PreTrainedTokenizerFast:
    number = tokenizer.convert_tokens_to_ids(mark)
    tokenizer._tokenizer.post_processor = TemplateProcessing(single=f"{mark} $A", special_tokens=[(mark, number)])
    return tokenizer


def llama_prompt(turns: Turns) -> str:
    """A chat prompt of Llama 3.2, on the day that its template names where it has no clock."""
    given, spoken = ("", turns) if turns[0]["role"] != "system" else (turns[0]["content"].strip(), turns[1:])
    system = f"Cutting Knowledge Date: December 2023\nToday Date: 26 Jul 2024\n\n{given}"
    said = [("system", system), *((turn["role"], turn["content"].strip()) for turn in spoken)]
    texts = (f"<|start_header_id|>{role}<|end_header_id|>\n\n{content}{EOT}" for role, content in said)
    return BOS + "".join(texts) + ASSISTANT["llama"]


def qwen_prompt(turns: Turns) -> str:
    """A chat prompt of Qwen, whose template says something of its own where there is no system turn."""
    own = [] if turns[0]["role"] == "system" else [{"role": "system", "content": "You are helpful."}]
    texts = (f"<|im_start|>{turn['role']}\n{turn['content']}{IM_END}\n" for turn in [*own, *turns])
    return "".join(texts) + ASSISTANT["qwen"]


FAMILIES = {
    "llama": Family(llama_like(), EOT, llama_prompt, bos=BOS, trims=True),
    "llama with another end token": Family(llama_like(end=TEXT_END), EOT, llama_prompt, bos=BOS, trims=True),
    "qwen": Family(qwen_like(), IM_END, qwen_prompt),
    "qwen with another end token": Family(qwen_like(end=PAD), IM_END, qwen_prompt),
    "thinking qwen": Family(qwen_like(thinking=True), IM_END, qwen_prompt, thought=NO_THOUGHT),
}
