"""Downloads: documents as attachments that no browser interprets."""

from pathlib import PurePath
from typing import Any, Final
from urllib.parse import quote

from fastapi import Response

from smelt.contract.vocabulary import TranscriptFormat

MARKDOWN: Final = "text/markdown; charset=utf-8"
MEDIA_TYPES: Final[dict[TranscriptFormat, str]] = {
    "txt": "text/plain; charset=utf-8",
    "srt": "application/x-subrip; charset=utf-8",
    "vtt": "text/vtt; charset=utf-8",
    "json": "application/json",
}


class Download(Response):
    """A document to save; a browser neither guesses its type nor runs its content."""

    def __init__(self, content: str, media_type: str, filename: str) -> None:
        # A lone surrogate cannot be encoded.
        super().__init__(content.encode(errors="replace"), media_type=media_type)
        self.headers["Content-Disposition"] = content_disposition(filename)
        self.headers["Content-Security-Policy"] = "default-src 'none'; sandbox"


def content_disposition(filename: str) -> str:
    """Return the header of an attachment by RFC 6266, with an ASCII name for clients that know no other."""
    name = "".join(character for character in filename if character.isprintable()).strip() or "download"
    plain = "".join(character if character.isascii() and character not in '"\\%/;' else "_" for character in name)
    encoded = quote(name.encode(errors="replace"), safe="")
    return f"attachment; filename=\"{plain}\"; filename*=UTF-8''{encoded}"


def named_after(filename: str, suffix: str) -> str:
    """Return a filename with another suffix, without folders."""
    return f"{PurePath(filename.replace(chr(92), '/')).stem or 'smelt'}.{suffix}"


def documented_download(*media_types: str) -> dict[str, Any]:
    """Return the OpenAPI response of a download."""
    types = (name.partition(";")[0] for name in media_types)
    content = {name: {"schema": {"type": "object" if name == "application/json" else "string"}} for name in types}
    header = {"description": "An attachment with a filename", "schema": {"type": "string"}}
    return {"description": "The document", "content": content, "headers": {"Content-Disposition": header}}
