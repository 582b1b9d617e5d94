"""Whether a worker could work on this machine: its models, decoding, room on disk."""

import asyncio
import importlib.util
import shutil
import tempfile
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import TYPE_CHECKING, Final

from smelt.cli.checks.language_model import check_language_model
from smelt.cli.checks.result import CheckResult, run_check
from smelt.cli.demo import STANDUP
from smelt.distribution import install_command
from smelt.errors import SettingsError
from smelt.settings import WorkerSettings

if TYPE_CHECKING:
    from smelt.processor.options import WorkerOptions

_MIN_FREE_BYTES: Final = 2 * 1024**3
"""A recording of the longest and largest kind, and what it decodes to."""


async def check_machine(settings: WorkerSettings) -> AsyncIterator[CheckResult]:
    """Look at this machine as one that a worker would run on."""
    install = install_command("processor")
    if any(importlib.util.find_spec(package) is None for package in ("faster_whisper", "av", "prometheus_client")):
        yield CheckResult("processor", "warn", "is not installed, so that no worker can run here", install)
        return
    from smelt.cli.worker import worker_options

    options = worker_options(settings)
    yield await run_check("model", _model(options), "see SMELT_MODEL in .env.example")
    yield await run_check("decoding", _decoding(), install)
    yield await run_check("synthesis", _synthesis(options), "see SMELT_LLM_BASE_URL in .env.example")
    yield await run_check("disk", _disk(settings.temp_dir), "set SMELT_TEMP_DIR")


async def _model(options: "WorkerOptions") -> CheckResult:
    from smelt.processor.speech.demo_model_card import DEMO
    from smelt.processor.speech.model import load_model

    started_s = time.monotonic()
    model = await asyncio.to_thread(load_model, options.model_options)
    device, precision = model.model.device, model.model.compute_type
    observed = f"{options.model} is loaded in {time.monotonic() - started_s:.1f} s, {precision} on {device}"
    if options.model == DEMO:
        return CheckResult(
            "model", "warn", f"{observed}; it knows the words of the demo alone", "set SMELT_MODEL=small, say"
        )
    return CheckResult("model", "ok", observed)


async def _decoding() -> CheckResult:
    return await asyncio.to_thread(_decode)


def _decode() -> CheckResult:
    from smelt.processor.errors import FileError
    from smelt.processor.media.decode import decode_to_pcm
    from smelt.processor.media.probe import MediaLimits, probe

    limits = MediaLimits(max_file_bytes=STANDUP.stat().st_size, max_duration_s=600)
    started_s = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="smelt-doctor-") as folder:
        try:
            recording = decode_to_pcm(
                STANDUP, Path(folder) / "pcm", probe(STANDUP, limits), limits, lambda _share: True
            )
        except FileError as exc:
            return CheckResult(
                "decoding", "fail", f"{STANDUP.name}: {exc}", "install PyAV again: pip install --force-reinstall av"
            )
    took_s = time.monotonic() - started_s
    observed = f"{recording.duration_s:.0f} s of {STANDUP.name} in {took_s:.2f} s with PyAV, no ffmpeg needed"
    return CheckResult("decoding", "ok", observed)


async def _synthesis(options: "WorkerOptions") -> CheckResult:
    from smelt.processor.synthesis.factory import endpoint_options

    endpoint = endpoint_options(options)
    if endpoint is None:
        return CheckResult("synthesis", "ok", "chooses sentences; with SMELT_LLM_BASE_URL a language model writes")
    return await check_language_model(endpoint)


async def _disk(temp_dir: Path | None) -> CheckResult:
    folder = temp_dir or Path(tempfile.gettempdir())
    try:
        free_bytes = shutil.disk_usage(folder).free
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as exc:
        raise SettingsError(f"{folder} can't be written to: {exc.strerror}") from exc
    observed = f"{free_bytes / 1024**3:.1f} GiB are free in {folder}"
    if free_bytes < _MIN_FREE_BYTES:
        return CheckResult("disk", "warn", observed, "make room, or set SMELT_TEMP_DIR to a folder with more of it")
    return CheckResult("disk", "ok", observed)
