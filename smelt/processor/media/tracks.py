"""Chooses the audio track with the voice."""

import time
from collections.abc import Callable, Sequence
from typing import Final

import av

from smelt.processor.errors import FileError
from smelt.processor.media.mono import channel_powers
from smelt.processor.media.packets import PacketReader
from smelt.processor.media.probe import audio_stream, audio_tracks, open_media
from smelt.processor.media.source import Source
from smelt.processor.media.values import Probe

_MAX_TRACKS: Final = 8
_PLACES: Final = 8
_PLACE_S: Final = 10.0
_MAX_PROCESSOR_S: Final = 5.0
# 30 dB: the track that is played by default is chosen unless it is quieter than another one by more than this.
_AUDIBLE_SHARE: Final = 1e-3


def choose_track(source: Source, probed: Probe, check: Callable[[], object]) -> tuple[int, int]:
    """Return the index of the audio track to transcribe, and the number of tracks; calls `check` between samples."""
    with open_media(source) as container:
        stream = audio_stream(container)
        count = len(container.streams.audio)
        if count == 1:
            return 0, 1
        indexes = {track.index: index for index, track in enumerate(container.streams.audio)}
        candidates = [indexes[track.index] for track in audio_tracks(container)]
        assert candidates[0] == indexes[stream.index]
    powers = []
    for track in candidates[:_MAX_TRACKS]:
        powers.append(_sampled_power(source, track, probed))
        check()
    return candidates[audible_track(powers)], count


def audible_track(powers: Sequence[float]) -> int:
    """Return the first track that is not far quieter than the loudest."""
    return next(track for track, power in enumerate(powers) if power >= max(powers) * _AUDIBLE_SHARE)


def _sampled_power(source: Source, track: int, probed: Probe) -> float:
    """Return the mean power of the loudest channel in samples from the whole track."""
    places = [probed.declared_s * n / _PLACES for n in range(_PLACES)] if probed.declared_s else [0.0]
    place_s = _PLACE_S * _PLACES / len(places)
    energy = sound_s = 0.0
    started_s = time.thread_time()
    try:
        with open_media(source) as container:
            reader = PacketReader(container, audio_stream(container, track))
            for place in places:
                if place:
                    container.seek((container.start_time or 0) + int(place * av.time_base))
                end_s = sound_s + place_s
                for packet in reader.read():
                    for frame in packet.frames:
                        seconds = frame.samples / frame.sample_rate
                        energy += float(channel_powers(frame).max()) * seconds
                        sound_s += seconds
                    if sound_s > end_s or time.thread_time() - started_s > _MAX_PROCESSOR_S:
                        break
    except (av.error.FFmpegError, FileError):
        pass  # The part that was decoded counts.
    return energy / sound_s if sound_s else 0.0
