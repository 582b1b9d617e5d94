"""`smelt contract`: the wire format, for clients in other languages than Python."""

import asyncio
from enum import StrEnum
from typing import Annotated

import typer

from smelt.cli.output import Exit, run


class ContractFormat(StrEnum):
    """Output formats of `smelt contract`."""

    TYPESCRIPT = "typescript"
    JSONSCHEMA = "jsonschema"


def contract(
    form: Annotated[
        ContractFormat, typer.Option("--format", help="TypeScript declarations, or JSON Schema 2020-12.")
    ] = ContractFormat.TYPESCRIPT,
) -> None:
    """Print the types of events, snapshots and batches, as TypeScript declarations or JSON Schema."""
    run(asyncio.to_thread(_print, form))


def _print(form: ContractFormat) -> Exit:
    import json

    from smelt.cli.declarations.schema import contract_schema
    from smelt.cli.declarations.typescript import typescript

    schema = contract_schema()
    match form:
        case ContractFormat.TYPESCRIPT:
            print(typescript(schema), end="")
        case ContractFormat.JSONSCHEMA:
            print(json.dumps(schema, indent=2, ensure_ascii=False))
    return Exit.DONE
