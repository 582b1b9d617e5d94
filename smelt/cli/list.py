"""`smelt list`: what the signed-in user has had smelted."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from smelt.cli.connection import open_project
from smelt.cli.output import OUT, Exit, print_json, run
from smelt.errors import SettingsError
from smelt.settings import ProjectSettings

if TYPE_CHECKING:
    from smelt.backend.client_rpc import ListedSmelt


def list_smelts(
    count: Annotated[int, typer.Option("--count", "-n", help="How many at most.", min=1, max=1000)] = 20,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a line.")] = False,
) -> None:
    """List your smelts, the newest first."""
    run(_list(count, as_json), as_json=as_json)


async def _list(count: int, as_json: bool) -> Exit:
    settings = ProjectSettings.read()
    if settings.access_token is None:
        raise SettingsError(
            "SMELT_ACCESS_TOKEN is not set: a list is of somebody's smelts, and wants the token of a signed-in user; "
            "`smelt show ID` shows one without it"
        )
    from smelt.backend.client_rpc import ClientRpc

    async with open_project(settings) as project:
        listed = await ClientRpc(project.rpc).list_smelts(count)
    if as_json:
        for smelt in listed:
            print_json({"event": "smelt", **smelt.model_dump(mode="json")})
    else:
        _print(listed)
    return Exit.DONE


def _print(listed: Sequence["ListedSmelt"]) -> None:
    from rich.table import Table
    from rich.text import Text

    if not listed:
        OUT.print("No smelts yet; `smelt submit FILE` makes one.")
        return
    table = Table.grid(padding=(0, 2))
    table.add_column(no_wrap=True)
    table.add_column(no_wrap=True, min_width=36)  # Half an id is none.
    table.add_column(no_wrap=True)
    table.add_column()
    for smelt in listed:
        names = ", ".join(file.filename for file in sorted(smelt.files, key=lambda file: file.position))
        created = smelt.created_at.astimezone().strftime("%Y-%m-%d %H:%M")
        # The names of files are somebody's text, not markup.
        table.add_row(created, str(smelt.id), _state(smelt), Text(names, overflow="ellipsis", no_wrap=True))
    OUT.print(table)


def _state(smelt: "ListedSmelt") -> str:
    match smelt.status:
        case "completed":
            return "partial" if smelt.outcome == "partial" else "completed"
        case "failed":
            return "cancelled" if smelt.error_code == "cancelled" else "failed"
        case "pending":
            return "pending"
        case stage:
            return f"{stage} {smelt.percentage:.0f} %"
