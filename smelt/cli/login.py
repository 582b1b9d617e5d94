"""`smelt login` and `smelt logout`: be a user of the project in the following commands."""

import sys
from contextlib import suppress
from typing import Annotated

import typer

from smelt.cli.output import ERR, OUT, Exit, print_json, run
from smelt.errors import SettingsError, SmeltError
from smelt.settings import ProjectSettings

JsonOption = Annotated[bool, typer.Option("--json", help="One JSON object a line.")]


def login(
    email: Annotated[str | None, typer.Option(help="Your e-mail address; asked for without it.")] = None,
    anonymous: Annotated[bool, typer.Option("--anonymous", help="As a new anonymous user.")] = False,
    sign_up: Annotated[bool, typer.Option("--sign-up", help="Create the user first.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Sign in to the project; the other commands then act as this user.

    The password is asked for, or read as a line from stdin. The session is kept in a private file until `smelt logout`.
    """
    run(_login(email, anonymous=anonymous, sign_up=sign_up, as_json=as_json), as_json=as_json)


def logout(as_json: JsonOption = False) -> None:
    """End the login of the project, and remove it from this machine."""
    run(_logout(as_json), as_json=as_json)


async def _login(email: str | None, *, anonymous: bool, sign_up: bool, as_json: bool) -> Exit:
    from smelt.backend.signing_in import SignIn
    from smelt.cli.login_file import LoginFile

    settings = ProjectSettings.read()
    url = settings.require_url()
    auth = SignIn(url, settings.require_client_key())
    if anonymous:
        if email is not None or sign_up:
            raise SettingsError("--anonymous has neither --email nor --sign-up")
        session = await auth.anonymously()
    else:
        address = email or _ask("E-mail")
        password = _ask("Password", hidden=True)
        session = await (auth.as_new_user if sign_up else auth.with_password)(address, password)
    LoginFile(url).write(session)
    if settings.access_token is not None:
        ERR.print("SMELT_ACCESS_TOKEN is set and goes before this login.")
    if as_json:
        print_json({"event": "login", "url": url, "user_id": session.user_id, "email": session.email})
    else:
        OUT.print(f"Signed in to {url} as {session.email or f'anonymous user {session.user_id}'}.", markup=False)
    return Exit.DONE


async def _logout(as_json: bool) -> Exit:
    from smelt.backend.signing_in import SignIn
    from smelt.cli.login_file import LoginFile

    settings = ProjectSettings.read()
    url = settings.require_url()
    file = LoginFile(url)
    session = None
    with suppress(SmeltError):  # A file that can't be trusted is removed as well.
        session = file.read()
    was_there = file.remove()
    if session is not None and settings.anon_key is not None:
        with suppress(SmeltError):  # It ends on this machine at any rate.
            await SignIn(url, settings.require_client_key()).revoke(session)
    if as_json:
        print_json({"event": "logout", "url": url, "was_signed_in": was_there})
    else:
        OUT.print(f"Signed out of {url}." if was_there else f"There was no login for {url}.", markup=False)
    return Exit.DONE


def _ask(what: str, *, hidden: bool = False) -> str:
    if sys.stdin.isatty():
        return str(typer.prompt(what, hide_input=hidden, err=True))
    line = sys.stdin.readline().rstrip("\r\n")
    if not line:
        raise SettingsError(f"{what} is missing: give it as a line on stdin")
    return line
