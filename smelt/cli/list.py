"""`smelt list`: the smelts of the signed-in user or, for an operator, of all users."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer

from smelt.cli.connection import open_as_user_or_service, user_token
from smelt.cli.output import OUT, Exit, print_json, run
from smelt.contract.vocabulary import OPEN_STATUSES

if TYPE_CHECKING:
    from smelt.backend.client_rpc import ListedSmelt


def list_smelts(
    count: Annotated[int, typer.Option("--count", "-n", help="The maximum number of smelts.", min=1, max=1000)] = 20,
    only_open: Annotated[bool, typer.Option("--open", help="List only smelts that have not ended.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object per line.")] = False,
) -> None:
    """List your smelts, newest first. Without a login, but with the service key, list those of all users."""
    run(_list(count, only_open, as_json), as_json=as_json)


async def _list(count: int, only_open: bool, as_json: bool) -> Exit:
    from smelt.backend.client_rpc import ClientRpc
    from smelt.settings import ProjectSettings

    settings = ProjectSettings.read()
    is_user = user_token(settings) is not None
    async with open_as_user_or_service(settings, "smelts") as project:
        listed = await ClientRpc(project.rpc).list_smelts(count, statuses=OPEN_STATUSES if only_open else ())
    if as_json:
        for smelt in listed:
            print_json({"event": "smelt", **smelt.model_dump(mode="json", exclude={"files": {"__all__": {"trust"}}})})
    else:
        _print(listed, with_owner=not is_user)
        _print_trust(listed)
    return Exit.DONE


def _print(listed: Sequence["ListedSmelt"], *, with_owner: bool = False) -> None:
    from rich.table import Table
    from rich.text import Text

    if not listed:
        OUT.print("No smelts yet. Create one with: smelt submit FILE")
        return
    table = Table.grid(padding=(0, 2))
    table.add_column(no_wrap=True)
    table.add_column(no_wrap=True, min_width=36)  # An id must not be cut off.
    if with_owner:
        table.add_column(no_wrap=True, min_width=36)
    table.add_column(no_wrap=True)
    table.add_column()
    now = datetime.now(UTC)
    for smelt in listed:
        names = ", ".join(file.filename for file in sorted(smelt.files, key=lambda file: file.position))
        created = smelt.created_at.astimezone().strftime("%Y-%m-%d %H:%M")
        # As `Text`: file names must not be parsed as markup.
        filenames = Text(names, overflow="ellipsis", no_wrap=True)
        if with_owner:
            owner = "visitor" if smelt.user_id is None else str(smelt.user_id)
            error = "" if smelt.error_code in (None, "cancelled") else f" ({smelt.error_code})"
            age = _age((now - smelt.created_at).total_seconds())
            table.add_row(age, str(smelt.id), owner, Text(_state(smelt) + error), filenames)
        else:
            table.add_row(created, str(smelt.id), _state(smelt), filenames)
    OUT.print(table)


def _print_trust(listed: Sequence["ListedSmelt"]) -> None:
    """Print to stderr what readers of the transcripts should know."""
    from smelt.cli.view import print_trust

    for smelt in listed:
        for file in sorted(smelt.files, key=lambda file: file.position):
            print_trust(f"{smelt.id} {file.filename}", file.trust)


def _age(seconds: float) -> str:
    for unit, unit_s in (("d", 86_400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * unit_s:
            return f"{seconds / unit_s:.0f} {unit}"
    return f"{max(0.0, seconds):.0f} s"


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
