"""Keeping a connection when a request fails on it."""

import logging

from starlette.types import ASGIApp, Message, Receive, Scope, Send

logger = logging.getLogger(__name__)


class LogServerErrors:
    """Logs what a service failed with, and lets the connection live if the failure was answered.

    A service that answers with an error 500 raises the error all the same, for whoever wants to know, and the server
    would drop the connection for it.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        is_answered = False

        async def watch(message: Message) -> None:
            nonlocal is_answered
            await send(message)
            is_answered = message["type"] == "http.response.body" and not message.get("more_body", False)

        try:
            await self._app(scope, receive, watch)
        except Exception:
            if not is_answered:
                raise
            logger.exception("%s %s failed", scope["method"], scope["path"])
