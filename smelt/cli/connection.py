"""The project that the environment names, as an app sees it."""

from typing import TYPE_CHECKING

from smelt.settings import ProjectSettings

if TYPE_CHECKING:
    from smelt.backend.project import Project
    from smelt.subscriber.client import Client


def connect() -> "Client":
    """A client of `SUPABASE_URL`, as an app with the anon key, or as the user of `SMELT_ACCESS_TOKEN`."""
    from smelt.subscriber.client import Client

    settings = ProjectSettings.read()
    return Client(open_project(settings), polling=settings.polling)


def open_project(settings: ProjectSettings) -> "Project":
    """The same without what watches need."""
    from smelt.backend.project import Project

    token = settings.access_token
    return Project(
        settings.require_url(),
        settings.require_client_key(),
        access_token=None if token is None else token.get_secret_value(),
    )
