"""Speech from espeak-ng with the times of its words and phonemes, as the events of the library report them."""

import ctypes
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

LIBRARY = "libespeak-ng.so.1"
MISSING = "espeak-ng is missing; on Debian: apt-get install espeak-ng libespeak-ng1"

_SYNCHRONOUS, _PHONEME_EVENTS, _UTF8, _CHARACTERS = 2, 1, 1, 1
_RATE, _PITCH, _RANGE = 1, 3, 4
_LIST_END, _WORD, _PHONEME = 0, 1, 7
_SILENT_BELOW = 80
_MARGIN_S = 0.01


@dataclass(frozen=True)
class Voice:
    """A voice of espeak-ng: accent, variant, words per minute, pitch, and pitch range (`melody`, 0 to 99)."""

    accent: str = "en-US"
    variant: str = ""
    rate: int = 160
    pitch: int = 50
    melody: int = 50

    @property
    def name(self) -> str:
        return f"{self.accent}+{self.variant}" if self.variant else self.accent


@dataclass(frozen=True)
class Speech:
    """Mono 16-bit samples without silence at the edges; times are in seconds from the first sample."""

    samples: NDArray[np.int16]
    sample_rate: int
    word_starts: tuple[float, ...]
    phonemes: tuple[tuple[float, str], ...]

    @property
    def duration_s(self) -> float:
        return len(self.samples) / self.sample_rate


class _EventId(ctypes.Union):
    _fields_ = [("number", ctypes.c_int), ("name", ctypes.c_char_p), ("string", ctypes.c_char * 8)]


class _Event(ctypes.Structure):
    _fields_ = [
        ("type", ctypes.c_int),
        ("unique_identifier", ctypes.c_uint),
        ("text_position", ctypes.c_int),
        ("length", ctypes.c_int),
        ("audio_position", ctypes.c_int),
        ("sample", ctypes.c_int),
        ("user_data", ctypes.c_void_p),
        ("id", _EventId),
    ]


_CALLBACK = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.POINTER(_Event))


class Espeak:
    """The espeak-ng engine; the library keeps global state, so a process may use one instance at a time."""

    def __init__(self) -> None:
        try:
            self._library = ctypes.CDLL(LIBRARY)
        except OSError as exc:
            raise RuntimeError(MISSING) from exc
        self.sample_rate: int = self._library.espeak_Initialize(_SYNCHRONOUS, 0, None, _PHONEME_EVENTS)
        self._samples: list[NDArray[np.int16]] = []
        self._words: list[tuple[int, int]] = []
        self._phonemes: list[tuple[int, str]] = []
        # The library keeps the pointer: without a reference here the callback would be freed.
        self._callback = _CALLBACK(self._collect)
        self._library.espeak_SetSynthCallback(self._callback)

    def speak(self, text: str, voice: Voice) -> Speech:
        """Synthesize words separated by single spaces; raise `ValueError` for an unknown voice or a silent text."""
        if self._library.espeak_SetVoiceByName(voice.name.encode()) != 0:
            raise ValueError(f"espeak-ng has no voice {voice.name}")
        for parameter, value in ((_RATE, voice.rate), (_PITCH, voice.pitch), (_RANGE, voice.melody)):
            self._library.espeak_SetParameter(parameter, value, 0)
        for collected in (self._samples, self._words, self._phonemes):
            collected.clear()
        encoded = text.encode()
        self._library.espeak_Synth(encoded, len(encoded) + 1, 0, _CHARACTERS, 0, _UTF8, None, None)
        return self._trimmed(text)

    def _collect(self, samples, count, events) -> int:  # type: ignore[no-untyped-def]
        if samples and count > 0:
            self._samples.append(np.ctypeslib.as_array(samples, (count,)).copy())
        index = 0
        while events and events[index].type != _LIST_END:
            event = events[index]
            if event.type == _WORD:
                self._words.append((event.sample, event.text_position - 1))
            elif event.type == _PHONEME:
                self._phonemes.append((event.sample, event.id.string.decode("utf-8", "replace")))
            index += 1
        return 0

    def _trimmed(self, text: str) -> Speech:
        samples = np.concatenate(self._samples) if self._samples else np.zeros(0, np.int16)
        loud = np.flatnonzero(np.abs(samples.astype(np.int32)) > _SILENT_BELOW)
        if not len(loud):
            raise ValueError(f"espeak-ng is silent for {text!r}")
        margin = int(_MARGIN_S * self.sample_rate)
        first, last = max(0, int(loud[0]) - margin), min(len(samples), int(loud[-1]) + margin)
        length = last - first

        def seconds(sample: int) -> float:
            return min(max(sample - first, 0), length) / self.sample_rate

        starts = {position: seconds(sample) for sample, position in self._words}
        return Speech(
            samples=samples[first:last],
            sample_rate=self.sample_rate,
            word_starts=_fill_gaps(text.split(), starts, length / self.sample_rate),
            phonemes=tuple((seconds(sample), name or "_") for sample, name in self._phonemes),
        )


def _fill_gaps(words: list[str], starts: dict[int, float], end_s: float) -> tuple[float, ...]:
    """Return a start for every word; espeak-ng speaks some pairs ("for the") as one, split here by letters."""
    known: list[tuple[int, float]] = []
    letters = [0]
    for index, word in enumerate(words):
        if (start := starts.get(letters[-1])) is not None or index == 0:
            known.append((letters[-1], start or 0.0))
        letters.append(letters[-1] + len(word) + 1)
    known.append((letters[-1], end_s))
    positions, times = zip(*known, strict=True)
    return tuple(float(t) for t in np.interp(letters[:-1], positions, times))
