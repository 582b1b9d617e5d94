"""Checks whether this machine can run a worker: model, decoding, language model and disk space."""

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
    from smelt.processor.speech.values import LoadedInfo

_FULL_BYTES: Final = 64 * 1024**2
"""Less is not enough for any recording of some minutes."""
_MIN_FREE_BYTES: Final = 2 * 1024**3
"""Enough for a recording of the maximum size and duration, with its decoded audio."""


async def check_machine(settings: WorkerSettings) -> AsyncIterator[CheckResult]:
    """Yield the results of the checks of this machine."""
    install = install_command("processor")
    if any(importlib.util.find_spec(package) is None for package in ("faster_whisper", "av", "prometheus_client")):
        yield CheckResult("processor", "warn", "not installed; a worker can't run here", f"to run one: {install}")
        return
    from smelt.cli.worker import worker_options

    options = worker_options(settings)
    yield await run_check("model", _model(options), "see SMELT_MODEL in .env.example")
    yield await run_check("decoding", _decoding(), install)
    yield await run_check("synthesis", _synthesis(options), "see SMELT_LLM_BASE_URL in .env.example")
    yield await run_check("disk", _disk(settings.temp_dir), "set SMELT_TEMP_DIR to a writable folder")


async def _model(options: "WorkerOptions") -> CheckResult:
    from smelt.processor.errors import ChildUnusable, ModelError
    from smelt.processor.speech.demo_model_card import DEMO
    from smelt.processor.speech.shared import check_model

    try:
        info, load_s = await check_model(options.model_options, options.speech_options, options.calibration)
    except (ChildUnusable, ModelError) as exc:
        return CheckResult(
            "model",
            "fail",
            f"{options.model} does not transcribe a known recording: {exc}",
            "a worker here stops claiming until it does; check the memory and the driver of SMELT_DEVICE",
        )
    loaded = f"{options.model} loaded in {load_s:.1f} s, {info.compute_type} on {info.device}"
    observed = f"{loaded}; {_lanes(options, info)}"
    if options.model == DEMO:
        return CheckResult(
            "model",
            "warn",
            f"{observed}; it knows only the words of the demo",
            "for real speech, set for example SMELT_MODEL=small",
        )
    return CheckResult("model", "ok", observed)


def _lanes(options: "WorkerOptions", info: "LoadedInfo") -> str:
    """Return how many recordings the model transcribes at a time, with how many threads, and who has chosen that."""
    if info.device == "cpu" and options.calibration.known(options.model_options) is None:
        return "the first worker here measures threads and lanes"
    threads = f", {info.cpu_threads} threads each" if info.cpu_threads else ""
    return f"lanes: {info.lanes}{threads}"


async def _decoding() -> CheckResult:
    return await asyncio.to_thread(_decode)


def _decode() -> CheckResult:
    from smelt.processor.errors import FileError
    from smelt.processor.media.decode import decode_to_pcm
    from smelt.processor.media.probe import probe
    from smelt.processor.media.values import MediaLimits

    limits = MediaLimits(max_file_bytes=STANDUP.stat().st_size, max_duration_s=600)
    started_s = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="smelt-doctor-") as folder:
        try:
            recording = decode_to_pcm(
                STANDUP, Path(folder) / "pcm", probe(STANDUP, limits), limits, lambda _share: None
            )
        except FileError as exc:
            return CheckResult(
                "decoding", "fail", f"{STANDUP.name}: {exc}", "reinstall PyAV: pip install --force-reinstall av"
            )
    took_s = time.monotonic() - started_s
    observed = f"PyAV decoded {recording.duration_s:.0f} s of {STANDUP.name} in {took_s:.2f} s; ffmpeg is not needed"
    return CheckResult("decoding", "ok", observed)


async def _synthesis(options: "WorkerOptions") -> CheckResult:
    from smelt.processor.synthesis.factory import endpoint_options

    endpoint = endpoint_options(options)
    if endpoint is None:
        return CheckResult("synthesis", "ok", "extractive; set SMELT_LLM_BASE_URL to use a language model")
    return await check_language_model(endpoint)


async def _disk(temp_dir: Path | None) -> CheckResult:
    folder = temp_dir or Path(tempfile.gettempdir())
    try:
        free_bytes = shutil.disk_usage(folder).free
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as exc:
        raise SettingsError(f"{folder} is not writable: {exc.strerror}") from exc
    remedy = "free some space, or set SMELT_TEMP_DIR to a folder on a larger disk"
    if free_bytes < _FULL_BYTES:
        return CheckResult("disk", "fail", f"{folder} is full: {free_bytes / 1024**2:.0f} MiB free", remedy)
    observed = f"{free_bytes / 1024**3:.1f} GiB free in {folder}"
    if free_bytes < _MIN_FREE_BYTES:
        return CheckResult("disk", "warn", observed, remedy)
    return CheckResult("disk", "ok", observed)
