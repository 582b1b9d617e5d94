"""Stage `decoding`: from a validated file to a recording on disk."""

import asyncio
from pathlib import Path

from smelt.processor.media.values import bytes_needed
from smelt.processor.services import WorkerServices
from smelt.processor.state import FileWork, SmeltState


async def decode(file: FileWork, state: SmeltState, services: WorkerServices, folder: Path) -> None:
    """Decode a validated file in a child, and set its recording and duration."""
    assert file.source is not None
    assert file.decoding is not None
    assert file.probed is not None
    await asyncio.to_thread(services.workspace.require_space, bytes_needed(file.probed, state.limits))
    target = folder / f"{file.claimed.position}.pcm"
    with services.workspace.map_disk_full():
        file.recording = await file.decoding.decode(target, file.probed, lambda share: state.advance(file, share))
    await asyncio.to_thread(file.source.unlink)
    file.duration_s = round(file.recording.duration_s, 3)
    state.advance(file, 1.0)
