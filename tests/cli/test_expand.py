"""A command takes dataclasses, and its options are their fields."""

from dataclasses import dataclass
from inspect import signature
from typing import Annotated, Any, ClassVar

import typer
from typer.testing import CliRunner

from seal_cli.flags.expand import Given, Without, expand
from stages.models.device import Device
from stages.settings import Doc, FitConfig, SftConfig


@dataclass(frozen=True)
class Shown:
    """Flags with another group's within."""

    panel: ClassVar[str] = "Options"
    wait_s: Annotated[float | None, Doc("Wait.", "S", "--wait")] = None
    files: Annotated[tuple[str, ...], Doc(flag="--file")] = ()
    device: Device = Device()
    known: int = 3  # no flag


def called(command: Any, *arguments: str) -> dict[str, Any]:
    """What the command was called with."""
    app, found = typer.Typer(), dict[str, Any]()

    def record(**values: Any) -> int:
        found.update(values)
        return 0

    record.__signature__ = signature(command)  # type: ignore[attr-defined]
    app.command()(expand(record))
    run = CliRunner().invoke(app, arguments)
    assert run.exit_code == 0, run.output
    return found


def test_a_dataclass_is_made_of_its_options_and_keeps_its_other_defaults() -> None:
    def command(shown: Shown, config: SftConfig) -> int: ...

    found = called(command, "--wait", "2", "--file", "a", "--file", "b", "--device", "cuda:1", "--target", "all-linear")
    assert found["shown"] == Shown(2.0, ("a", "b"), Device("cuda:1"))
    assert found["config"] == SftConfig(targets=("all-linear",))
    assert called(command) == {"shown": Shown(), "config": SftConfig()}


def test_what_was_given_goes_over_the_defaults_of_a_domain() -> None:
    def command(fit: Given[FitConfig]) -> int: ...

    fit = called(command, "--rank", "4", "--schedule", "constant")["fit"]
    assert fit.values == {"rank": 4, "schedule": "constant"}
    assert called(command)["fit"].values == {}


def test_two_groups_share_an_option_and_a_command_may_leave_one_out_or_put_its_own_there() -> None:
    def command(
        one: Annotated[Shown, Without("wait", "file")], other: Device, dtype: Annotated[str, Doc("My own.")] = "auto"
    ) -> int: ...

    found = called(command, "--device", "cpu", "--dtype", "float32")
    assert found == {
        "one": Shown(device=Device("cpu", "float32")),
        "other": Device("cpu", "float32"),
        "dtype": "float32",
    }
    assert list(signature(expand(command)).parameters) == ["device", "dtype", "quantize"]


def test_a_parameter_may_be_called_otherwise_than_its_flag() -> None:
    def command(json_rows: Annotated[bool, Doc("As JSON.", flag="--json")] = False) -> int: ...

    assert called(command, "--json") == {"json_rows": True}


def test_help_has_words_bounds_and_defaults_of_the_fields() -> None:
    def command(fit: Given[FitConfig]) -> int: ...

    option = signature(expand(command)).parameters["rank"].annotation.__metadata__[0]
    assert (option.help, option.min, option.metavar) == ("LoRA rank. [default: 32; ARC: 128]", 1, "R")
    assert option.rich_help_panel == "Training"
