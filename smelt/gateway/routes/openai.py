"""OpenAI's audio API: transcriptions, translations, and the models."""

import asyncio
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Annotated, Any, Final, Literal
from uuid import UUID

from fastapi import APIRouter, Depends, Request, Response
from starlette.requests import ClientDisconnect

from smelt.contract.events import Model
from smelt.contract.state import Snapshot
from smelt.gateway.callers import Caller, SignedInCaller
from smelt.gateway.clients import SharedClients
from smelt.gateway.drain import Drain
from smelt.gateway.errors import RETRY_AFTER_S, Problem
from smelt.gateway.limits import UploadPlaces
from smelt.gateway.openai.creation import Parse, create_smelt
from smelt.gateway.openai.errors import NO_RETRY, SMELT_ID_HEADER, OpenAIProblem, documented_errors
from smelt.gateway.openai.parameters import (
    WHISPER,
    AudioForm,
    TranscriptionForm,
    TranslationForm,
    form_schema,
    parse_transcription,
    parse_translation,
)
from smelt.gateway.openai.stream import TranscriptStream
from smelt.gateway.openai.transcripts import (
    DiarizedTranscription,
    Transcription,
    VerboseTranscription,
    transcript_response,
)
from smelt.gateway.options import GatewayOptions, current_options
from smelt.gateway.states import read_snapshot
from smelt.gateway.streams.hub import CurrentHub
from smelt.gateway.streams.stream import StreamResponse
from smelt.gateway.waiting import wait_for_end

router = APIRouter(prefix="/v1", tags=["openai"])


class OpenAIModel(Model):
    """A name for the `model` of a request."""

    id: str
    object: Literal["model"] = "model"
    created: int = 0
    owned_by: str = "smelt"


class OpenAIModels(Model):
    """The names for the `model` of a request."""

    object: Literal["list"] = "list"
    data: tuple[OpenAIModel, ...]


@dataclass(frozen=True)
class Shared:
    """The parts of the application that requests for a transcript need."""

    hub: CurrentHub
    clients: SharedClients
    drain: Drain
    uploads: UploadPlaces
    options: Annotated[GatewayOptions, Depends(current_options)]


_TEXTS: Final = ("text/plain", "application/x-subrip", "text/vtt", "text/event-stream")
_TRANSCRIPT: Final[dict[int | str, dict[str, Any]]] = {
    200: {
        "description": "The transcript in the format of the request",
        "content": {media_type: {"schema": {"type": "string"}} for media_type in _TEXTS},
        "headers": {SMELT_ID_HEADER: {"description": "The id of the smelt", "schema": {"type": "string"}}},
    },
    **documented_errors(404, 408, 409, 413, 429, 500, 504),
}


def _body(form: type[AudioForm]) -> dict[str, Any]:
    return {"requestBody": {"required": True, "content": {"multipart/form-data": {"schema": form_schema(form)}}}}


@router.post(
    "/audio/transcriptions",
    response_model=Transcription | VerboseTranscription | DiarizedTranscription,
    responses=_TRANSCRIPT,
    openapi_extra=_body(TranscriptionForm),
)
async def create_transcription(
    request: Request, caller: SignedInCaller, shared: Annotated[Shared, Depends()]
) -> Response:
    """Transcribe a recording, and return the transcript at its end or, with `stream`, as it grows."""
    return await _transcribe(request, caller, shared, parse_transcription)


@router.post(
    "/audio/translations",
    response_model=Transcription | VerboseTranscription,
    responses=_TRANSCRIPT,
    openapi_extra=_body(TranslationForm),
)
async def create_translation(
    request: Request, caller: SignedInCaller, shared: Annotated[Shared, Depends()]
) -> Response:
    """Translate a recording into English, and return the transcript at its end."""
    return await _transcribe(request, caller, shared, parse_translation)


@router.get("/models", responses=documented_errors())
async def list_models(caller: SignedInCaller) -> OpenAIModels:
    """Return the name that stands for the model of any worker, and the models that workers have."""
    names = dict.fromkeys((WHISPER, *await caller.calls.get_models()))
    return OpenAIModels(data=tuple(OpenAIModel(id=name) for name in names))


async def _transcribe(request: Request, caller: Caller, shared: Shared, parse: Parse) -> Response:
    with ExitStack() as held:
        held.enter_context(shared.hub.admitted(caller))
        with shared.uploads.taken(caller.counted_as):
            smelt_id, parameters = await create_smelt(request, caller, parse)
        request.state.smelt_id = smelt_id
        response: Response
        if parameters.is_stream:
            has_segments = parameters.response_format == "verbose_json"
            stream = TranscriptStream(shared.hub, caller, smelt_id, has_segments=has_segments)
            response = StreamResponse(stream, held.pop_all())
        else:
            snapshot = await _ended(request, caller, shared, smelt_id)
            response = transcript_response(snapshot, parameters, shared.options.caption_layout)
    response.headers[SMELT_ID_HEADER] = str(smelt_id)
    return response


async def _ended(request: Request, caller: Caller, shared: Shared, smelt_id: UUID) -> Snapshot:
    """Wait for the end of a smelt, and return it with the times of words."""
    wait_s = shared.options.openai_wait_s
    waiting = asyncio.create_task(wait_for_end(caller, shared.clients, shared.drain, smelt_id, wait_s))
    leaving = asyncio.create_task(_disconnected(request))
    try:
        await asyncio.wait((waiting, leaving), return_when=asyncio.FIRST_COMPLETED)
        if not waiting.done():
            raise ClientDisconnect
        if waiting.result() is not None:
            return await read_snapshot(caller.calls, smelt_id, with_words=True)
    finally:
        waiting.cancel()
        leaving.cancel()
        await asyncio.gather(waiting, leaving, return_exceptions=True)
    if shared.drain.is_set():
        raise Problem(503, "unavailable", "The gateway stops; repeat the request to go on.", RETRY_AFTER_S)
    sentence = f"The transcript is not ready after {wait_s:g} s. It will be at /api/smelts/{smelt_id}; or use stream."
    raise OpenAIProblem(504, "timeout", sentence, headers=NO_RETRY)


async def _disconnected(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
