"""`smelt contract`: what goes over the wire, for those who do not read Python."""

import asyncio
from enum import StrEnum
from typing import Annotated

import typer

from smelt.cli.output import Exit, run


class ContractFormat(StrEnum):
    """How the contract is written."""

    TYPESCRIPT = "typescript"
    JSONSCHEMA = "jsonschema"


def contract(
    form: Annotated[
        ContractFormat, typer.Option("--format", help="Declarations, or JSON Schema 2020-12.")
    ] = ContractFormat.TYPESCRIPT,
) -> None:
    """Print the events, states and batches of smelt as TypeScript declarations or as JSON Schema."""
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
