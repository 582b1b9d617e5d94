"""The options of `smelt submit`, as they are sent to the project."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from smelt.cli import app


class Rejecting(BaseHTTPRequestHandler):
    """Records the body of each request, and rejects it as `create_smelt` does."""

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        self.server.requests.append(body)  # type: ignore[attr-defined]
        response = json.dumps({"code": "PT400", "message": "Recorded.", "hint": "invalid_request"}).encode()
        self.send_response(400)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(response)))
        self.end_headers()
        self.wfile.write(response)

    def log_message(self, format: str, *args: object) -> None:
        """Print nothing."""


@contextmanager
def recording_project(requests: list[dict[str, Any]]) -> Iterator[str]:
    """Yield the URL of a project that records the requests for new smelts."""
    with HTTPServer(("127.0.0.1", 0), Rejecting) as server:
        server.requests = requests  # type: ignore[attr-defined]
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture
def requests(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[dict[str, Any]]]:
    """The requests that the commands of a test make."""
    sent: list[dict[str, Any]] = []
    with recording_project(sent) as url:
        monkeypatch.setenv("SUPABASE_URL", url)
        monkeypatch.setenv("SUPABASE_ANON_KEY", "key")
        yield sent


def submitted(requests: list[dict[str, Any]], *arguments: str) -> dict[str, Any]:
    """Return the request that `smelt submit` makes for a text with these arguments."""
    done = CliRunner().invoke(app, ["submit", "--text", "x", "--json", *arguments])
    assert json.loads(done.output)["message"] == "Recorded."
    (request,) = requests
    return {name: value for name, value in request.items() if name not in {"files", "mode", "idempotency_key"}}


def test_submit_without_options_sends_none_of_them(requests: list[dict[str, Any]]) -> None:
    assert submitted(requests) == {"text_input": "x", "submit": False}


def test_submit_sends_each_option(requests: list[dict[str, Any]], tmp_path: Path) -> None:
    names = tmp_path / "names.txt"
    names.write_bytes("\ufeffJürgen\r\n\r\n Łódź \n".encode())
    arguments = (
        *("--language", "de", "--translate", "--vocabulary", "Anna Schmidt", "--vocabulary", "Kubernetes"),
        *("--vocabulary-file", str(names), "--no-word-times", "--channels", "separate", "--model", "small"),
        *("--keep-audio", "24", "--metadata", "course=17=b", "--metadata", '{"tags": ["physics"]}'),
        *("--prompt", "action_items"),
    )
    assert submitted(requests, *arguments) == {
        "text_input": "x",
        "submit": False,
        "default_prompt_names": ["action_items"],
        "options": {
            "language": "de",
            "task": "translate",
            "vocabulary": ["Anna Schmidt", "Kubernetes", "Jürgen", "Łódź"],
            "word_times": False,
            "channels": "separate",
            "model": "small",
            "keep_audio_h": 24.0,
        },
        "metadata": {"course": "17=b", "tags": ["physics"]},
    }


def test_submit_with_transcript_only_sends_no_prompt(requests: list[dict[str, Any]]) -> None:
    assert submitted(requests, "--transcript-only")["default_prompt_names"] == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--vocabulary", " "], "--vocabulary: "),
        (["--vocabulary", "x"] * 101, "--vocabulary: "),
        (["--vocabulary-file", __file__.replace("test_submit_options.py", "missing")], "does not exist"),
        (["--keep-audio", "-1"], "--keep-audio"),
        (["--keep-audio", "nan"], "--keep-audio"),
        (["--keep-audio", "inf"], "--keep-audio"),
        (["--channels", "left"], "--channels"),
        (["--metadata", "course"], "--metadata: course is neither a JSON object nor KEY=VALUE."),
        (["--metadata", '{"a": NaN}'], "NaN does not exist in JSON"),
        (["--metadata", '{"a"'], "is not a JSON object"),
        (
            ["--transcript-only", "--prompt", "summarize"],
            "--prompt: --transcript-only and --prompt exclude each other.",
        ),
    ],
)
def test_submit_rejects_invalid_options_before_any_request(
    arguments: list[str], message: str, requests: list[dict[str, Any]]
) -> None:
    done = CliRunner().invoke(app, ["submit", "--text", "x", *arguments], env={"COLUMNS": "200"})
    assert done.exit_code == 2
    assert message in done.output
    assert requests == []


def test_submit_help_has_an_example_for_each_option() -> None:
    printed = CliRunner().invoke(app, ["submit", "--help"], env={"COLUMNS": "120"}).output
    options, examples = printed.split("Examples:")
    flags = {word.split("/")[0] for word in options.split() if word.startswith("--")}
    assert {flag for flag in flags if flag not in examples.split()} == {"--no-word-times", "--mode", "--json", "--help"}
