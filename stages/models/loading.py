"""Load a tokenizer and a model, of a directory or a hub name, with errors that name the fix."""

from functools import partial
from importlib import metadata
from pathlib import Path
from typing import Any

from stages.errors import BadConfig, BadInput
from stages.models.config import count_embedding_rows, load_config
from stages.models.device import Device
from stages.models.inspection import check_model, read_object
from stages.models.library_errors import explain_library_errors, is_installed
from stages.models.network import load_network

_TOKENIZERS = {  # files that hold one, and the packages that read them
    "tokenizer.json": (),
    "vocab.*": (),
    "tekken.json": ("mistral-common",),
    "*.tiktoken": ("tiktoken",),
    "*.model": ("sentencepiece", "protobuf"),
}
_RARE_LETTERS = "a \U0002a6a5\ue000"  # a letter that hardly a vocabulary has, and one that is nobody's


def load_tokenizer(name: str) -> Any:
    """Load a model's tokenizer. Without a pad token that the model knows, it pads with its end token.

    Raise BadInput without an end token, BadConfig for other tokens beyond the rows of the embedding.
    """
    from transformers import AutoTokenizer

    check_model(name)
    find_fault = partial(_find_tokenizer_fault, name)
    with explain_library_errors(name, "its tokenizer cannot be loaded", find_fault=find_fault):
        tokenizer = AutoTokenizer.from_pretrained(name, trust_remote_code=False)
    if tokenizer.eos_token_id is None:
        way = "set eos_token in the model's tokenizer_config.json"
        raise BadInput(f"--model {name}: its tokenizer has no end token (eos_token); {way}")
    rows = count_embedding_rows(name)
    if rows is not None:
        _check_ids(name, tokenizer, rows)
    if tokenizer.pad_token_id is None or (rows is not None and tokenizer.pad_token_id >= rows):
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer


def _find_tokenizer_fault(name: str, folder: Path, error: Exception) -> str | None:
    """Say what is wrong with a tokenizer's files, where they tell it better than the error does.

    Raise as `load_config` does where it is the model's settings.
    """
    load_config(name)
    there = {kind: next(iter(sorted(folder.glob(kind))), None) for kind in _TOKENIZERS}
    if not any(there.values()):
        return "it has no tokenizer.json; copy the tokenizer's files of the model that it was made from"
    if there["tokenizer.json"] is not None:
        read_object(there["tokenizer.json"])
        newer = f"tokenizer.json is of a format that tokenizers {metadata.version('tokenizers')} does not know"
        return f"{newer}; pip install -U tokenizers transformers" if "untagged enum" in str(error) else None
    for kind, packages in _TOKENIZERS.items():
        missing = [package for package in packages if not is_installed(package)]
        if (file := there[kind]) is not None and missing:
            return f"{file.name} needs {' and '.join(missing)}; pip install {' '.join(missing)}"
    return None


def _check_ids(name: str, tokenizer: Any, rows: int) -> None:
    """Raise BadConfig for a token that a text can come to and that the embedding has no row for.

    Others may be beyond it: the pad token, and special tokens that a text only spells, which are letters there.
    """
    beyond = {number: text for text, number in tokenizer.get_vocab().items() if number >= rows}
    if not beyond:
        return
    with explain_library_errors(name, "its tokenizer cannot be used"):
        written = set(tokenizer(_RARE_LETTERS)["input_ids"])
    roles = {tokenizer.eos_token_id: "end token ", tokenizer.bos_token_id: "start token "}
    roles |= {tokenizer.unk_token_id: "unknown token "} if tokenizer.unk_token_id in written else {}
    special = {number for number, token in tokenizer.added_tokens_decoder.items() if token.special}
    template = str(tokenizer.chat_template or "")
    for number, text in sorted(beyond.items(), key=lambda item: (item[0] not in roles, item[0])):
        if number in roles or number in written or number not in special or text in template:
            last = max(beyond)
            more = f" ({len(beyond)} are beyond, up to {beyond[last]!r} with id {last})" if len(beyond) > 1 else ""
            raise BadConfig(
                f"--model {name}: its tokenizer's {roles.get(number, 'token ')}{text!r} has id {number}, but the "
                f"embedding has {rows} rows{more}; take the tokenizer that it was trained with, or give the model more "
                "rows with resize_token_embeddings and save it"
            )


def load_model(name: str, device: Device) -> Any:
    """Load a causal language model, frozen and in eval mode, and let it read two tokens.

    So a model that cannot run in this precision on this device is refused now, and is no bug later.
    """
    import torch
    from transformers.utils import logging

    check_model(name)
    logging.disable_progress_bar()
    place, dtype = device.resolve()
    network, _ = load_network(name, dtype=dtype)
    network.requires_grad_(False)
    with explain_library_errors(name):
        network = network.to(place).eval()
    failure = f"does not run in {str(dtype).removeprefix('torch.')} on {place}"
    with explain_library_errors(name, failure), torch.no_grad():
        network(input_ids=torch.zeros(1, 2, dtype=torch.long, device=network.device))
    return network
