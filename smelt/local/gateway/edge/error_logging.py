"""Logs errors of services."""

import logging

from starlette.types import ASGIApp, Message, Receive, Scope, Send

logger = logging.getLogger(__name__)


class LogServerErrors:
    """Logs the exception of a service, and keeps the connection open if the response is complete.

    Starlette sends the response 500 and raises the exception again, on which the server would close the connection.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        is_complete = False

        async def watch(message: Message) -> None:
            nonlocal is_complete
            await send(message)
            is_complete = message["type"] == "http.response.body" and not message.get("more_body", False)

        try:
            await self._app(scope, receive, watch)
        except Exception:
            if not is_complete:
                raise
            logger.exception("%s %s failed", scope["method"], scope["path"])
