"""The smelt of a request: a new one, or that of an earlier request that it repeats."""

import asyncio
import hashlib
import json
from collections.abc import Callable, Iterable
from contextlib import suppress
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
from smelt.contract.vocabulary import Status
from smelt.errors import NotFound
from smelt.gateway.callers import SERVICE, Caller
from smelt.gateway.openai.errors import OpenAIProblem
from smelt.gateway.openai.parameters import Parameters
from smelt.gateway.states import read_snapshot
from smelt.gateway.uploads import parsed_form
from smelt.subscriber.client import Client

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
    if not request.headers.get("content-type", "").startswith("multipart/form-data"):
        raise OpenAIProblem(400, "unsupported_media_type", "The body must be a form (multipart/form-data).")
    # A rejected token must not fill the disk.
    await caller.check()
    async with parsed_form(request) as form:
        parameters = parse_fields(_fields(form))
        file = _file(form)
        async with open_sources([file]) as [source]:
            digest = await asyncio.to_thread(_digest, caller, source, parameters.options)
        key = await _idempotency_key(caller, digest)
        metadata = {_METADATA: key}
        if parameters.options.model is not None:
            announced = FileSpec(source.filename, source.size_bytes)
            await _require_model(caller, announced, key, parameters.options, metadata)
        # Not closed: it has no connections of its own, and the caller needs its project afterwards.
        created = await Client(caller.project).create(
            files=[file],
            prompts=[],
            idempotency_key=key,
            options=parameters.options,
            metadata=metadata,
        )
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


async def _require_model(
    caller: Caller, file: FileSpec, key: str, options: SmeltOptions, metadata: dict[str, str]
) -> None:
    """Raise `OpenAIProblem` unless a live worker has the model, before a recording is uploaded for it.

    Only the state of a smelt contains that, so the smelt is created, and deleted if it can't be processed.
    """
    created = await caller.calls.create_smelt(
        files=[file], default_prompt_names=[], idempotency_key=key, options=options, metadata=metadata
    )
    state = await read_snapshot(caller.calls, created.id, with_words=False)
    if not state.worker_online and state.submitted_at is None:
        with suppress(NotFound):  # An equal request has deleted it.
            await caller.calls.delete_smelt(created.id)
        raise OpenAIProblem(404, "model_not_found", f"No worker has the model {options.model}.", "model")
