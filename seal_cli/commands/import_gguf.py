"""`seal import`"""

import time
from pathlib import Path
from typing import Annotated

import typer

from seal_cli.terminal.console import note
from stages.import_gguf import Import


def import_gguf(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A GGUF file.", show_default=False)],
    wanted: Import,
) -> int:
    """Make a model directory of a GGUF file. llama.cpp's or Ollama's file → what --model takes.

    Read are Llama, Qwen2, Qwen3 and Gemma 3, with weights of any kind that the package gguf can dequantize (pip
    install 'seal-toolkit[gguf]'). The tokenizer begins each text as llama.cpp does. Nothing in the file is run; its
    chat template, which is taken over, is rendered in jinja's sandbox where a stage uses it. stdout names the
    directory.

    \b
    Examples:
      seal import gemma-3-270m-Q4_K_M.gguf --out models/gemma
      seal import qwen3-0.6b-q8_0.gguf --out models/qwen --dtype bfloat16
    """
    from seal_cli.runs.stdio import claim_stdout, write_stdout  # late: help does without
    from stages.models.libraries import quiet_libraries

    stdout, started = claim_stdout(), time.monotonic()
    quiet_libraries()
    found = wanted.run(file)
    write_stdout(stdout, f"{wanted.out}\n".encode("utf-8", "surrogateescape"))
    note(f"seal import: {found}; {time.monotonic() - started:.1f} s")
    return 0
