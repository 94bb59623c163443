"""Random models of the four architectures that GGUF is for, with what is hard about each, and adapters on them."""

from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, get_peft_model
from transformers import (
    AutoModelForCausalLM,
    Gemma3ForCausalLM,
    Gemma3TextConfig,
    LlamaConfig,
    LlamaForCausalLM,
    Qwen2Config,
    Qwen2ForCausalLM,
    Qwen3Config,
    Qwen3ForCausalLM,
    set_seed,
)

from tests.conftest import SIZES, make_tokenizer

KINDS = ("llama", "qwen2", "qwen3", "gemma3")
LLAMA3 = {
    "rope_type": "llama3",
    "rope_theta": 500000.0,
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 64,
}
_SIZES = {**SIZES, "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 512}


def make_architecture(folder: Path, kind: str, dtype: torch.dtype = torch.float32, **more: Any) -> Path:
    """A model directory: grouped heads, heads of another size than hidden / heads, biases, tied or not."""
    set_seed(3)
    sizes: dict[str, Any] = {**_SIZES, "pad_token_id": 0, "initializer_range": 0.2, **more}
    if kind == "llama":
        rope = sizes.pop("rope_parameters", LLAMA3)
        network: Any = LlamaForCausalLM(LlamaConfig(rope_parameters=rope, tie_word_embeddings=False, **sizes))
    elif kind == "qwen2":
        network = Qwen2ForCausalLM(Qwen2Config(tie_word_embeddings=True, **sizes))
    elif kind == "qwen3":
        network = Qwen3ForCausalLM(Qwen3Config(head_dim=16, tie_word_embeddings=False, **sizes))
    else:
        own = {"head_dim": 16, "query_pre_attn_scalar": 16, "sliding_window": 8, "num_hidden_layers": 7}
        network = Gemma3ForCausalLM(Gemma3TextConfig(**{**sizes, **own, **more}))
    with torch.no_grad():
        for weight in network.parameters():
            if weight.dim() == 1:  # norms and biases, which begin as ones and zeros
                weight.add_(0.3 * torch.randn_like(weight))
    network.to(dtype).save_pretrained(folder)
    make_tokenizer().save_pretrained(folder)
    return folder


def make_lora(base: Path, folder: Path, **settings: Any) -> Path:
    """A PEFT directory with random weights on both sides, on all layers of the blocks."""
    set_seed(5)
    network = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    chosen = {"r": 4, "lora_alpha": 6, "target_modules": "all-linear", **settings}
    get_peft_model(network, LoraConfig(init_lora_weights=False, task_type="CAUSAL_LM", **chosen)).save_pretrained(
        folder
    )
    return folder


PROMPT = torch.tensor([[5, 77, 123, 9, 200, 41, 41, 66, 250, 12, 8, 190, 33, 2, 71]])


def compute_logits(network: Any) -> torch.Tensor:
    """The logits (tokens, vocabulary) after each token of a text, in float32."""
    with torch.inference_mode():
        logits: torch.Tensor = network(input_ids=PROMPT).logits[0].float()
    return logits


def load(folder: Path, adapter: Path | None = None) -> Any:
    """transformers' model, with peft's adapter on it."""
    from peft import PeftModel

    network = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    return PeftModel.from_pretrained(network, str(adapter)).eval() if adapter else network


# ---- tokenizers

_WORDS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}"
_MARKS = r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
LLAMA3_SPLIT, QWEN2_SPLIT = f"{_WORDS}{{1,3}}{_MARKS}", f"{_WORDS}{_MARKS}"  # as their tokenizer.json has them
SPACE = "\u2581"
TEXTS = [
    "the answer to the question is in the passage",
    "  two spaces, 12345 numbers and 3.14; it's what I'VE said\n\nnew lines\t\ttabs",
    "Grüße aus Köln: naïve café, 東京 🙂 \u2581 done",
    "a",
    " leading and trailing ",
]


def make_byte_level(split: str | None = None, start: str | None = None) -> Any:
    """GPT-2's kind: bytes are merged, words are cut by `split` (None: GPT-2's), `start` comes before each text."""
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, processors, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    bytes_alone = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    cut = [pre_tokenizers.Split(Regex(split), behavior="isolated"), bytes_alone] if split else []
    whole = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(cut) if cut else whole
    tokenizer.decoder = decoders.ByteLevel()
    special = ["<|endoftext|>", "<|im_start|>", "<|begin|>", "<|im_end|>"]
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=296, special_tokens=special, initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator(TEXTS * 4, trainer)
    tokenizer.add_tokens(["<think>"])
    if start:
        number = tokenizer.token_to_id(start)
        tokenizer.post_processor = processors.TemplateProcessing(single=f"{start} $A", special_tokens=[(start, number)])
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<|endoftext|>", bos_token=start)  # noqa: S106


def make_sentencepiece(kind: str) -> Any:
    """Sentencepiece's BPE with bytes for what it lacks, as Llama 2 (a space before the text) and Gemma have it."""
    from tokenizers import processors
    from transformers import GemmaTokenizer, LlamaTokenizer
    from transformers.tokenization_utils_base import generate_merges

    special = ["<pad>", "<eos>", "<bos>", "<unk>"] if kind == "gemma" else ["<unk>", "<s>", "</s>"]
    letters = sorted({letter for text in TEXTS[:2] for letter in text.replace(" ", SPACE) if letter.isprintable()})
    pieces = [
        "the",
        "th",
        "he",
        "an",
        "ans",
        "wer",
        "answer",
        "er",
        "in",
        f"{SPACE}the",
        f"{SPACE}a",
        f"{SPACE}t",
        "on",
    ]
    tokens = [*special, *(f"<0x{byte:02X}>" for byte in range(256)), *pieces, SPACE * 2, *letters]
    vocab = {token: number for number, token in enumerate(tokens)}
    merges = generate_merges(vocab, {token: -float(number) for token, number in vocab.items()})
    tokenizer = (GemmaTokenizer if kind == "gemma" else LlamaTokenizer)(vocab=vocab, merges=merges)
    start = tokenizer.bos_token
    tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{start} $A", special_tokens=[(start, tokenizer.bos_token_id)]
    )
    return tokenizer
