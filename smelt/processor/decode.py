"""Stage `decoding`: from a validated file to a recording on disk."""

import asyncio
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Final

from smelt.processor.media.decode import bytes_needed, decode_to_pcm
from smelt.processor.services import WorkerServices
from smelt.processor.state import FileWork, SmeltState

# The smallest progress that a decoding thread reports; each report wakes the event loop.
_MIN_SHARE_STEP: Final = 0.01


async def decode(file: FileWork, state: SmeltState, services: WorkerServices, folder: Path) -> None:
    """Decode a validated file in a thread, and set its recording and duration."""
    assert file.source is not None
    assert file.probed is not None
    await asyncio.to_thread(services.workspace.require_space, bytes_needed(file.probed, state.limits))
    loop = asyncio.get_running_loop()
    stopped = threading.Event()
    on_decoded = _throttled(lambda share: loop.call_soon_threadsafe(state.advance, file, share), stopped)
    target = folder / f"{file.claimed.position}.pcm"
    try:
        with services.workspace.map_disk_full():
            file.recording = await loop.run_in_executor(
                services.threads.decoding, decode_to_pcm, file.source, target, file.probed, state.limits, on_decoded
            )
    finally:
        stopped.set()
    await asyncio.to_thread(file.source.unlink)
    file.duration_s = round(file.recording.duration_s, 3)
    state.advance(file, 1.0)


def _throttled(report: Callable[[float], object], stopped: threading.Event) -> Callable[[float], bool]:
    reported_share = 0.0

    def on_decoded(share: float) -> bool:
        nonlocal reported_share
        if share >= reported_share + _MIN_SHARE_STEP and not stopped.is_set():
            reported_share = share
            report(share)
        return not stopped.is_set()

    return on_decoded
