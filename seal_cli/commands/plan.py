"""`seal plan`"""

from pathlib import Path
from typing import Annotated

import typer

from stages.settings import Doc

Files = Annotated[
    list[Path],
    typer.Argument(metavar="FILE", help="Forecasts (--dry-run --json), or manifests; - for stdin.", show_default=False),
]


def plan(files: Files, as_json: Annotated[bool, Doc("Print a JSON object a row.", flag="--json")] = False) -> int:
    """Add up what stages will cost, or have cost: forecasts or manifests → a table with a sum.

    A FILE holds what --dry-run --json has printed, a line a stage, or is FILE.manifest.json of a run, whose forecast
    stands beside what it has cost: predicted → actual. Of memory the sum is the most; what nobody knows is left open.

    \b
    Examples:
      seal plan plan.jsonl
      seal plan run/round-1/*.manifest.json    (predicted → actual)
      make plan ROUND=2 RUN=runs/mine          (forecasts of a whole chain)
    """
    from seal_cli.reports.plans import read_costs, show_costs  # late: help does without

    show_costs([row for file in files for row in read_costs(file)], as_json=as_json)
    return 0
