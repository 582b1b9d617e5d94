"""`smelt login` and `smelt logout`: make the following commands act as a user of the project."""

import sys
from contextlib import suppress
from typing import Annotated

import typer

from smelt.cli.output import ERR, OUT, Exit, ask, print_json, run
from smelt.errors import PermanentError, SettingsError, SmeltError

JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON object per line.")]


def login(
    email: Annotated[str | None, typer.Option(help="Your e-mail address. Default: prompt for it.")] = None,
    anonymous: Annotated[bool, typer.Option("--anonymous", help="Sign in as a new anonymous user.")] = False,
    sign_up: Annotated[bool, typer.Option("--sign-up", help="Create the user first, then sign in.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Sign in to the project.

    The other commands then act as this user. The password is read from a prompt or from stdin;
    the session is stored in a private file until `smelt logout`.
    """
    run(_login(email, anonymous=anonymous, sign_up=sign_up, as_json=as_json), as_json=as_json)


def logout(as_json: JsonOption = False) -> None:
    """Sign out of the project and remove the stored session."""
    run(_logout(as_json), as_json=as_json)


async def _login(email: str | None, *, anonymous: bool, sign_up: bool, as_json: bool) -> Exit:
    from smelt.backend.signing_in import SignIn
    from smelt.cli.login_file import LoginFile, can_store_logins
    from smelt.settings import ProjectSettings

    settings = ProjectSettings.read()
    url = settings.require_url()
    if not can_store_logins():
        raise PermanentError(
            "a stored login needs Linux or macOS; set SMELT_ACCESS_TOKEN instead, which works everywhere"
        )
    auth = SignIn(url, settings.require_client_key())
    if anonymous:
        if email is not None or sign_up:
            raise SettingsError("--anonymous can't be combined with --email or --sign-up")
        session = await auth.anonymously()
    else:
        address = email or _ask("E-mail")
        password = _ask("Password", hidden=True)
        session = await (auth.as_new_user if sign_up else auth.with_password)(address, password)
    LoginFile(url).write(session)
    if settings.access_token is not None:
        ERR.print("SMELT_ACCESS_TOKEN is set and overrides this login.")
    if as_json:
        print_json({"event": "login", "url": url, "user_id": session.user_id, "email": session.email})
    else:
        OUT.print(f"Signed in to {url} as {session.email or f'anonymous user {session.user_id}'}.", markup=False)
    return Exit.DONE


async def _logout(as_json: bool) -> Exit:
    from smelt.backend.signing_in import SignIn
    from smelt.cli.login_file import LoginFile
    from smelt.settings import ProjectSettings

    settings = ProjectSettings.read()
    url = settings.require_url()
    file = LoginFile(url)
    session = None
    with suppress(SmeltError):  # A file that is damaged or not private is removed as well.
        session = file.read()
    was_there = file.remove()
    if session is not None and settings.anon_key is not None:
        with suppress(SmeltError):  # The session is removed from this machine in any case.
            await SignIn(url, settings.require_client_key()).revoke(session)
    if as_json:
        print_json({"event": "logout", "url": url, "was_signed_in": was_there})
    else:
        OUT.print(f"Signed out of {url}." if was_there else f"You were not signed in to {url}.", markup=False)
    return Exit.DONE


def _ask(label: str, *, hidden: bool = False) -> str:
    if sys.stdin.isatty():
        return str(ask(lambda: typer.prompt(label, hide_input=hidden, err=True)))
    line = sys.stdin.readline().rstrip("\r\n")
    if not line:
        raise SettingsError(f"{label} is missing: pass it as a line on stdin")
    return line
