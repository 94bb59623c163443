"""The tokenizer of a GGUF file as transformers has it: its vocabulary, how it cuts words, what it puts around a text.

transformers builds the vocabulary; it leaves out the start token, without which every answer of most models is noise.
"""

from typing import Any

from stages.errors import BadConfig, BadInput
from stages.exports.gguf.header import GgufFile
from stages.exports.gguf.vocabulary import SPACE
from stages.models.directories import DOWNLOAD_AGAIN, quote_name

_KINDS = ("llama", "gpt2")  # sentencepiece's BPE, byte-level BPE
_LLAMA3 = ("llama3", "llama-v3", "llama-bpe", "falcon3", "falcon-h1", "pixtral", "midm-2.0", "lfm2", "jina-v5-nano")
_STARTING = (*_LLAMA3, "tekken")  # ways to cut words whose texts llama.cpp starts, unless told; whole words come first
_PLAIN = {"gpt-2": None, "smollm": "digits"}  # whose words GPT-2's expression cuts; of SmolLM's each digit is one
_COMPOSED = ("qwen2", "deepseek-r1-qwen")  # whose texts are composed (NFC) first, as their own tokenizers do
_ROLES = {"bos_token": "bos", "eos_token": "eos", "unk_token": "unknown", "pad_token": "padding"}
_KEYS = {"tokens": "tokens", "scores": "scores", "token_type": "token_type", "merges": "merges"}


def make_tokenizer_of(file: GgufFile) -> Any:
    """Return the tokenizer. Raise BadConfig for a kind that is not read, BadInput for one that is not whole."""
    from transformers import PreTrainedTokenizerFast
    from transformers.integrations.gguf.gguf_tokenizer_mapping import convert_gguf_tokenizer

    kind, pre = file.get("tokenizer.ggml.model", str), file.get("tokenizer.ggml.pre", str, "default")
    if kind not in _KINDS:
        raise BadConfig(f"{file.path}: its tokenizer is {quote_name(str(kind))}, and {' and '.join(_KINDS)} are read")
    tokens = _read_tokens(file, kind)
    if kind == "gpt2":
        _check_pre(file, pre)
    backend, _ = convert_gguf_tokenizer(
        file.architecture, {**tokens, "tokenizer_type": kind, "pre_tokenizer_type": pre}
    )
    _refine(backend, file, kind, pre)
    special = {role: _find_token(file, tokens["tokens"], key) for role, key in _ROLES.items()}
    if special["eos_token"] is None:
        raise BadInput(f"{file.path}: names no end token, so that no answer would end; {DOWNLOAD_AGAIN}")
    _put_around(backend, file, kind, pre, special)
    return PreTrainedTokenizerFast(
        tokenizer_object=backend,
        chat_template=file.get("tokenizer.chat_template", str),
        clean_up_tokenization_spaces=False,
        **{role: token for role, token in special.items() if token is not None},
    )


def _read_tokens(file: GgufFile, kind: str) -> dict[str, Any]:
    """Return the lists of the vocabulary, which are of one length."""
    lists = {name: file.get(f"tokenizer.ggml.{key}", list) for name, key in _KEYS.items()}
    found = {name: each for name, each in lists.items() if each is not None}
    tokens = found.get("tokens")
    if not tokens or not all(isinstance(token, str) for token in (*tokens, *found.get("merges", ()))):
        raise BadInput(f"{file.path}: its vocabulary has no tokens; {DOWNLOAD_AGAIN}")
    if any(len(found.get(name, tokens)) != len(tokens) for name in ("scores", "token_type")):
        raise BadInput(f"{file.path}: its tokens, scores and types are not of one length; {DOWNLOAD_AGAIN}")
    if ("merges" if kind == "gpt2" else "scores") not in found:
        raise BadInput(
            f"{file.path}: its vocabulary has no {'merges' if kind == 'gpt2' else 'scores'}; {DOWNLOAD_AGAIN}"
        )
    if len(set(tokens)) != len(tokens):
        raise BadInput(f"{file.path}: its vocabulary has a token twice; {DOWNLOAD_AGAIN}")
    return found


def _check_pre(file: GgufFile, pre: str) -> None:
    from transformers.integrations.gguf.gguf_tokenizer_mapping import GGUF_PRE_TOKENIZER_SPLITS

    if pre not in GGUF_PRE_TOKENIZER_SPLITS and pre not in _PLAIN:
        told = f"its tokenizer cuts words as {quote_name(pre)}, which is not read"
        raise BadConfig(f"{file.path}: {told}; take the model's own safetensors")


def _refine(backend: Any, file: GgufFile, kind: str, pre: str) -> None:
    """Put right what transformers' builder takes for granted."""
    from tokenizers import normalizers, pre_tokenizers

    if _PLAIN.get(pre) == "digits" and kind == "gpt2":
        whole = pre_tokenizers.ByteLevel(add_prefix_space=False)
        backend.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True), whole])
    if pre in _COMPOSED and kind == "gpt2":
        backend.normalizer = normalizers.NFC()
    if pre in _STARTING and kind == "gpt2":
        backend.model.ignore_merges = True  # a word that is a token is not merged to it
    if (
        kind == "llama"
        and file.architecture != "gemma3"
        and not file.get("tokenizer.ggml.add_space_prefix", bool, True)
    ):
        backend.pre_tokenizer = pre_tokenizers.Metaspace(replacement=SPACE, prepend_scheme="never", split=False)


def _find_token(file: GgufFile, tokens: list[str], key: str) -> str | None:
    number = file.get(f"tokenizer.ggml.{key}_token_id", int)
    if number is not None and not 0 <= number < len(tokens):
        raise BadInput(f"{file.path}: its {key} token has id {number}, of {len(tokens)}; {DOWNLOAD_AGAIN}")
    return None if number is None else tokens[number]


def _put_around(backend: Any, file: GgufFile, kind: str, pre: str, special: dict[str, str | None]) -> None:
    """Let each text start and end as llama.cpp lets it: as the file says, else by the kind of its vocabulary."""
    from tokenizers import processors

    starts = file.get("tokenizer.ggml.add_bos_token", bool, kind == "llama" or pre in _STARTING)
    ends = file.get("tokenizer.ggml.add_eos_token", bool, False)
    bos, eos = (special["bos_token"] if starts else None), (special["eos_token"] if ends else None)
    if starts and bos is None:
        raise BadInput(f"{file.path}: each text begins with a start token, and it names none; {DOWNLOAD_AGAIN}")
    parts = [*([bos] if bos is not None else []), "$A", *([eos] if eos is not None else [])]
    around = {token: backend.token_to_id(token) for token in (bos, eos) if token is not None}
    backend.post_processor = processors.TemplateProcessing(single=parts, special_tokens=list(around.items()))
