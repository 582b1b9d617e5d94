"""Parses multipart bodies incrementally: bytes in, events out."""

from dataclasses import dataclass
from typing import Final

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from smelt.local.storage import errors

MAX_FIELD_BYTES: Final = 1024 * 1024


@dataclass(frozen=True)
class Field:
    """A complete part that is not a file."""

    name: str
    value: str


@dataclass(frozen=True)
class FileStart:
    """The start of the first file."""

    content_type: str


@dataclass(frozen=True)
class FileData:
    """The next bytes of the file."""

    data: bytes


Event = Field | FileStart | FileData


class FormReader:
    """Parses one multipart body; it ignores all files but the first."""

    def __init__(self, content_type: str) -> None:
        _, options = parse_options_header(content_type)
        boundary = options.get(b"boundary")
        if not boundary:
            raise errors.invalid_upload("Multipart: Boundary not found")
        self._events: list[Event] = []
        self._headers: dict[str, str] = {}
        self._header_name = self._header_value = b""
        self._field_name: str | None = None
        self._field = bytearray()
        self._in_file = self._file_seen = self._ended = False
        try:
            self._parser = MultipartParser(
                boundary,
                {
                    "on_part_begin": self._begin_part,
                    "on_header_field": self._read_header_name,
                    "on_header_value": self._read_header_value,
                    "on_header_end": self._end_header,
                    "on_headers_finished": self._end_headers,
                    "on_part_data": self._read_data,
                    "on_part_end": self._end_part,
                    "on_end": self._end,
                },
            )
        except FormParserError as exc:
            raise errors.invalid_upload(f"Multipart: {exc}") from exc

    def feed(self, chunk: bytes) -> list[Event]:
        """Parse the next bytes of the body and return the resulting events."""
        try:
            self._parser.write(chunk)
        except FormParserError as exc:
            raise errors.invalid_upload(f"Multipart: {exc}") from exc
        events, self._events = self._events, []
        return events

    def end(self) -> None:
        """Raise `StorageError` if the body is incomplete."""
        if not self._ended:
            raise errors.invalid_upload("Unexpected end of form")

    def _end(self) -> None:
        self._ended = True

    def _begin_part(self) -> None:
        self._headers = {}

    def _read_header_name(self, data: bytes, start: int, end: int) -> None:
        self._header_name += data[start:end]

    def _read_header_value(self, data: bytes, start: int, end: int) -> None:
        self._header_value += data[start:end]

    def _end_header(self) -> None:
        name = self._header_name.decode("latin-1").lower()
        self._headers[name] = self._header_value.decode("utf-8", "replace")
        self._header_name = self._header_value = b""

    def _end_headers(self) -> None:
        _, options = parse_options_header(self._headers.get("content-disposition", ""))
        # The platform drops parameters, such as the codecs that browsers add to what they record.
        content_type = self._headers.get("content-type", "text/plain").partition(";")[0].strip()
        self._field, self._field_name, self._in_file = bytearray(), None, False
        if b"filename" not in options and content_type != "application/octet-stream":
            self._field_name = options.get(b"name", b"").decode("utf-8", "replace")
        elif not self._file_seen:
            self._in_file = self._file_seen = True
            self._events.append(FileStart(content_type))

    def _read_data(self, data: bytes, start: int, end: int) -> None:
        if self._in_file:
            self._events.append(FileData(data[start:end]))
        elif self._field_name is not None:
            self._field += data[start:end]
            if len(self._field) > MAX_FIELD_BYTES:
                raise errors.body_too_large()

    def _end_part(self) -> None:
        if self._field_name is not None:
            self._events.append(Field(self._field_name, self._field.decode("utf-8", "replace")))
        self._field_name, self._in_file = None, False
