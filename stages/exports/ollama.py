"""A folder that `ollama create` reads: GGUF files and a Modelfile that says how a chat is written for the model.

Ollama has its own language of templates. The model's chat template is tried out on a chat of one turn, and what it puts
around the texts is written in that language.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stages.errors import BadConfig
from stages.exports.gguf.lora import write_gguf_lora
from stages.exports.gguf.model import write_gguf_model
from stages.exports.gguf.vocabulary import list_end_tokens
from stages.exports.gguf.writing import Numbers
from stages.exports.plain_lora import PlainLora
from stages.exports.weights import ModelWeights
from stages.files import atomic_directory, write_file
from stages.models.loading import load_tokenizer
from stages.tokens.chat_templates import render_chat

MODELFILE = "Modelfile"
_MODEL, _ADAPTER = "model.gguf", "adapter.gguf"
_USER, _SYSTEM, _ANSWER = "{seal user}", "{seal system}", "{seal answer}"  # texts that no template has
_Messages = list[dict[str, str]]


def write_ollama_folder(
    weights: ModelWeights, lora: PlainLora | None, out: Path, name: str, *, numbers: Numbers | None, context: int | None
) -> None:
    """Write the folder: complete or absent. `lora` becomes an ADAPTER; one that `weights` has is merged.

    Raise BadConfig for a model that GGUF is not written of, or a chat template that Ollama's language cannot say.
    """
    modelfile = make_modelfile(weights.folder, has_adapter=lora is not None, context=context)
    with atomic_directory(out) as partial:
        write_gguf_model(weights, partial / _MODEL, name, numbers)
        if lora is not None:
            write_gguf_lora(lora, weights.folder, partial / _ADAPTER, name)
        write_file(partial / MODELFILE, modelfile.encode())


def make_modelfile(folder: Path, *, has_adapter: bool, context: int | None) -> str:
    """Return the Modelfile of the model in this folder."""
    tokenizer = load_tokenizer(str(folder))
    lines = [f"FROM ./{_MODEL}", *([f"ADAPTER ./{_ADAPTER}"] if has_adapter else [])]
    lines.append(f'TEMPLATE """{make_ollama_template(tokenizer, folder)}"""')
    ends = dict.fromkeys([tokenizer.eos_token_id, *list_end_tokens(folder)])
    lines += [f"PARAMETER stop {_quote(text)}" for text in tokenizer.convert_ids_to_tokens(list(ends)) if text]
    if context is not None:
        lines.append(f"PARAMETER num_ctx {context}")
    return "\n".join(lines) + "\n"


def _quote(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


@dataclass(frozen=True)
class _Turn:
    """What a chat template puts around the texts of a turn."""

    before: str
    after: str
    system: tuple[str, str] | None  # around a system's text; None: it takes none
    end: str  # behind the answer


def make_ollama_template(tokenizer: Any, folder: Path) -> str:
    """Return the model's chat template in Ollama's language; without one the prompt as it is."""
    if not tokenizer.chat_template:
        return "{{ .Prompt }}"
    turn = _try_out(tokenizer, folder)
    texts = [turn.before, turn.after, turn.end, *(turn.system or ())]
    if any('"""' in text or "{{" in text or "}}" in text for text in texts):
        raise BadConfig(f'--model {folder}: its chat template writes """ or {{{{, which a Modelfile cannot say')
    start = turn.before
    if turn.system:
        first, then = turn.system
        start = f"{{{{ if .System }}}}{first}{{{{ .System }}}}{then}{{{{ else }}}}{start}{{{{ end }}}}"
    return f"{start}{{{{ .Prompt }}}}{turn.after}{{{{ .Response }}}}{turn.end}"


def _try_out(tokenizer: Any, folder: Path) -> _Turn:
    user, system, answer = (
        {"role": role, "content": text} for role, text in (("user", _USER), ("system", _SYSTEM), ("assistant", _ANSWER))
    )
    render = _make_renderer(tokenizer)
    try:
        before, after = _split(render([user], True), [_USER])
        *_, end = _split(render([user, answer], False), [_USER, _ANSWER])
    except Exception as error:  # a template may raise what it likes
        told = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise BadConfig(f"--model {folder}: its chat template does not write a turn: {told}") from error
    try:
        first, then, last = _split(render([system, user], True), [_SYSTEM, _USER])
        around = (first, then) if last == after else None
    except Exception:  # noqa: BLE001 — Gemma 1's and others' raise for a system's message
        around = None
    return _Turn(before, after, around, end)


def _make_renderer(tokenizer: Any) -> Callable[[_Messages, bool], str]:
    """Return a function that writes messages as text, without the start token that Ollama itself puts there."""
    plain = tokenizer("a")["input_ids"][:1] == [tokenizer.bos_token_id]
    start = tokenizer.bos_token if plain and tokenizer.bos_token else ""

    def render(messages: _Messages, prompts: bool) -> str:
        return render_chat(tokenizer, messages, add_generation_prompt=prompts).removeprefix(start)

    return render


def _split(text: str, parts: Sequence[str]) -> list[str]:
    """Return what is around the parts, each of which is there once and in this order. Raise ValueError otherwise."""
    found = []
    for part in parts:
        if text.count(part) != 1:
            raise ValueError(f"it has a text {text.count(part)} times")
        before, _, text = text.partition(part)
        found.append(before)
    return [*found, text]
