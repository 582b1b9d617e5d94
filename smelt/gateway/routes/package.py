"""The JavaScript package: an archive for `npm install`, and modules for `import`."""

import hashlib
from dataclasses import dataclass
from functools import cache
from typing import Annotated, Final

from fastapi import APIRouter, Header, Response

from smelt.gateway.errors import Problem
from smelt.js_package import NAME, package_files, packed_package

SCRIPT: Final = "text/javascript; charset=utf-8"
_TYPES: Final = {"js": SCRIPT, "json": "application/json", "ts": "text/plain; charset=utf-8"}
# The package has no secrets, and a page of another origin may import it.
_PUBLIC: Final = {"Access-Control-Allow-Origin": "*", "Cross-Origin-Resource-Policy": "cross-origin"}

router = APIRouter(include_in_schema=False)


@dataclass(frozen=True)
class Asset:
    """A file that browsers may keep, but validate before each use."""

    content: bytes
    media_type: str
    tag: str

    @classmethod
    def of(cls, content: bytes, media_type: str) -> "Asset":
        """Return the asset with this content."""
        return cls(content, media_type, f'"{hashlib.sha256(content).hexdigest()[:32]}"')

    def response(self, if_none_match: str | None, headers: dict[str, str]) -> Response:
        """Return the content, or 304 to a browser that has it."""
        all_headers = {"ETag": self.tag, "Cache-Control": "no-cache", **headers}
        if if_none_match is not None and self.tag in if_none_match:
            return Response(status_code=304, headers=all_headers)
        return Response(self.content, media_type=self.media_type, headers=all_headers)


IfNoneMatch = Annotated[str | None, Header()]


@router.get("/smelt.js")
async def entry(if_none_match: IfNoneMatch = None) -> Response:
    """Return the module that exports the names of `smelt-js`."""
    return _assets()["smelt.js"].response(if_none_match, _PUBLIC)


@router.get("/smelt-js.tgz")
async def archive(if_none_match: IfNoneMatch = None) -> Response:
    """Return the package as `smelt contract --js-package` writes it."""
    return _assets()["smelt-js.tgz"].response(if_none_match, _PUBLIC)


@router.get(f"/{NAME}/{{path:path}}")
async def module(path: str, if_none_match: IfNoneMatch = None) -> Response:
    """Return a file of the package."""
    asset = _assets().get(f"{NAME}/{path}")
    if asset is None:
        raise Problem(404, "not_found", "The package has no such file.")
    return asset.response(if_none_match, _PUBLIC)


@cache
def _assets() -> dict[str, Asset]:
    files = {
        f"{NAME}/{name}": Asset.of(content, _TYPES[suffix])
        for name, content in package_files().items()
        if (suffix := name.rpartition(".")[2]) in _TYPES
    }
    return {
        **files,
        "smelt.js": Asset.of(f"export * from './{NAME}/index.js'\n".encode(), SCRIPT),
        "smelt-js.tgz": Asset.of(packed_package(), "application/gzip"),
    }
