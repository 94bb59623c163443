"""Help is complete, quick to load, and goes where it belongs."""

import json
import subprocess
import sys

import pytest

from seal_cli.app import COMMANDS
from tests.cli.conftest import seal, surroundings

HEAVY = ("torch", "transformers", "datasets", "peft", "trl", "numpy", "matplotlib", "jsonlines")  # typer has pydantic
LOADED = """
import json, sys
from seal_cli.app import main
for command in sys.argv[1].split():
    sys.argv = ["seal", *([command] if command != "seal" else []), "--help"]
    try:
        main()
    except SystemExit as end:
        assert not end.code, command
print("\\n" + json.dumps(sorted(sys.modules)))
"""


def test_no_help_loads_a_heavy_library() -> None:
    command = [sys.executable, "-c", LOADED, " ".join(["seal", *COMMANDS])]
    run = subprocess.run(command, capture_output=True, text=True, env=surroundings(), check=True)
    loaded = set(json.loads(run.stdout.splitlines()[-1]))
    assert "typer" in loaded
    assert not loaded & set(HEAVY)


def test_the_help_names_every_command_and_goes_to_stdout() -> None:
    helped = seal("--help")
    assert (helped.code, helped.err) == (0, "")
    assert "Usage: seal [OPTIONS] COMMAND" in helped.out
    for command in COMMANDS:
        assert f"\n  {command} " in helped.out


@pytest.mark.parametrize("command", COMMANDS)
def test_each_commands_help_has_examples_of_that_command(command: str) -> None:
    helped = seal(command, "--help")
    assert (helped.code, helped.err) == (0, "")
    _, _, examples = helped.out.partition("Examples:\n")
    assert f"seal {command} " in examples.split("\n\n")[0]


@pytest.mark.parametrize("arguments", [(), ("tasks",), ("report",)])
def test_without_arguments_the_help_is_the_answer(arguments: tuple[str, ...]) -> None:
    asked = seal(*arguments)
    assert (asked.code, asked.out) == (2, "")
    assert asked.err.startswith(f"Usage: {' '.join(['seal', *arguments])} ")
    assert asked.err.count("--help") == 1
