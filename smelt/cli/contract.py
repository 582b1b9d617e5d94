"""`smelt contract`: the wire format, for clients in other languages than Python."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from smelt.cli.output import OUT, Exit, run_in_thread
from smelt.errors import PermanentError
from smelt.js_package import NAME, packed_package


class ContractFormat(StrEnum):
    """Output formats of `smelt contract`."""

    TYPESCRIPT = "typescript"
    JSONSCHEMA = "jsonschema"


def contract(
    form: Annotated[
        ContractFormat, typer.Option("--format", help="TypeScript declarations, or JSON Schema 2020-12.")
    ] = ContractFormat.TYPESCRIPT,
    js_package: Annotated[
        Path | None,
        typer.Option(
            "--js-package",
            metavar="FILE",
            help="Write the JavaScript package to this .tgz instead, for `npm install ./FILE`.",
            dir_okay=False,
        ),
    ] = None,
) -> None:
    """Print the types of the contract (TypeScript, JSON Schema)."""
    if js_package is None:
        run_in_thread(_print, form)
    run_in_thread(_pack, js_package)


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


def _pack(file: Path) -> Exit:
    content = packed_package()
    try:
        file.write_bytes(content)
    except OSError as exc:
        raise PermanentError(f"{file} can't be written: {exc.strerror}") from exc
    OUT.print(f"Wrote {NAME} to {escape(str(file))}; npm install ./{escape(file.name)}", soft_wrap=True)
    return Exit.DONE
