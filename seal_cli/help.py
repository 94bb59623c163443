"""The help of a command: options under titles, no line cut off."""

from typing import Any

from typer.core import TyperCommand

from seal_cli.flags.options import LINES_PANEL, OWN_PANEL

_ARGUMENTS = "Arguments"
PANELS = (_ARGUMENTS, OWN_PANEL, "Training", "Sampling", "Judge", "Engine and device", "Servers", LINES_PANEL)


class TitledCommand(TyperCommand):
    """A command whose help sorts its options under titles."""

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Write arguments first, then the stage's own options, then those that it shares with others."""
        params = self.get_params(ctx)
        for panel in PANELS:
            rows = [param.get_help_record(ctx) for param in params if _panel_of(param) == panel]
            if any(rows):
                with formatter.section(panel):
                    formatter.write_dl([row for row in rows if row])


def _panel_of(param: Any) -> str:
    """Return the title that a parameter stands under."""
    if param.param_type_name == "argument":
        return _ARGUMENTS
    return LINES_PANEL if param.name == "help" else param.rich_help_panel or OWN_PANEL
