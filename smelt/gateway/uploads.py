"""New smelts from requests: a form with recordings, or JSON."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated, Any, Final
from uuid import UUID

from fastapi import Request
from fastapi.exceptions import RequestValidationError
from pydantic import ConfigDict, Field, JsonValue, ValidationError
from starlette.datastructures import FormData, UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser

from smelt.backend.client_rpc import FileSpec
from smelt.contract.events import Model
from smelt.contract.options import SmeltOptions
from smelt.contract.state import Created
from smelt.contract.vocabulary import Mode
from smelt.gateway.callers import Caller
from smelt.gateway.errors import Problem
from smelt.subscriber.client import Client

MAX_FILES: Final = 50
"""More than any project should allow; the project decides how many."""
MAX_FIELDS: Final = 50
MAX_FIELD_BYTES: Final = 64 * 1024
_JSON_FIELDS: Final = ("options", "metadata")


class AnnouncedFile(Model):
    """A file that the caller uploads to Storage itself."""

    filename: Annotated[str, Field(min_length=1, max_length=255)]
    size_bytes: Annotated[int, Field(ge=0, lt=2**53)]


class _Request(Model):
    """The fields of a form and of JSON."""

    model_config = ConfigDict(extra="forbid")

    mode: Mode = "separate"
    options: SmeltOptions | None = None
    metadata: dict[str, JsonValue] | None = None
    batch_id: UUID | None = None
    user_prompt_id: UUID | None = None
    user_id: Annotated[UUID | None, Field(description="The user who will own the smelt; for the service alone.")] = None


class NewSmelt(_Request):
    """A smelt of announced files, or of a text.

    Files are uploaded to their `upload_path` in the bucket `smelt-audio`, then the smelt is submitted.
    """

    files: Annotated[tuple[AnnouncedFile, ...], Field(max_length=MAX_FILES)] = ()
    text: str | None = None
    prompts: Annotated[tuple[str, ...] | None, Field(max_length=MAX_FIELDS)] = None
    submit: Annotated[bool, Field(description="Submit a text at once.")] = True


class NewSmeltForm(_Request):
    """A smelt of recordings in the same request; `options` and `metadata` are JSON, `prompt` may be repeated."""

    file: Annotated[tuple[bytes, ...], Field(min_length=1, max_length=5)]
    prompt: tuple[str, ...] | None = None


class _FormFields(_Request):
    prompt: tuple[str, ...] | None = None


async def create_from_json(request: Request, caller: Caller, idempotency_key: str | None) -> Created:
    """Create a smelt of announced files or of a text."""
    try:
        new = NewSmelt.model_validate_json(await request.body())
    except ValidationError as exc:
        raise _invalid(exc) from exc
    return await caller.calls.create_smelt(
        files=[FileSpec(file.filename, file.size_bytes) for file in new.files],
        text_input=new.text,
        mode=new.mode,
        default_prompt_names=new.prompts,
        user_prompt_id=new.user_prompt_id,
        batch_id=new.batch_id,
        idempotency_key=idempotency_key,
        options=new.options,
        metadata=new.metadata,
        user_id=new.user_id,
        submit=new.submit,
    )


async def create_from_form(request: Request, caller: Caller, idempotency_key: str | None) -> Created:
    """Create a smelt of the recordings in a form, and submit it once they are in Storage.

    A recording is written to a temporary file while it arrives: its size has to be announced before its first byte is
    stored, and after an outage its bytes are sent again.
    """
    # A rejected token must not fill the disk.
    await caller.check()
    async with parsed_form(request) as form:
        files = [(file.filename or "", file.file) for file in form.getlist("file") if isinstance(file, UploadFile)]
        if not files:
            raise Problem(400, "no_input", "The form has no file: send 1 to 5 parts with the name `file`.")
        fields = _fields(form)
        # Not closed: it has no connections of its own, and the caller needs its project afterwards.
        return await Client(caller.project).create(
            files=files,
            prompts=fields.prompt,
            mode=fields.mode,
            user_prompt_id=fields.user_prompt_id,
            batch_id=fields.batch_id,
            idempotency_key=idempotency_key,
            options=fields.options,
            metadata=fields.metadata,
            user_id=fields.user_id,
        )


class _FormParser(MultiPartParser):
    """A parser that also knows whether the form has its end."""

    is_complete = False

    def on_end(self) -> None:
        self.is_complete = True


@asynccontextmanager
async def parsed_form(request: Request, max_fields: int = MAX_FIELDS) -> AsyncIterator[FormData]:
    """Yield the form of a request, and remove its temporary files at the end."""
    parser = _FormParser(
        request.headers,
        request.stream(),
        max_files=MAX_FILES,
        max_fields=max_fields,
        max_part_size=MAX_FIELD_BYTES,
    )
    try:
        form = await parser.parse()
    except MultiPartException as exc:
        raise Problem(400, "malformed_request", exc.message) from exc
    try:
        if not parser.is_complete:
            raise Problem(400, "malformed_request", "The form is cut off.")
        yield form
    finally:
        await form.close()


def _fields(form: FormData) -> _FormFields:
    values: dict[str, Any] = {}
    for name, value in form.multi_items():
        if name == "prompt":
            # An empty one applies none.
            values.setdefault(name, []).extend([value] if value else [])
        elif name != "file":
            values[name] = value
    try:
        for name in _JSON_FIELDS:
            if isinstance(values.get(name), str):
                values[name] = json.loads(values[name])
        return _FormFields.model_validate(values)
    except ValidationError as exc:
        raise _invalid(exc) from exc
    except (ValueError, RecursionError) as exc:
        raise Problem(400, "malformed_request", "`options` and `metadata` of a form must be JSON objects.") from exc


def _invalid(error: ValidationError) -> RequestValidationError:
    issues = error.errors(include_url=False, include_context=False, include_input=False)
    return RequestValidationError([{**issue, "loc": ("body", *issue["loc"])} for issue in issues])
