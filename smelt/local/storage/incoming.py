"""Parses uploads: content type, cache control and metadata, with the bytes as a stream."""

import base64
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any, Final

from starlette.requests import Request

from smelt.local.storage import errors, media
from smelt.local.storage.body import InvalidJsonBody, parse_json
from smelt.local.storage.forms import Event, Field, FileData, FileStart, FormReader

DEFAULT_TYPE: Final = "application/octet-stream"
DEFAULT_CACHE_CONTROL: Final = "no-cache"


@dataclass(kw_only=True)
class Upload:
    """An upload; `chunks` yields its bytes once. Form fields after the file are set when `chunks` is exhausted."""

    content_type: str
    cache_control: str = DEFAULT_CACHE_CONTROL
    user_metadata: Any = field(default_factory=dict)
    robots_tag: str | None = None
    declared_bytes: int | None
    """The Content-Length of the request, if present."""
    is_form: bool
    chunks: AsyncIterator[bytes]


async def read_upload(request: Request) -> Upload:
    """Parse the upload in a request, without its bytes."""
    robots_tag = request.headers.get("x-robots-tag")
    if robots_tag is not None:
        media.check_robots_tag(robots_tag)
    content_type = request.headers.get("content-type", DEFAULT_TYPE)
    media.check_content_type(content_type)
    upload = Upload(
        content_type=content_type,
        cache_control=request.headers.get("cache-control", DEFAULT_CACHE_CONTROL),
        user_metadata=decode_metadata(request.headers.get("x-metadata")),
        robots_tag=robots_tag,
        declared_bytes=declared_bytes(request),
        is_form=content_type.lower().startswith("multipart/form-data"),
        chunks=request.stream(),
    )
    if upload.is_form:
        upload.cache_control = DEFAULT_CACHE_CONTROL
        await _open_form(upload)
    return upload


def declared_bytes(request: Request) -> int | None:
    """Return the Content-Length of the request, or None."""
    length = request.headers.get("content-length", "")
    return int(length) if length.isascii() and length.isdigit() else None


async def _open_form(upload: Upload) -> None:
    """Read a form up to its file; the rest becomes the upload's chunks."""
    reader, body, form_type = FormReader(upload.content_type), upload.chunks, None
    async for chunk in body:
        events = reader.feed(chunk)
        for position, event in enumerate(events):
            if isinstance(event, FileStart):
                upload.content_type = form_type or event.content_type
                upload.chunks = _file_chunks(upload, reader, body, events[position + 1 :])
                return
            form_type = _apply(upload, event) or form_type
    reader.end()
    raise errors.invalid_upload("No content provided")


async def _file_chunks(
    upload: Upload, reader: FormReader, body: AsyncIterator[bytes], events: list[Event]
) -> AsyncIterator[bytes]:
    for event in events:
        if isinstance(event, FileData):
            yield event.data
        else:
            _apply(upload, event)
    async for chunk in body:
        for event in reader.feed(chunk):
            if isinstance(event, FileData):
                yield event.data
            else:
                _apply(upload, event)
    reader.end()


def _apply(upload: Upload, event: Event) -> str | None:
    """Apply a field of the form; return the content type of the file if the field declares it."""
    match event:
        case Field("cacheControl", value):
            upload.cache_control = f"max-age={value}"
        case Field("metadata" | "userMetadata", value):
            upload.user_metadata = parse_user_metadata(value)
        case Field("contentType", value):
            return value
        case _:
            pass
    return None


def decode_metadata(header: str | None) -> Any:
    """Decode the `x-metadata` header, Base64 of JSON; return empty metadata if it is missing or not valid."""
    if header is None:
        return {}
    try:
        return parse_user_metadata(base64.b64decode(header + "==").decode())
    except ValueError:
        return {}


def parse_user_metadata(text: str) -> Any:
    """Return user metadata from JSON; as on the platform, invalid metadata is ignored."""
    try:
        return parse_json(text)
    except InvalidJsonBody:
        return {}
