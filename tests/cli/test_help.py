"""Help is complete, quick to load, and goes where it belongs."""

import ast
import json
import os
import re
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
import typer.main

from seal_cli.app import COMMANDS, PANELS, make_app
from seal_cli.commands.adapt import AdaptFlags
from seal_cli.commands.rate import RateFlags
from stages.adapt import Adapt
from stages.scoring.rubric import RatingScale
from tests.cli.conftest import seal, surroundings
from tests.cli.test_golden import GOLDEN
from tests.test_architecture import HEAVY

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
    assert not loaded & {*HEAVY, "numpy", "rich", "ssl", "stages.records.record"}


def test_flags_have_the_defaults_of_the_stage_that_they_are_for() -> None:
    for flags, stage in ((AdaptFlags(), Adapt()), (RateFlags(), RatingScale())):
        assert vars(flags) == {name: getattr(stage, name) for name in vars(flags)}


def test_the_help_of_seal_imports_no_command() -> None:
    run = subprocess.run(
        [sys.executable, "-c", LOADED, "seal"], capture_output=True, text=True, env=surroundings(), check=True
    )
    loaded = set(json.loads(run.stdout.splitlines()[-1]))
    assert not {name for name in loaded if name.startswith(("seal_cli.commands.", "stages.records."))}


@pytest.fixture(scope="module")
def helps() -> dict[str, str]:
    """What `--help` of seal and of each command prints on a terminal of 80 columns, as test_golden.py holds it."""
    return {command: (GOLDEN / "help" / f"{command or 'seal'}.txt").read_text() for command in ("", *COMMANDS)}


def test_the_help_names_every_command_and_goes_to_stdout(helps: dict[str, str]) -> None:
    helped = seal("--help", COLUMNS="80")
    assert (helped.code, helped.out, helped.err) == (0, helps[""], "")
    assert "Usage: seal [OPTIONS] COMMAND" in helps[""]
    for command in COMMANDS:
        assert f"\n  {command} " in helps[""]


@pytest.mark.parametrize("command", COMMANDS)
def test_each_commands_help_has_examples_of_that_command(helps: dict[str, str], command: str) -> None:
    _, _, examples = helps[command].partition("Examples:\n")
    assert f"seal {command} " in examples.split("\n\n")[0]


def test_no_line_of_the_help_is_wider_than_80_columns_or_cut_off(helps: dict[str, str]) -> None:
    for told in helps.values():
        usage, _, rest = told.partition("\n")
        assert "..." not in rest
        assert len(usage) <= 80
        before, _, examples = rest.partition("Examples:\n")
        assert [line for line in (before + examples.partition("\n\n")[2]).splitlines() if len(line) > 80] == []


@pytest.mark.parametrize("arguments", [(), ("tasks",), ("report",)])
def test_without_arguments_the_help_is_the_answer(arguments: tuple[str, ...]) -> None:
    asked = seal(*arguments)
    assert (asked.code, asked.out) == (2, "")
    assert asked.err.startswith(f"Usage: {' '.join(['seal', *arguments])} ")
    assert asked.err.count("--help") == 1


def test_options_stand_under_titles_the_stages_own_first(helps: dict[str, str]) -> None:
    told = helps["adapt"]
    titles = [line for line in told.splitlines() if line.endswith(":") and not line.startswith(" ")]
    assert titles == [
        "Arguments:",
        "Options:",
        "Pools:",
        "Training:",
        "Judge:",
        "Engine and device:",
        "Cluster:",
        "Servers:",
        "Forecast (with --dry-run):",
        "Lines in and out:",
    ]
    own, training = told.partition("Options:\n")[2].split("Training:\n")
    assert "--seeds" in own
    assert "--rank" in training.partition("Engine and device:")[0]


def test_each_title_stands_over_options_of_some_command() -> None:
    group = typer.main.get_command(make_app())
    params = [param for command in group.commands.values() for param in command.params]  # type: ignore[attr-defined]
    assert {param.rich_help_panel for param in params} - {None} == set(PANELS) - {"Arguments"}


def test_h_is_help_everywhere(helps: dict[str, str]) -> None:
    assert seal("-h", COLUMNS="80").out == helps[""]
    assert seal("filter", "-h", COLUMNS="80").out == helps["filter"]


def test_the_version_is_that_of_the_package() -> None:
    asked = seal("--version")
    assert (asked.code, asked.out) == (0, f"seal {version('seal-toolkit')}\n")


@pytest.mark.parametrize("arguments", [["--help"], ["--version"], ["adapt", "--help"]])
def test_a_reader_that_is_gone_and_a_full_disk_end_help_without_a_traceback(arguments: list[str]) -> None:
    command = [sys.executable, "-m", "seal_cli", *arguments]
    ours, theirs = os.pipe()
    os.close(ours)
    with Path("/dev/full").open("wb") as full, os.fdopen(theirs, "wb") as gone:
        for out, code, told in ((gone, 141, ""), (full, 74, "seal: no space left on the device (standard output)")):
            run = subprocess.run(command, stdout=out, stderr=subprocess.PIPE, text=True, env=surroundings())
            assert (run.returncode, run.stderr.partition(";")[0]) == (code, told)


def test_bash_completes_commands_options_and_values(tmp_path: Path) -> None:
    """The script that --show-completion prints, asked as bash asks it when Tab is pressed."""
    offered = {
        "seal ad": "adapt",
        "seal adapt --sched": "--schedule",
        "seal adapt --schedule ''": "linear cosine constant",
        "seal eval --judge l": "lexical",
        "seal generate -t self": "self-qa",
        "seal tasks ''": "",  # a file: the shell's own completion
    }
    (tmp_path / "seal").write_text(f'#!/bin/sh\nexec {sys.executable} -m seal_cli "$@"\n')
    (tmp_path / "seal").chmod(0o755)
    tab = 'COMP_CWORD=$((${#COMP_WORDS[@]} - 1)); _seal_completion seal; echo "${COMPREPLY[@]}"'
    asked = "".join(f"COMP_WORDS=({words}); {tab}\n" for words in offered)
    script = f'eval "$(seal --show-completion bash)"\n{asked}'
    env = surroundings(PATH=f"{tmp_path}:{os.environ['PATH']}")
    run = subprocess.run(["bash", "-c", script], capture_output=True, text=True, env=env, check=True)
    assert run.stdout.split("\n")[:-1] == list(offered.values())


def test_a_wrong_value_is_named_with_its_option() -> None:
    assert seal("adapt", "--rank", "x").err == "seal: --rank x: should be a valid integer (see `seal adapt --help`)\n"
    told = seal("adapt", "--schedule", "step").err
    assert told.startswith("seal: --schedule step: 'step' is not one of 'linear', 'cosine', 'constant' (see")
    assert seal("filter", "--limit", "0").err.startswith("seal: --limit 0: should be greater than or equal to 1 (see")


FOREIGN = {
    "--array",
    "--fit",
    "--enable-lora",
    "--max-lora-rank",
    "--lora-modules",
    "--head",
}  # sbatch, vllm serve, ray
FOREIGN |= {
    f"--{name}"
    for name in ("from", "to", "wrap", "sandbox", "lua-filter", "metadata", "decrypt", "password", "local-dir")
}
FLAG = re.compile(r"(?<![\w-])--[a-z][a-z0-9-]*[a-z0-9]")


def test_every_flag_that_a_message_names_is_one_of_some_command() -> None:
    group: Any = typer.main.get_command(make_app())
    commands = [group, *group.commands.values()]
    known = {
        name for command in commands for option in command.params for name in [*option.opts, *option.secondary_opts]
    }
    for file in [*Path("seal_cli").rglob("*.py"), *Path("stages").rglob("*.py")]:
        texts = [node.value for node in ast.walk(ast.parse(file.read_text())) if isinstance(node, ast.Constant)]
        named = {flag for text in texts if isinstance(text, str) for flag in FLAG.findall(text)}
        assert named <= known | FOREIGN | {"--help"}, file
