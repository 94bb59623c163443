"""`seal export`"""

import time
from pathlib import Path
from typing import Annotated

import typer

from seal_cli.terminal.console import note
from stages.export import Export
from stages.settings import Doc


def export(
    source: Annotated[
        Path,
        typer.Argument(
            metavar="ADAPTER",
            help="An adapter's directory, a file of `seal adapt` whose lines name one, or a model's directory.",
            show_default=False,
        ),
    ],
    wanted: Export,
    adapter: Annotated[str | None, Doc("Of a file that names several: the id of one.", "ID")] = None,
) -> int:
    """Write an adapter for other programs. adapter → a merged model, PEFT, GGUF, Ollama's folder, vLLM's command.

    stdout says what was written. A merge is computed in float32 and has the base's precision; weights are read and
    written one at a time. GGUF, also of a model without an adapter, needs the package gguf (pip install
    'seal-toolkit[gguf]') and a Llama, Qwen2, Qwen3 or Gemma 3. DoRA and other methods that are more than two matrices
    a layer are refused by name.

    \b
    Examples:
      seal export run/adapters/0123456789abcdef --to merged --out run/merged
      seal export run/adapters.jsonl --to gguf --out run/adapter.gguf
      seal export run/adapters.jsonl --to gguf --merge --numbers q8_0 --out run/model.gguf
      seal export run/model --to ollama --out run/ollama
      seal export run/adapters.jsonl --adapter 0123456789abcdef --to peft --out run/peft
      eval "$(seal export run/adapters.jsonl --to vllm --name seal)"
    """
    from seal_cli.runs.stdio import claim_stdout, input_records, with_places, write_stdout  # late: help does without
    from stages import export as stage
    from stages.models.libraries import quiet_libraries

    stdout, started = claim_stdout(), time.monotonic()
    stage.check_source(source)
    if source.is_file():
        source = stage.choose_adapter(with_places(input_records(source), source), adapter, str(source))
    quiet_libraries()
    written = wanted.run(source)
    write_stdout(stdout, f"{written}\n".encode("utf-8", "surrogateescape"))
    if kind := wanted.find_lost_quantization(source):
        told = f"was trained with --quantize {kind}, and is merged with the weights that are not quantized"
        note(f"seal export: note: {source} {told}; `seal accept --served` says how far its answers are from before")
    note(f"seal export: {source} as {wanted.to}, {time.monotonic() - started:.1f} s")
    return 0
