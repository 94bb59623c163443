"""README, docs and help name only what is there: every command, flag, target and file, and the reverse."""

import json
import re
import shlex
import sys
from pathlib import Path

import pytest
import typer.main

from seal_cli.app import COMMANDS, HELP, make_app
from seal_cli.exit_codes import CODES
from stages.records.schema import get_schemas
from tests.cli.conftest import pipe
from tests.conftest import ROOT

README = (ROOT / "README.md").read_text(encoding="utf-8")
MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")
MAKE = r"(?:^|`)make ([a-z-]+)"
OTHERS = {"--enable-lora", "--max-lora-rank", "--cache-ram"}  # flags of vllm that pages show
GROUP = typer.main.get_command(make_app())
EPILOGUES = [GROUP.commands[name].help or "" for name in COMMANDS]
PAGES = {path.name: path.read_text(encoding="utf-8") for path in sorted((ROOT / "docs").glob("*.md"))}
PAGES = {"README.md": README, **PAGES, "CONTRIBUTING.md": (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")}
DOCS = "\n".join(PAGES.values())
TEXTS = {**PAGES, "the help of seal": HELP, **dict(zip(COMMANDS, EPILOGUES, strict=True))}


def flags_of(command: str) -> set[str]:
    params = GROUP.commands[command].params
    return {flag for param in params for flag in (*param.opts, *param.secondary_opts)} | {"--help"}


def seal_calls(text: str) -> list[tuple[str, str]]:
    """(command, rest of the call) for each `seal COMMAND …` up to a pipe, a backtick, a comment or the line's end."""
    joined = text.replace("\\\n", " ").replace("|\n", "| ")
    call = r"(?:^|[`|;]|\s{2})\s*seal ([a-z]+)((?: (?:'[^'\n]*'|[^|`#>(\n]|\([a-z] )*)?)"
    found = re.findall(call, joined, re.MULTILINE)
    return [(command, rest) for command, rest in found if command in COMMANDS]


@pytest.mark.parametrize("name", TEXTS)
def test_every_flag_that_a_text_shows_exists(name: str) -> None:
    calls = seal_calls(TEXTS[name])
    assert calls or name in PAGES or name == "schema"
    for command, rest in calls:
        used = {word.split("=")[0] for word in shlex.split(rest, posix=False) if word.startswith("-") and word != "-"}
        assert used <= flags_of(command), f"{name}: seal {command} has no {', '.join(used - flags_of(command))}"


def test_every_flag_in_prose_exists() -> None:
    every = set().union(*(flags_of(command) for command in COMMANDS))
    prose = set(re.findall(r"`(--[a-z-]+)", DOCS)) - OTHERS
    assert prose
    assert prose <= every, f"no command has {', '.join(prose - every)}"


def test_every_command_is_in_the_readme_and_in_the_help() -> None:
    for command in COMMANDS:
        assert f"seal {command}" in README
        assert GROUP.commands[command].short_help


def test_every_make_target_in_a_text_exists() -> None:
    targets = set(re.findall(r"^([a-z-]+):", MAKEFILE, re.MULTILINE))
    assert {"demo", "test", "round"} <= set(re.findall(MAKE, README, re.MULTILINE))
    assert set(re.findall(MAKE, DOCS, re.MULTILINE)) <= targets


def test_every_make_variable_in_a_text_exists() -> None:
    named = set(re.findall(r"\b([A-Z]+)=", "\n".join(re.findall(r"^make .*", DOCS, re.MULTILINE))))
    names = ("round.sh", "documents/run.sh", "documents/capacity.sh", "gemma/run.sh")
    scripts = "".join((ROOT / "examples" / name).read_text(encoding="utf-8") for name in names)
    assert named <= set(re.findall(r"\$\{([A-Z_]+)[:=]", scripts)) | {"SHORT"}


@pytest.mark.parametrize("name", PAGES)
def test_every_file_that_a_page_names_or_links_exists(name: str) -> None:
    folder = ROOT / "docs" if (ROOT / "docs" / name).exists() else ROOT
    named = re.findall(r"\b((?:examples|stages|seal_cli|tests)/[\w./-]*\w)", re.sub(r"\]\([^)]*\)", "", PAGES[name]))
    links = [link.split("#")[0] for link in re.findall(r"\]\(([^)]+)\)", PAGES[name]) if "://" not in link]
    assert [path for path in named if not (ROOT / path).exists()] == []
    assert [link for link in links if not (folder / link).exists()] == []


def test_the_readme_is_short_and_leads_to_every_page() -> None:
    assert README.count("\n") <= 130
    assert {f"docs/{path.name}" for path in (ROOT / "docs").glob("*.md")} <= set(re.findall(r"\]\(([^)]+)\)", README))


def test_the_walk_through_the_code_follows_its_imports() -> None:
    """Each file is imported by one before it, or named there as pkg.mod:Class."""
    files = re.findall(r"^\d+\. `([\w/]+)\.py`", PAGES["architecture.md"], re.MULTILINE)
    modules = [file.replace("/", ".") for file in files]
    texts = [(ROOT / f"{file}.py").read_text(encoding="utf-8") for file in files]
    assert 15 < len(files) <= 25
    for number, module in enumerate(modules[1:], 1):
        leads = re.compile(rf"from {re.escape(module)} import|[\"']{re.escape(module)}:")
        assert any(map(leads.search, texts[:number])), module


def test_the_page_of_records_says_of_every_field_what_the_schema_says() -> None:
    schema = get_schemas()["record"]
    wanted = {
        name: {field: " ".join(each["description"].split()) for field, each in part["properties"].items()}
        for name, part in {"Record": schema, **schema["$defs"]}.items()
    }
    parts = re.split(r"^### .+ \(`(\w+)`\)$", PAGES["records.md"], flags=re.MULTILINE)[1:]
    tables = [dict(re.findall(r"^\| `(\w+)` \| (.+) \|$", text, re.MULTILINE)) for text in parts[1::2]]
    assert dict(zip(parts[::2], tables, strict=True)) == wanted


def test_the_glossary_has_forty_terms_in_order() -> None:
    terms = [term.lower() for term in re.findall(r"^\| ([^|]+?) \|", PAGES["glossary.md"], re.MULTILINE)][1:]
    assert len(terms) >= 40
    assert terms == sorted(set(terms), key=lambda term: term.replace("-", " "))


def test_the_exit_codes_of_the_docs_are_the_programs() -> None:
    table = {
        int(code)
        for row in re.findall(r"^\| ([\d, ]+) \|", PAGES["exit-codes.md"], re.MULTILINE)
        for code in row.split(",")
    }
    assert set(CODES.values()) <= table
    assert {0, 2, 3, 70, 74, 130, 141, 143} <= table


def test_every_example_in_a_help_text_belongs_to_its_command() -> None:
    for command in COMMANDS:
        text = GROUP.commands[command].help or ""
        assert "Examples:" in text
        assert any(called == command for called, _ in seal_calls(text))


def test_the_program_of_the_docs_in_the_place_of_generate_makes_lines_that_are_trained_on(tmp_path: Path) -> None:
    (block,) = (text for text in re.findall(r"```sh\n(.*?)```", DOCS, re.DOTALL) if "python -c" in text)
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    run = pipe(block.replace("python -c", f"{sys.executable} -c"), cwd=tmp_path)
    assert run.code == 0, run.err
    lines = [json.loads(line) for line in (tmp_path / "adapters.jsonl").read_text().splitlines()]
    assert len({line["edit"]["id"] for line in lines}) == 3
    for line in lines:
        assert line["edit"]["completion"].count("\n") == line["task"]["context"].count(". ")
        assert (tmp_path / line["adapter"]["path"] / "adapter_model.safetensors").is_file()


def test_every_guarantee_names_a_test() -> None:
    rows = list(re.findall(r"^\| (.*) \|$", PAGES["guarantees.md"], re.MULTILINE))[2:]
    assert len(rows) > 15
    assert [row for row in rows if not re.search(r"`(tests/[\w/]+\.py|make torture)`", row)] == []
