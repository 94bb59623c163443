"""The flags of a forecast: what a run would cost, beside --dry-run."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar

from annotated_types import Ge

from seal_cli.exit_codes import UsageError
from seal_cli.flags.run import RunFlags
from stages.errors import ExistingOutput, refuse_given
from stages.settings import Doc


@dataclass(frozen=True)
class ForecastFlags:
    """What a dry run tells beside its counts."""

    panel: ClassVar[str] = "Forecast (with --dry-run)"
    calibrate: Annotated[
        bool, Doc("Load the model and try it on a few lines: seconds, memory and lengths follow from that.")
    ] = False
    as_json: Annotated[bool, Doc("Print the forecast as a JSON object.", flag="--json")] = False
    suppose: Annotated[
        Path | None, Doc("Write lines as they might come, for the dry run of the next stage.", "FILE")
    ] = None
    price_in: Annotated[float | None, Ge(0.0), Doc("Price of a million tokens sent to servers.", "X")] = None
    price_out: Annotated[float | None, Ge(0.0), Doc("Price of a million tokens that they write.", "X")] = None

    @property
    def is_asked(self) -> bool:
        """True if more than counts is asked for."""
        return self != ForecastFlags()

    def given(self) -> Mapping[str, object]:
        """Return the flags by their names; None for those that were not given."""
        found = {"--calibrate": self.calibrate or None, "--json": self.as_json or None, "--suppose": self.suppose}
        return {**found, "--price-in": self.price_in, "--price-out": self.price_out}

    def check(self, run: RunFlags) -> None:
        """Raise for flags without a dry run, and where FILE of --suppose is there already."""
        if not run.dry_run:
            refuse_given(self.given(), "it says what a run would cost; give --dry-run, too")
        if self.suppose and run.output:
            raise UsageError(f"--suppose {self.suppose}: a dry run writes no other lines; leave out -o")
        if self.suppose and self.suppose.exists() and not run.overwrite:
            raise ExistingOutput(f"--suppose {self.suppose}: exists already; give --overwrite, or another file")
