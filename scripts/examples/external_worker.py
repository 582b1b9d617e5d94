"""An external service that transcribes for `smelt worker --dispatch-to`; it needs no keys of the project.

    pip install faster-whisper fastapi uvicorn httpx
    SERVICE_MODEL=large-v3 SERVICE_TOKEN=... uvicorn external_worker:app --port 9000
    SMELT_DISPATCH_TOKEN=... smelt worker --dispatch-to http://127.0.0.1:9000/jobs

The protocol is in the README of the gateway, "External workers".
"""

import os
import tempfile
import threading
import time
from contextlib import suppress
from typing import Any

import httpx
from fastapi import BackgroundTasks, FastAPI, Header, HTTPException
from faster_whisper import WhisperModel

app = FastAPI()
model = WhisperModel(os.environ.get("SERVICE_MODEL", "small"))
place = threading.Lock()


@app.post("/jobs", status_code=202)
def accept(job: dict[str, Any], background: BackgroundTasks, authorization: str = Header("")) -> None:
    """Accept a job, one at a time; the worker dispatches it again later if it is not accepted."""
    if authorization != f"Bearer {os.environ['SERVICE_TOKEN']}":
        raise HTTPException(401)
    if not place.acquire(blocking=False):
        raise HTTPException(503, "busy", {"Retry-After": "5"})
    background.add_task(work, job)


class Stopped(Exception):
    """The smelt was cancelled, or another worker has it."""


class Callbacks:
    """The callbacks of one job; each response has the token of the next one."""

    def __init__(self, job: dict[str, Any]) -> None:
        self.url, self.token = job["callback_url"], job["callback_token"]

    def post(self, **body: Any) -> None:
        """Post progress until it is accepted: a callback may be repeated."""
        while True:
            with suppress(httpx.TransportError):
                response = httpx.post(self.url, json=body, headers={"X-Callback-Token": self.token}, timeout=30)
                if response.status_code in (401, 409):
                    raise Stopped(response.text)
                if response.status_code < 500:
                    self.token = response.raise_for_status().json()["callback_token"]
                    return
            time.sleep(2)


def work(job: dict[str, Any]) -> None:
    """Transcribe all files of a job; a failure is reported, so that another worker continues at once."""
    callbacks = Callbacks(job)
    try:
        saved = {segment["file_id"]: segment for segment in job["resume"]}
        for file in job["files"]:
            transcribe(file, saved.get(file["file_id"]), callbacks)
    except Stopped as reason:
        print(f"job {job['job_id']} stopped: {reason}")
    except Exception as exc:
        callbacks.post(error={"message": type(exc).__name__, "transient": True})
        raise
    finally:
        place.release()


def transcribe(file: dict[str, Any], last: dict[str, Any] | None, callbacks: Callbacks) -> None:
    """Download a file, transcribe what follows its last saved segment, and post new segments once a second."""
    options, duration = file["options"], file["duration"]
    index, start = (0, 0.0) if last is None else (last["index"] + 1, last["end"])
    callbacks.post(file_id=file["file_id"], progress=100 * start / duration)
    with tempfile.NamedTemporaryFile() as audio:
        with httpx.stream("GET", file["audio_url"], timeout=60) as response:
            for chunk in response.raise_for_status().iter_bytes():
                audio.write(chunk)
        audio.flush()
        # The text before `start` is saved; times stay those of the whole recording.
        segments, info = model.transcribe(
            audio.name,
            language=options["language"],
            task=options["task"],
            hotwords=" ".join(options["vocabulary"]) or None,
            clip_timestamps=[start],
            condition_on_previous_text=False,
        )
        new: list[dict[str, Any]] = []
        posted_at = time.monotonic()
        for segment in segments:
            end = min(segment.end, duration)
            if text := segment.text.strip():
                new.append({"index": index, "start": min(segment.start, end), "end": end, "text": text})
                index += 1
            if time.monotonic() - posted_at >= 1:
                callbacks.post(file_id=file["file_id"], progress=100 * end / duration, segments=new)
                new, posted_at = [], time.monotonic()
    callbacks.post(file_id=file["file_id"], segments=new, language=info.language, done=True)
