"""Stage `decoding`: from a validated file to a recording on disk."""

import asyncio

from smelt.processor.media.values import bytes_needed
from smelt.processor.stages.stage import Stage
from smelt.processor.state import FileWork


class Decode(Stage):
    """Decodes validated files in children."""

    name = "decoding"
    risk = "decode"

    async def run(self, file: FileWork) -> None:
        """Decode a file, and set its recording and duration."""
        assert file.source is not None
        assert file.decoding is not None
        assert file.probed is not None
        state, services = self.job.state, self.job.services
        is_separate = state.options.channels == "separate"
        needed_bytes = bytes_needed(file.probed, state.limits, is_separate=is_separate)
        await asyncio.to_thread(services.workspace.require_space, needed_bytes)
        target = self.job.folder / f"{file.claimed.position}.pcm"
        with services.workspace.map_disk_full():
            file.recording = await file.decoding.decode(
                target, file.probed, lambda share: state.advance(file, share), is_separate=is_separate
            )
        await asyncio.to_thread(file.source.unlink)
        file.duration_s = round(file.recording.duration_s, 3)
        state.advance(file, 1.0)
