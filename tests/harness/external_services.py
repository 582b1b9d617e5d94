"""A service that records the jobs that are dispatched to it, and responds as a test requests."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from smelt.contract.dispatch import DispatchedJob


@dataclass
class Service:
    """A running service.

    Attributes:
        url: The address for jobs.
        status: The status of its next responses.
        retry_after: Its `Retry-After`.
        may_respond: A request waits for it.
        received: The authorization and the body of each request.
    """

    url: str = ""
    status: int = 202
    retry_after: str | None = None
    may_respond: threading.Event = field(default_factory=threading.Event)
    received: list[tuple[str | None, bytes]] = field(default_factory=list)

    @property
    def jobs(self) -> list[DispatchedJob]:
        """The jobs of all requests."""
        return [DispatchedJob.model_validate_json(body) for _, body in self.received]


@contextmanager
def running_service(status: int = 202) -> Iterator[Service]:
    """Run a service on a free port; it responds at once unless `may_respond` is cleared."""
    service = Service(status=status)
    service.may_respond.set()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            service.received.append(
                (self.headers["Authorization"], self.rfile.read(int(self.headers["Content-Length"])))
            )
            service.may_respond.wait(60)
            self.send_response(service.status)
            self.send_header("Content-Length", "0")
            if service.retry_after is not None:
                self.send_header("Retry-After", service.retry_after)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Log nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        service.url = f"http://127.0.0.1:{server.server_port}/jobs"
        thread = threading.Thread(target=server.serve_forever, name="service")
        thread.start()
        try:
            yield service
        finally:
            service.may_respond.set()
            server.shutdown()
            thread.join(30)
