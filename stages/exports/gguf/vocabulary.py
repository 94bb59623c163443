"""A tokenizer as the vocabulary of a GGUF file: byte-level BPE (GPT-2's, Llama 3's, Qwen's) or sentencepiece's BPE.

What the tokenizer does is written, not what its settings say: whether it begins with a start token is tried out.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stages.errors import BadConfig
from stages.models.directories import quote_name, read_object
from stages.models.loading import load_tokenizer

NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE = range(1, 7)  # llama.cpp's types of tokens
SPACE = "\u2581"  # sentencepiece's
_CONTRACTIONS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|"
_REST = r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
_SPLITS = {  # llama.cpp's names of the expressions that cut a text into words
    rf"{_CONTRACTIONS}\p{{N}}{{1,3}}{_REST}": "llama-bpe",
    rf"{_CONTRACTIONS}\p{{N}}{_REST}": "qwen2",
}
_PROBE = "a b"


@dataclass(frozen=True)
class Vocabulary:
    """A tokenizer in llama.cpp's words. `scores` are sentencepiece's, `merges` those of a byte-level BPE."""

    kind: str  # llama.cpp's tokenizer.ggml.model
    pre: str
    tokens: Sequence[str]
    types: Sequence[int]
    scores: Sequence[float] | None
    merges: Sequence[str]
    special: Mapping[str, int]  # bos, eos, unk, pad, eot: the token's id
    add_bos: bool
    add_eos: bool
    add_space_prefix: bool
    chat_template: Any

    def describe(self, writer: Any) -> None:
        """Add the vocabulary to a GGUF file's settings."""
        writer.add_tokenizer_model(self.kind)
        writer.add_tokenizer_pre(self.pre)
        writer.add_token_list(list(self.tokens))
        writer.add_token_types(list(self.types))
        if self.scores is not None:
            writer.add_token_scores(list(self.scores))
            writer.add_add_space_prefix(self.add_space_prefix)
        else:
            writer.add_token_merges(list(self.merges))
        for role, number in self.special.items():
            getattr(writer, f"add_{role}_token_id")(number)
        writer.add_add_bos_token(self.add_bos)
        writer.add_add_eos_token(self.add_eos)
        if self.chat_template:
            writer.add_chat_template(self.chat_template)


def read_vocabulary(folder: Path, rows: int) -> Vocabulary:
    """Read the tokenizer of a model with so many rows in its embedding. Rows without a token are marked as unused.

    Raise BadConfig for a tokenizer that llama.cpp has none like it for.
    """
    tokenizer = load_tokenizer(str(folder))
    backend = getattr(tokenizer, "backend_tokenizer", None)
    told = json.loads(backend.to_str()) if backend is not None else {}
    model = told.get("model", {})
    if model.get("type") != "BPE":
        kind = quote_name(str(model.get("type", type(tokenizer).__name__)))
        raise BadConfig(f"--model {folder}: its tokenizer is {kind}, and GGUF is written of BPE alone")
    is_bytes = any(part.get("type") == "ByteLevel" for part in _list_parts(told.get("pre_tokenizer")))
    tokens, types = _list_tokens(tokenizer, told, rows, is_bytes=is_bytes)
    merges = [merge if isinstance(merge, str) else " ".join(merge) for merge in model["merges"]]
    add_bos, add_eos = _try_out(tokenizer, folder)
    return Vocabulary(
        kind="gpt2" if is_bytes else "llama",
        pre=_find_pre(told, folder) if is_bytes else "default",
        tokens=tokens,
        types=types,
        scores=None if is_bytes else _rank_tokens(tokens, model["merges"]),
        merges=merges,
        special=dict(_list_special(tokenizer, folder, rows)),
        add_bos=add_bos,
        add_eos=add_eos,
        add_space_prefix=tokenizer.tokenize("a")[0].startswith(SPACE),
        chat_template=tokenizer.chat_template,
    )


def _list_parts(told: Any) -> list[dict[str, Any]]:
    """List the steps of a tokenizer's part, which may be one or a sequence."""
    if not isinstance(told, dict):
        return []
    return list(told.get("pretokenizers", [told]))


def _find_pre(told: Mapping[str, Any], folder: Path) -> str:
    """Return llama.cpp's name of how a text is cut into words before bytes are merged."""
    steps = _list_parts(told.get("pre_tokenizer"))
    kinds = [step["type"] for step in steps]
    plain = steps[-1].get("use_regex", True) and not steps[-1].get("add_prefix_space")
    if kinds == ["ByteLevel"] and plain:
        return "gpt-2"
    if kinds == ["Digits", "ByteLevel"] and plain and steps[0].get("individual_digits"):
        return "smollm"
    if kinds == ["Split", "ByteLevel"] and not steps[-1].get("use_regex", True):
        found = _SPLITS.get(str(steps[0].get("pattern", {}).get("Regex")))
        if found and str(steps[0].get("behavior")) == "Isolated":
            return found
    told_of = " and ".join(kinds)
    raise BadConfig(
        f"--model {folder}: its tokenizer cuts words ({told_of}) in a way that is none of GPT-2's, Llama 3's, Qwen2's "
        "or SmolLM's; convert it with llama.cpp's convert_hf_to_gguf.py"
    )


def _list_tokens(tokenizer: Any, told: Mapping[str, Any], rows: int, *, is_bytes: bool) -> tuple[list[str], list[int]]:
    """Return the text and the type of each row's token."""
    added = {each["id"]: each for each in told.get("added_tokens", [])}
    known = {number: text for text, number in tokenizer.get_vocab().items()}
    tokens, types = [], []
    for row in range(rows):
        text, kind = known.get(row), NORMAL
        if text is None:
            text, kind = f"[PAD{row}]", UNUSED
        elif row in added:
            kind = CONTROL if added[row]["special"] else USER_DEFINED
            text = text.replace(SPACE, " ") if kind == USER_DEFINED else text
        elif not is_bytes and len(text) == 6 and text.startswith("<0x"):
            kind = BYTE
        if not is_bytes and row == tokenizer.unk_token_id:
            kind = UNKNOWN
        tokens.append(text)
        types.append(kind)
    return tokens, types


def _rank_tokens(tokens: Sequence[str], merges: Sequence[Any]) -> list[float]:
    """Return sentencepiece's score of each token: the earlier it is merged, the higher."""
    ranks = dict[str, int]()
    for rank, merge in enumerate(merges):
        ranks.setdefault("".join(merge.split(" ", 1) if isinstance(merge, str) else merge), rank + 1)
    return [-float(ranks.get(token, 0)) for token in tokens]


def _list_special(tokenizer: Any, folder: Path, rows: int) -> Iterator[tuple[str, int]]:
    """Yield the ids of the tokens with a role. A second end token, of a chat's turn, is eot."""
    found = {role: getattr(tokenizer, f"{role}_token_id") for role in ("bos", "eos", "unk", "pad")}
    yield from ((role, number) for role, number in found.items() if number is not None and number < rows)
    ends = [number for number in list_end_tokens(folder) if number != found["eos"] and number < rows]
    if ends:
        yield "eot", ends[0]


def list_end_tokens(folder: Path) -> list[int]:
    """List the ids at which generation ends, by generation_config.json."""
    path = folder / "generation_config.json"
    ends = read_object(path).get("eos_token_id") if path.is_file() else None
    return [ends] if isinstance(ends, int) else list(ends or [])


def _try_out(tokenizer: Any, folder: Path) -> tuple[bool, bool]:
    """Return whether a start token comes before each text, and an end token behind it."""
    plain = tokenizer(_PROBE, add_special_tokens=False)["input_ids"]
    whole = tokenizer(_PROBE)["input_ids"]
    bos, eos = [tokenizer.bos_token_id], [tokenizer.eos_token_id]
    for first, last in ((False, False), (True, False), (False, True), (True, True)):
        if whole == bos * first + plain + eos * last:
            return first, last
    raise BadConfig(f"--model {folder}: its tokenizer puts more than a start and an end token around a text")
