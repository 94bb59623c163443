"""Ollama's folder: its template writes a chat as the model's own does, and its files are there."""

import re
from pathlib import Path

import gguf
import pytest

from stages.errors import BadConfig
from stages.export import Export
from stages.exports.ollama import make_ollama_template
from tests.exports.tiny import make_byte_level

CHATML = (
    "{% if messages[0]['role'] != 'system' %}<|im_start|>system\nBe kind.<|im_end|>\n{% endif %}"
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
LLAMA3 = (
    "{{ bos_token }}{% for m in messages %}<|start_header_id|>{{ m['role'] }}<|end_header_id|>\n\n"
    "{{ m['content'] | trim }}<|eot_id|>{% endfor %}"
    "{% if add_generation_prompt %}<|start_header_id|>assistant<|end_header_id|>\n\n{% endif %}"
)
GEMMA = (
    "{{ bos_token }}{% if messages[0]['role'] == 'system' %}{% set first = messages[0]['content'] + '\n\n' %}"
    "{% set rest = messages[1:] %}{% else %}{% set first = '' %}{% set rest = messages %}{% endif %}"
    "{% for m in rest %}<start_of_turn>{{ 'model' if m['role'] == 'assistant' else m['role'] }}\n"
    "{{ first if loop.first else '' }}{{ m['content'] }}<end_of_turn>\n{% endfor %}"
    "{% if add_generation_prompt %}<start_of_turn>model\n{% endif %}"
)
NO_SYSTEM = "{% if messages[0]['role'] == 'system' %}{{ raise_exception('no system') }}{% endif %}" + CHATML


def fill_in(template: str, system: str, prompt: str, response: str) -> str:
    """What Ollama's language makes of a template with the one `if` that ours have."""
    chosen = re.sub(
        r"{{ if \.System }}(.*?){{ else }}(.*?){{ end }}", lambda m: m[1] if system else m[2], template, flags=re.DOTALL
    )
    for name, text in (("System", system), ("Prompt", prompt), ("Response", response)):
        chosen = chosen.replace(f"{{{{ .{name} }}}}", text)
    return chosen


@pytest.mark.parametrize("system", ["", "Answer in verse."])
@pytest.mark.parametrize("written", [CHATML, LLAMA3, GEMMA, NO_SYSTEM])
def test_the_template_writes_a_chat_as_the_models_own(written: str, system: str) -> None:
    tokenizer = make_byte_level(start="<|begin|>")
    tokenizer.chat_template = written
    template = make_ollama_template(tokenizer, Path("model"))
    messages = [{"role": "user", "content": "Who was Ada?"}, {"role": "assistant", "content": "A builder."}]
    if system and written != NO_SYSTEM:
        messages.insert(0, {"role": "system", "content": system})
    wanted = tokenizer.apply_chat_template(messages, tokenize=False).removeprefix("<|begin|>")
    assert fill_in(template, system, "Who was Ada?", "A builder.") == wanted
    opened = tokenizer.apply_chat_template(messages[:-1], tokenize=False, add_generation_prompt=True)
    before, _, _ = template.partition("{{ .Response }}")  # Ollama cuts there
    assert fill_in(before, system, "Who was Ada?", "") == opened.removeprefix("<|begin|>")


def test_without_a_template_the_prompt_is_as_it_is() -> None:
    assert make_ollama_template(make_byte_level(), Path("model")) == "{{ .Prompt }}"


def test_a_template_that_cannot_be_said_is_refused() -> None:
    tokenizer = make_byte_level()
    tokenizer.chat_template = "{{ messages[0]['content'] }}{{ messages[0]['content'] }}"
    with pytest.raises(
        BadConfig, match="--model model: its chat template does not write a turn: it has a text 2 times"
    ):
        make_ollama_template(tokenizer, Path("model"))


def test_the_folder_has_the_model_and_the_adapter_or_both_in_one(loras: dict[str, Path], tmp_path: Path) -> None:
    Export(to="ollama", out=tmp_path / "two", context=256).run(loras["llama"])
    assert sorted(path.name for path in (tmp_path / "two").iterdir()) == ["Modelfile", "adapter.gguf", "model.gguf"]
    told = (tmp_path / "two/Modelfile").read_text().splitlines()
    assert told[:3] == ["FROM ./model.gguf", "ADAPTER ./adapter.gguf", 'TEMPLATE """{{ .Prompt }}"""']
    assert told[3:] == ['PARAMETER stop "<|endoftext|>"', "PARAMETER num_ctx 256"]
    Export(to="ollama", out=tmp_path / "one", merge=True, numbers="f16").run(loras["llama"])
    assert sorted(path.name for path in (tmp_path / "one").iterdir()) == ["Modelfile", "model.gguf"]
    assert "ADAPTER" not in (tmp_path / "one/Modelfile").read_text()
    kinds = {each.tensor_type.name for each in gguf.GGUFReader(tmp_path / "one/model.gguf").tensors}
    assert kinds == {"F16", "F32"}
