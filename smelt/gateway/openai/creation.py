"""The smelt of a request: a new one, or that of an earlier request that it repeats."""

import asyncio
import hashlib
import json
from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from typing import BinaryIO, Final
from uuid import UUID

from fastapi import Request
from starlette.datastructures import FormData, UploadFile

from smelt.backend.client_rpc import FileSpec, requested_options
from smelt.backend.rpc import RpcResponse, parse
from smelt.backend.upload_source import UploadSource, open_sources
from smelt.contract.events import Model
from smelt.contract.options import SmeltOptions
from smelt.contract.state import Created
from smelt.contract.vocabulary import MAX_VOCABULARY, Status
from smelt.errors import PermanentError
from smelt.gateway.callers import SERVICE, Caller
from smelt.gateway.limits import media_type
from smelt.gateway.openai.errors import OpenAIProblem
from smelt.gateway.openai.parameters import Parameters
from smelt.gateway.states import read_snapshot
from smelt.gateway.uploads import MAX_FIELDS, parsed_form
from smelt.subscriber.uploads import Uploads

Parse = Callable[[Iterable[tuple[str, str]]], Parameters]

JOINED_FOR: Final = timedelta(hours=24)
"""For how long a repeated request joins the smelt of the first one."""
_METADATA: Final = "openai_request"


class _Metadata(Model):
    openai_request: str


class _Earlier(Model):
    """A smelt of an earlier request, whose idempotency key is in its metadata."""

    id: UUID
    status: Status
    metadata: _Metadata


class _EarlierSmelts(RpcResponse[tuple[_Earlier, ...]]):
    pass


async def create_smelt(request: Request, caller: Caller, parse_fields: Parse) -> tuple[UUID, Parameters]:
    """Create the smelt of a request and submit it, or join that of an equal request of the last 24 hours.

    OpenAI's clients repeat a request after a lost connection, with the same body. A request is equal if the caller, the
    recording, its name, and the options of the smelt are. A smelt that has failed is not joined.

    Raises:
        OpenAIProblem: The form is invalid, or a worker that has the model does not exist.
    """
    if media_type(request.headers) != "multipart/form-data":
        raise OpenAIProblem(400, "unsupported_media_type", "The body must be a form (multipart/form-data).")
    # A rejected token must not fill the disk.
    await caller.check()
    async with parsed_form(request, MAX_FIELDS + MAX_VOCABULARY) as form:
        parameters = parse_fields(_fields(form))
        async with open_sources([_file(form)]) as [source]:
            await _require_model(caller, parameters.options.model)
            digest = await asyncio.to_thread(_digest, caller, source, parameters.options)
            key = await _idempotency_key(caller, digest)
            created = await caller.calls.create_smelt(
                files=[FileSpec(source.filename, source.size_bytes)],
                default_prompt_names=[],
                idempotency_key=key,
                options=parameters.options,
                metadata={_METADATA: key},
            )
            state = await read_snapshot(caller.calls, created.id, with_words=False)
            if state.submitted_at is None:
                await _submit(caller, created, source)
    return created.id, parameters


def _fields(form: FormData) -> list[tuple[str, str]]:
    """Return the fields of a form without its file."""
    fields = [(name, value) for name, value in form.multi_items() if name != "file"]
    for name, value in fields:
        if not isinstance(value, str):
            raise OpenAIProblem(400, "unsupported_parameter", f"The file {name[:100]} is not supported.", name)
    return [(name, str(value)) for name, value in fields]


def _file(form: FormData) -> tuple[str, BinaryIO]:
    match form.getlist("file"):
        case [UploadFile() as file]:
            return file.filename or "", file.file
        case _:
            sentence = "The form needs one part with the name file, which has a filename."
            raise OpenAIProblem(400, "missing_required_parameter", sentence, "file")


def _digest(caller: Caller, source: UploadSource, options: SmeltOptions) -> str:
    parts = (caller.identity, source.filename, source.sha256(), requested_options(options))
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


async def _idempotency_key(caller: Caller, digest: str) -> str:
    """Return the key of the smelt that a request joins, else a new one.

    A new key names the day, since the database keeps a key as long as its smelt, or the smelt that has failed. So two
    equal requests that arrive at the same time have the same one.
    """
    now = datetime.now(UTC)
    filters = [
        (f"metadata->>{_METADATA}", "like", f"{digest}.*"),
        ("created_at", "gt", (now - JOINED_FOR).isoformat()),
    ]
    if caller.identity == SERVICE:  # The service reads the smelts of all users.
        filters.append(("user_id", "is", "null"))
    found = parse(_EarlierSmelts, await caller.calls.rpc.newest("smelts", "id,status,metadata", 1, *filters)).root
    if not found:
        return f"{digest}.{now.date()}"
    [earlier] = found
    return f"{digest}.{earlier.id}" if earlier.status == "failed" else earlier.metadata.openai_request


async def _require_model(caller: Caller, model: str | None) -> None:
    """Raise `OpenAIProblem` if a model is requested and no live worker has it."""
    if model is not None and model not in await caller.calls.get_models():
        raise OpenAIProblem(404, "model_not_found", f"No worker has the model {model}.", "model")


async def _submit(caller: Caller, created: Created, source: UploadSource) -> None:
    """Upload the recording of a smelt and submit it, unless an equal request does so at the same time."""
    paths = [file.upload_path for file in created.files if file.upload_path is not None]
    try:
        await Uploads(caller.project.audio, on_upload=None, again=True).run([source], paths)
        await caller.calls.submit_smelt(created.id)
    except PermanentError:
        # Nothing can be uploaded to a smelt that is submitted.
        if (await read_snapshot(caller.calls, created.id, with_words=False)).submitted_at is None:
            raise
