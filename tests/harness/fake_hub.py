"""A model hub: a server with the protocol of Hugging Face that has one model, the bundled one, under any name."""

import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from smelt.processor.speech.demo_model_card import demo_folder

COMMIT = "0123456789abcdef0123456789abcdef01234567"
UNKNOWN = "nobody/nothing"
FILES = {
    name: (demo_folder() / name).read_bytes()
    for name in (
        "README.md",
        "config.json",
        "model.bin",
        "preprocessor_config.json",
        "tokenizer.json",
        "vocabulary.json",
    )
}
WEIGHTS_SHA256 = hashlib.sha256(FILES["model.bin"]).hexdigest()


class Hub(ThreadingHTTPServer):
    """`without` are files that the model lacks; `damaged` ones arrive with another content."""

    def __init__(self, *, without: frozenset[str], damaged: frozenset[str]) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.files = {name: content for name, content in FILES.items() if name not in without}
        self.damaged = damaged

    @property
    def url(self) -> str:
        """The value for `HF_ENDPOINT`."""
        return f"http://127.0.0.1:{self.server_port}"


class _Handler(BaseHTTPRequestHandler):
    server: Hub

    def do_HEAD(self) -> None:
        self._respond()

    def do_GET(self) -> None:
        self._respond()

    def _respond(self) -> None:
        parts = self.path.partition("?")[0].split("/")
        name = parts[-1]
        if UNKNOWN in self.path or ("resolve" in parts and name not in self.server.files):
            self._send(404, b'{"error": "Repository not found"}', {"X-Error-Code": "RepoNotFound"})
        elif "revision" in parts:
            siblings = [{"rfilename": file} for file in self.server.files]
            self._send_json({"id": "/".join(parts[3:5]), "sha": COMMIT, "siblings": siblings})
        elif "tree" in parts:
            self._send_json([_entry(file, content) for file, content in self.server.files.items()])
        elif "resolve" not in parts:  # Statistics of the client.
            self._send(404, b"", {})
        else:
            content = self.server.files[name]
            etag = WEIGHTS_SHA256 if name == "model.bin" else _blob(content)
            sent = bytes(len(content)) if name in self.server.damaged else content
            self._send(200, sent, {"ETag": f'"{etag}"', "X-Repo-Commit": COMMIT, "Accept-Ranges": "bytes"})

    def _send_json(self, value: object) -> None:
        self._send(200, json.dumps(value).encode(), {"Content-Type": "application/json"})

    def _send(self, status: int, content: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(content))}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(content)

    def log_message(self, format: str, *args: object) -> None:
        """Print nothing."""


def _entry(name: str, content: bytes) -> dict[str, object]:
    entry: dict[str, object] = {"type": "file", "path": name, "size": len(content), "oid": _blob(content)}
    if name == "model.bin":
        entry["lfs"] = {"oid": WEIGHTS_SHA256, "size": len(content), "pointerSize": 134}
    return entry


def _blob(content: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()


@contextmanager
def running_hub(*, without: tuple[str, ...] = (), damaged: tuple[str, ...] = ()) -> Iterator[str]:
    """Run a hub during the block; yield its URL."""
    with Hub(without=frozenset(without), damaged=frozenset(damaged)) as hub:
        thread = threading.Thread(target=hub.serve_forever)
        thread.start()
        try:
            yield hub.url
        finally:
            hub.shutdown()
            thread.join()
