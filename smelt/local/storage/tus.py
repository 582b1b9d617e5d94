"""The TUS protocol 1.0.0: its headers, its metadata and its error responses, with the platform's wording (tus-node).

TUS errors are plain text with their actual HTTP status, unlike all other errors of Storage.
"""

import base64
import binascii
import re
from collections.abc import Mapping
from typing import Final

from starlette.datastructures import Headers
from starlette.responses import Response

from smelt.pickling import PicklableError

VERSION: Final = "1.0.0"
EXTENSIONS: Final = "creation,creation-with-upload,creation-defer-length,termination,expiration"
CONTENT_TYPE: Final = "application/offset+octet-stream"
EXPOSED_HEADERS: Final = (
    *("Authorization", "Content-Type", "Location", "Tus-Extension", "Tus-Max-Size", "Tus-Resumable", "Tus-Version"),
    *("Upload-Concat", "Upload-Defer-Length", "Upload-Expires", "Upload-Length", "Upload-Metadata", "Upload-Offset"),
    *("Tus-Complete", "X-HTTP-Method-Override", "X-Requested-With", "X-Forwarded-Host", "X-Forwarded-Proto"),
    "Forwarded",
)
CORS_HEADERS: Final = {
    "access-control-allow-origin": "*",
    "access-control-expose-headers": ", ".join(EXPOSED_HEADERS),
}
PREFLIGHT_HEADERS: Final = {
    "access-control-allow-origin": "*",
    "access-control-allow-methods": "POST, HEAD, PATCH, OPTIONS, DELETE",
    "access-control-allow-headers": ", ".join((*EXPOSED_HEADERS, "X-Upsert", "ApiKey", "x-signature")),
    "access-control-max-age": "86400",
}

_TEXT_TYPE: Final = "text/plain;charset=UTF-8"
_NUMBER: Final = re.compile(r"0|[1-9][0-9]{0,17}", re.ASCII)
_METADATA_KEY: Final = re.compile(r"[!-+\--\x7f]+", re.ASCII)
_BASE64: Final = re.compile(r"[A-Za-z0-9+/]*={0,2}", re.ASCII)


class TusError(PicklableError):
    """A request that gets an error response of the protocol."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.message = message


def offset_required() -> TusError:
    """The PATCH has no `Upload-Offset`."""
    return TusError(403, "Upload-Offset header required\n")


def content_type_required() -> TusError:
    """The PATCH has no `Content-Type`."""
    return TusError(403, "Content-Type header required\n")


def length_required() -> TusError:
    """Neither or both of `Upload-Length` and `Upload-Defer-Length` are there, or the length is set already."""
    return TusError(400, "Upload-Length or Upload-Defer-Length header required\n")


def invalid_upload_id() -> TusError:
    """The URL contains no upload id."""
    return TusError(400, "Invalid upload id")


def upload_not_found() -> TusError:
    """The upload never existed, was terminated, or its expiry was cleaned up."""
    return TusError(404, "The file for this url was not found\n")


def upload_expired() -> TusError:
    """The upload has expired."""
    return TusError(410, "The file for this url no longer exists\n")


def offset_conflict() -> TusError:
    """The PATCH does not continue where the upload ends."""
    return TusError(409, "Upload-Offset conflict\n")


def already_completed() -> TusError:
    """A completed upload cannot be terminated."""
    return TusError(400, "Cannot terminate an already completed upload")


def size_exceeded() -> TusError:
    """The body is longer than the rest of the upload."""
    return TusError(413, "upload's size exceeded\n")


def maximum_exceeded() -> TusError:
    """The announced length exceeds the limit of the bucket or the server."""
    return TusError(413, "Maximum size exceeded\n")


def too_many_uploads(maximum: int, owner: str) -> TusError:
    """The object or user, named by `owner`, has the maximum number of unfinished uploads."""
    return TusError(
        400,
        f"You have reached the maximum of {maximum} unfinished uploads of this {owner}: "
        "continue or terminate one of them, or wait until one expires, 24 hours after its creation\n",
    )


def request_replaced() -> TusError:
    """A newer request for the same upload has stopped this one."""
    return TusError(400, "Request aborted due to lock acquired")


def concatenation_unsupported() -> TusError:
    """The extension `concatenation` is not available.

    tus-node responds with 501, which clients retry.
    """
    return TusError(
        400, "Concatenation extension is not (yet) supported. Disable parallel uploads in the tus client.\n"
    )


def missing_signature() -> TusError:
    """The signed route requires the token of a signed upload URL."""
    return TusError(400, "Missing x-signature header")


def check_headers(headers: Headers, method: str) -> Response | None:
    """Return the response to a request with missing or invalid headers of the protocol, else None."""
    if "tus-resumable" not in headers:
        return text_response(412, "Tus-Resumable Required\n")
    invalid = [name for name, value in headers.items() if not _is_valid(name, value, method)]
    return text_response(400, f"Invalid {' '.join(invalid)}\n") if invalid else None


def _is_valid(name: str, value: str, method: str) -> bool:
    match name:
        case "tus-resumable":
            return value == VERSION
        case "upload-offset" | "upload-length":
            return _NUMBER.fullmatch(value) is not None
        case "upload-defer-length":
            return value == "1"
        case "upload-metadata":
            return parse_metadata(value) is not None
        case "content-type":
            # Clients add a default type to other requests.
            return method != "PATCH" or value == CONTENT_TYPE
        case _:
            return True


def parse_metadata(text: str) -> dict[str, str | None] | None:
    """Return the pairs of an `Upload-Metadata` header, with None for a key without a value; None if it is invalid."""
    metadata: dict[str, str | None] = {}
    for pair in text.split(","):
        key, *values = pair.split(" ")
        if _METADATA_KEY.fullmatch(key) is None or key in metadata or len(values) > 1:
            return None
        value = values[0] if values else ""
        if len(value) % 4 or _BASE64.fullmatch(value) is None:
            return None
        try:
            metadata[key] = base64.b64decode(value).decode("utf-8", "replace") if value else None
        except binascii.Error:
            return None
    return metadata


def format_metadata(metadata: Mapping[str, str | None]) -> str:
    """Return metadata as an `Upload-Metadata` header."""
    return ",".join(
        key if value is None else f"{key} {base64.b64encode(value.encode()).decode()}"
        for key, value in metadata.items()
    )


def response(status: int, **headers: str) -> Response:
    """Return a response without a body; underscores in names of headers become dashes."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    result = Response(status_code=status, headers={"tus-resumable": VERSION} | CORS_HEADERS | named)
    if status != 204:
        result.headers["content-type"] = _TEXT_TYPE
        # As on the platform: a client reads the header as the length of the upload in the response to HEAD.
        del result.headers["content-length"]
    return result


def text_response(status: int, text: str, **headers: str) -> Response:
    """Return an error as plain text."""
    return Response(text.encode(), status, headers={"tus-resumable": VERSION, "content-type": _TEXT_TYPE} | headers)


def error_response(status: int, text: str) -> Response:
    """Return the response for an error of the protocol or of Storage."""
    return text_response(status, text, **CORS_HEADERS)
