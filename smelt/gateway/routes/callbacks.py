"""Callbacks of external services, which transcribe smelts that a worker has dispatched to them."""

import logging
import time
from typing import Annotated, Final

from fastapi import APIRouter, Depends
from fastapi.security import APIKeyHeader

from smelt.backend.project import Project
from smelt.backend.worker_rpc import WorkerRpc
from smelt.contract.channels import smelt_channel
from smelt.contract.dispatch import Accepted, Callback, CallbackToken
from smelt.contract.report_events import report_events
from smelt.contract.work import DispatchReport
from smelt.errors import RequestRejected, SmeltError
from smelt.gateway.callers import Callers, current_callers, not_configured
from smelt.gateway.errors import Problem, documented

logger = logging.getLogger(__name__)

router = APIRouter(prefix="/api/callbacks", tags=["callbacks"])

_ENDS: Final = {
    "lost": "The smelt was given to another worker, or has ended: stop working on it.",
    "cancelled": "The smelt was cancelled: stop working on it.",
}
_header: Final = APIKeyHeader(
    name="X-Callback-Token", auto_error=False, description="The token of the job, or of the last response."
)


def callback_token(
    callers: Annotated[Callers, Depends(current_callers)], token: Annotated[str | None, Depends(_header)]
) -> CallbackToken:
    """Return the content of the token of a request."""
    if callers.callback_tokens is None:
        raise not_configured()
    content = None if token is None else callers.callback_tokens.verify(token)
    if content is None:
        raise Problem(401, "unauthorized", "The callback token is missing or not valid.")
    if content.expires_at <= time.time():
        raise Problem(401, "token_expired", "The callback token has expired: another worker gets the smelt.")
    return content


@router.post("/progress", status_code=202, responses=documented(404, 408, 409, 413))
async def report_progress(
    callers: Annotated[Callers, Depends(current_callers)],
    token: Annotated[CallbackToken, Depends(callback_token)],
    callback: Callback,
) -> Accepted:
    """Save the progress of a dispatched smelt and broadcast it, as that of a worker.

    A callback may be repeated: saved segments and percentages stay. After a response 409, the service stops.
    """
    assert callers.callback_tokens is not None
    project = callers.service()
    report = await _report(project, token, callback)
    match report.verdict:
        case "foreign":
            raise Problem(401, "unauthorized", "The callback token is for another smelt.")
        case "lost" | "cancelled" as verdict:
            raise Problem(409, verdict, _ENDS[verdict])
    assert report.seq is not None
    logger.info("smelt %s: callback of attempt %s, seq %s", token.smelt_id, token.attempt, report.seq)
    await _broadcast(project, token, callback, report)
    renewed, content = callers.callback_tokens.issue(token.smelt_id, token.attempt, token.lease_s, time.time())
    return Accepted(seq=report.seq, callback_token=renewed, expires_at=content.expires)


async def _report(project: Project, token: CallbackToken, callback: Callback) -> DispatchReport:
    if callback.error is not None:
        logger.warning("smelt %s: the external service reports %s", token.smelt_id, callback.error)
    try:
        return await WorkerRpc(project.rpc).report_dispatched(
            token.smelt_id, token.attempt, callback.report(), lease_s=token.lease_s
        )
    except RequestRejected as exc:
        if exc.code != "invalid_request":
            raise
        raise Problem(422, exc.code, str(exc)) from exc


async def _broadcast(project: Project, token: CallbackToken, callback: Callback, report: DispatchReport) -> None:
    """Broadcast the event of a report; one without an acknowledgement is dropped, as the next state is complete."""
    if report.event is None:
        return
    file_id = callback.file_id or report.event.files[0].id
    segments = [(file_id, segment) for segment in callback.segments]
    try:
        for event, payload in report_events(segments, report.event):
            await project.realtime.post(smelt_channel(str(token.smelt_id)), event, payload)
    except SmeltError as exc:
        logger.warning("smelt %s: its progress was not broadcast: %s", token.smelt_id, exc)
