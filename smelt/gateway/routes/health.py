"""Liveness, readiness and metrics, for those who operate the gateway."""

from typing import Annotated

from fastapi import APIRouter, Depends, Request, Response
from prometheus_client import CONTENT_TYPE_LATEST

from smelt.contract.events import Model
from smelt.gateway.callers import Callers, current_callers
from smelt.gateway.drain import Drain
from smelt.gateway.errors import RETRY_AFTER_S, Problem, documented

router = APIRouter(tags=["health"])


class Health(Model):
    """The state of the gateway."""

    status: str = "ok"


@router.get("/healthz")
async def live() -> Health:
    """Return 200 while the process runs."""
    return Health()


@router.get("/readyz", responses=documented())
async def ready(drain: Drain, callers: Annotated[Callers, Depends(current_callers)]) -> Health:
    """Return 200 while the project responds and the gateway does not stop."""
    if drain.is_set():
        raise Problem(503, "stopping", "The gateway stops.", RETRY_AFTER_S)
    await callers.caller(None, "").check()
    return Health()


@router.get("/metrics", include_in_schema=False)
async def metrics(request: Request) -> Response:
    """Return the metrics in the text format of Prometheus."""
    return Response(request.app.state.metrics.text(), media_type=CONTENT_TYPE_LATEST)
