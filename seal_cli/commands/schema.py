"""`seal schema`"""

import json
from typing import Annotated

import typer

from seal_cli.flags.options import Domains
from stages.errors import BadConfig
from stages.plugins import allow_domain


def schema(
    line: Annotated[
        str | None, typer.Argument(help="record, sft, checkpoint, training_data or arc_training_data; all if left out.")
    ] = None,
    domain: Domains = [],  # noqa: B006 (typer reads it)
) -> int:
    """Print the JSON Schema of the lines that stages read and write. With --domain a record may be of that domain, too.

    \b
    Examples:
      seal schema record > record.schema.json
      seal schema | jq 'keys'
      seal schema record --domain package.module:Class
    """
    from seal_cli.runs.stdio import claim_stdout, write_stdout  # late: help does without
    from stages.records.schema import get_schemas

    for name in domain:
        allow_domain(name)
    known = get_schemas(domain)
    if line is not None and line not in known:
        raise BadConfig(f"schema {line}: unknown; take one of {', '.join(known)}")
    found = known if line is None else known[line]
    write_stdout(claim_stdout(), (json.dumps(found, indent=1) + "\n").encode())
    return 0
