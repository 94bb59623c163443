"""`seal schema`"""

import json
from typing import Annotated

import typer

from stages.errors import BadConfig


def schema(
    line: Annotated[
        str | None, typer.Argument(help="record, sft, checkpoint, training_data or arc_training_data; all if left out.")
    ] = None,
) -> int:
    """Print the JSON Schema of the lines that stages read and write.

    \b
    Examples:
      seal schema record > record.schema.json
      seal schema | jq 'keys'
    """
    from seal_cli.runs.stdio import claim_stdout, write_stdout  # late: help does without
    from stages.records.schema import get_schemas

    known = get_schemas()
    if line is not None and line not in known:
        raise BadConfig(f"schema {line}: unknown; take one of {', '.join(known)}")
    found = known if line is None else known[line]
    write_stdout(claim_stdout(), (json.dumps(found, indent=1) + "\n").encode())
    return 0
