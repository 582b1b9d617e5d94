"""The page at `/`, and the settings that it needs."""

from functools import cache
from typing import Annotated, Final
from urllib.parse import urlsplit

from fastapi import APIRouter, Depends, Response

from smelt.contract.events import Model
from smelt.gateway.callers import Callers, current_callers
from smelt.gateway.errors import Problem
from smelt.gateway.options import GatewayOptions, current_options
from smelt.gateway.routes.package import SCRIPT, Asset, IfNoneMatch
from smelt.js_package import PAGE

router = APIRouter(include_in_schema=False)

_TYPES: Final = {"html": "text/html; charset=utf-8", "js": SCRIPT, "css": "text/css; charset=utf-8"}


class PageConfig(Model):
    """The project that a browser signs in to and uploads to; the key is the publishable one.

    Attributes:
        read_tokens: Whether the gateway issues read-only tokens, so that the page offers to share a smelt.
    """

    url: str
    key: str
    read_tokens: bool


@router.get("/config.json")
async def config(
    options: Annotated[GatewayOptions, Depends(current_options)],
    callers: Annotated[Callers, Depends(current_callers)],
) -> PageConfig:
    """Return the project that a browser signs in to and uploads to."""
    return PageConfig(url=options.url, key=options.key, read_tokens=callers.read_tokens is not None)


@router.get("/")
async def index(
    options: Annotated[GatewayOptions, Depends(current_options)], if_none_match: IfNoneMatch = None
) -> Response:
    """Return the page."""
    return _files()["index.html"].response(if_none_match, {"Content-Security-Policy": _policy(options.url)})


@router.get("/page/{name}")
async def part(name: str, if_none_match: IfNoneMatch = None) -> Response:
    """Return a script or a style sheet of the page."""
    asset = _files().get(name)
    if asset is None or name == "index.html":
        raise Problem(404, "not_found", "The page has no such file.")
    return asset.response(if_none_match, {})


def _policy(project_url: str) -> str:
    """Return what the page may load: its own files, the project, and recordings that the user has chosen."""
    project = urlsplit(project_url)
    return "; ".join(
        (
            "default-src 'none'",
            "script-src 'self'",
            "style-src 'self'",
            f"connect-src 'self' {project.scheme}://{project.netloc}",
            "media-src blob:",
            "img-src 'self' data:",
            "base-uri 'none'",
            "form-action 'none'",
            "frame-ancestors 'none'",
        )
    )


@cache
def _files() -> dict[str, Asset]:
    found = ((path.name, path.suffix.removeprefix("."), path) for path in PAGE.iterdir())
    return {name: Asset.of(path.read_bytes(), _TYPES[suffix]) for name, suffix, path in found if suffix in _TYPES}
