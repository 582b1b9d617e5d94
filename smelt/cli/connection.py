"""The project that the environment names, as an app sees it."""

from typing import TYPE_CHECKING

from smelt.settings import ProjectSettings

if TYPE_CHECKING:
    from smelt.backend.project import Project
    from smelt.backend.tokens import TokenCallable
    from smelt.subscriber.client import Client


def connect() -> "Client":
    """A client of `SUPABASE_URL`: as the signed-in user, or as a visitor with the anon key."""
    from smelt.subscriber.client import Client

    settings = ProjectSettings.read()
    return Client(open_project(settings), polling=settings.polling)


def open_project(settings: ProjectSettings) -> "Project":
    """The same without what watches need."""
    from smelt.backend.project import Project

    return Project(settings.require_url(), settings.require_client_key(), access_token=user_token(settings))


def user_token(settings: ProjectSettings) -> "str | TokenCallable | None":
    """Return the token of the signed-in user, None for a visitor: `SMELT_ACCESS_TOKEN`, or that of `smelt login`."""
    from smelt.cli.login_file import LoginFile, LoginTokens

    if settings.access_token is not None:
        return settings.access_token.get_secret_value()
    url = settings.require_url()
    file = LoginFile(url)
    if settings.anon_key is None or file.read() is None:
        return None
    return LoginTokens(file, url, settings.require_client_key())
