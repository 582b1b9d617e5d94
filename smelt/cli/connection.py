"""Access to the project of the settings, with the rights of an app."""

from typing import TYPE_CHECKING

from smelt.settings import ProjectSettings

if TYPE_CHECKING:
    from smelt.backend.project import Project
    from smelt.backend.tokens import TokenCallable
    from smelt.subscriber.client import Client


def connect() -> "Client":
    """Return a client for `SUPABASE_URL`, as the signed-in user or, without one, as a visitor."""
    from smelt.subscriber.client import Client

    settings = ProjectSettings.read()
    return Client(open_project(settings), polling=settings.polling)


def open_project(settings: ProjectSettings) -> "Project":
    """Return the project with the same credentials, for calls that need no `Client`."""
    from smelt.backend.project import Project

    return Project(settings.require_url(), settings.require_client_key(), access_token=user_token(settings))


def user_token(settings: ProjectSettings) -> "str | TokenCallable | None":
    """Return the user's access token, from `SMELT_ACCESS_TOKEN` or `smelt login`; None for a visitor."""
    from smelt.cli.login_file import LoginFile, LoginTokens

    if settings.access_token is not None:
        return settings.access_token.get_secret_value()
    url = settings.require_url()
    file = LoginFile(url)
    if settings.anon_key is None or file.read() is None:
        return None
    return LoginTokens(file, url, settings.require_client_key())
