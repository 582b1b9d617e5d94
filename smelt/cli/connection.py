"""Access to the project of the settings, with the rights of an app."""

from typing import TYPE_CHECKING

from smelt.errors import SettingsError

if TYPE_CHECKING:
    from smelt.backend.project import Project
    from smelt.backend.tokens import TokenCallable
    from smelt.settings import ProjectSettings
    from smelt.subscriber.client import Client


def connect() -> "Client":
    """Return a client for `SUPABASE_URL`, as the signed-in user or, without one, as a visitor."""
    from smelt.settings import ProjectSettings
    from smelt.subscriber.client import Client

    settings = ProjectSettings.read()
    return Client(open_project(settings), polling=settings.polling)


def open_project(settings: "ProjectSettings") -> "Project":
    """Return the project with the same credentials, for calls that need no `Client`."""
    from smelt.backend.project import Project

    return Project(settings.require_url(), settings.require_client_key(), access_token=user_token(settings))


def open_as_user_or_service(settings: "ProjectSettings", objects: str) -> "Project":
    """Return the project as the signed-in user or, without one, as the service, to manage `objects` of all users."""
    from smelt.backend.project import Project

    if user_token(settings) is not None:
        return open_project(settings)
    if settings.service_role_key is None:
        raise SettingsError(
            f"you are not signed in: run `smelt login` (or set SMELT_ACCESS_TOKEN) for your {objects}, or set "
            "SUPABASE_SERVICE_ROLE_KEY for those of all users"
        )
    return Project(settings.require_url(), settings.require_worker_key())


def user_token(settings: "ProjectSettings") -> "str | TokenCallable | None":
    """Return the user's access token, from `SMELT_ACCESS_TOKEN` or `smelt login`; None for a visitor."""
    from smelt.cli.login_file import LoginFile, LoginTokens

    if settings.access_token is not None:
        return settings.access_token.get_secret_value()
    url = settings.require_url()
    file = LoginFile(url)
    if settings.anon_key is None or file.read() is None:
        return None
    return LoginTokens(file, url, settings.require_client_key())
