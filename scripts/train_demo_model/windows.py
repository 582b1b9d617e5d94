"""Training windows: ten seconds of a meeting, and the tokens that Whisper should write for them."""

import random
from dataclasses import dataclass, field

import numpy as np
from bank import SAMPLE_RATE, Bank, Utterance
from sound import Samples, add_tones, decibels, disturb
from tokens import TICKS_PER_SECOND, WINDOW_S, Vocabulary

Span = tuple[float, float] | None

# Kinds of windows with their weights: many utterances; a few alone; one that begins in mid-utterance; one that begins
# with a long silence; silence only.
_KINDS = {"stream": 56, "alone": 25, "middle": 9, "late": 6, "silence": 5}


@dataclass(frozen=True)
class Placed:
    """An utterance in a window; `start` is negative if the window begins in its middle."""

    start: float
    utterance: Utterance

    @property
    def end(self) -> float:
        return self.start + self.utterance.duration_s

    def word_spans(self) -> list[tuple[float, float]]:
        starts = [self.start + float(t) for t in self.utterance.word_starts]
        return list(zip(starts, [*starts[1:], self.end], strict=True))


@dataclass
class Target:
    """The expected tokens, each with its time in the window in seconds; None for a token without sound."""

    tokens: list[int] = field(default_factory=list)
    spans: list[Span] = field(default_factory=list)
    has_speech: bool = False

    def put(self, token: int, span: Span = None) -> None:
        self.tokens.append(token)
        self.spans.append(span)


@dataclass(frozen=True)
class Window:
    """Samples, the seconds of them that are recording (the rest is padding), and the expected tokens."""

    samples: Samples
    content_s: float
    timestamps: bool
    target: Target
    prompt: list[int]
    phonemes: np.ndarray  # one number for each position of the encoder


class Windows:
    """Draws windows from a bank; the result depends on `draw` alone."""

    def __init__(self, bank: Bank, vocabulary: Vocabulary) -> None:
        self._bank, self._vocabulary = bank, vocabulary

    def draw(self, draw: random.Random, *, length_s: float, first_steps: bool, prompted: bool) -> Window:
        """Draw a window; with `first_steps` one of single utterances, the easiest."""
        kind = "alone" if first_steps else draw.choices(list(_KINDS), list(_KINDS.values()))[0]
        timestamps = draw.random() < 0.65
        if kind == "silence":
            placed: list[Placed] = []
            samples = np.zeros(int(length_s * SAMPLE_RATE), np.float32)
            content_s = length_s if draw.random() < 0.5 else draw.uniform(0.3, length_s)
        else:
            placed, samples = self._place(draw, kind, length_s, first_steps)
            content_s = length_s
        if kind == "alone" and placed:
            content_s = min(length_s, placed[-1].end + draw.choice([0, draw.uniform(0, 0.3), draw.uniform(0, 1.5)]))
        if not timestamps and len(placed) > 1 and placed[-1].end > content_s + 0.02 and draw.random() < 0.5:
            # Without timestamps, windows end in a pause: half of the cut utterances are removed, with their sound.
            cut = placed.pop()
            content_s = min(content_s, max(placed[-1].end, cut.start - draw.uniform(0.02, 0.3)))
        if not placed and draw.random() < 0.6:
            samples = add_tones(samples, draw)
        noise = np.random.default_rng(draw.getrandbits(64))
        return Window(
            samples=disturb(samples, draw, noise),
            content_s=content_s,
            timestamps=timestamps,
            target=label(placed, content_s, timestamps, self._vocabulary, draw),
            prompt=self._prompt(draw) if prompted and draw.random() < 0.8 else [],
            phonemes=_phoneme_positions(placed, content_s, length_s),
        )

    def _place(
        self, draw: random.Random, kind: str, length_s: float, first_steps: bool
    ) -> tuple[list[Placed], Samples]:
        samples = np.zeros(int(length_s * SAMPLE_RATE), np.float32)
        start = _first_start(draw, kind, length_s)
        if first_steps:
            start = max(0.0, min(start, 0.6))
        max_count = 99 if kind != "alone" else 1 if first_steps else draw.choice([1, 1, 2, 2, 3, 4])
        is_continuous = draw.random() < 0.12
        placed: list[Placed] = []
        level = 1.0
        while start < length_s and len(placed) < max_count:
            utterance = self._bank[draw.randrange(len(self._bank))]
            if kind == "alone" and start + utterance.duration_s > length_s:
                break
            if not placed or draw.random() < 0.6:
                level = decibels(draw.uniform(-9, 0))
            _mix(samples, utterance, start, level)
            if start + utterance.duration_s > 0:
                placed.append(Placed(start, utterance))
            start += utterance.duration_s + (draw.uniform(0, 0.15) if is_continuous else pause(draw))
        return placed, samples

    def _prompt(self, draw: random.Random) -> list[int]:
        """Draw previous text as faster-whisper passes it: with timestamps, or plain (initial_prompt, hotwords)."""
        kind = draw.random()
        # In a long recording the prompt nearly always has its maximum of 223 tokens.
        count = 223 if kind < 0.45 else draw.randint(1, 223) if kind < 0.8 else draw.randint(1, 40)
        timestamps = draw.random() < 0.8
        tokens: list[int] = []
        at = draw.uniform(0, 1)
        while len(tokens) < count:
            utterance = self._bank[draw.randrange(len(self._bank))]
            end = at + utterance.duration_s
            if end > WINDOW_S:
                at, end = 0.3, 0.3 + utterance.duration_s
            words = [int(token) for token in utterance.tokens]
            stamp = self._vocabulary.timestamp
            tokens += [stamp(at), *words, stamp(end)] if timestamps else words
            at = end + pause(draw)
        return [self._vocabulary.previous, *tokens[-count:]]


def pause(draw: random.Random) -> float:
    """Draw the seconds between two utterances."""
    kind = draw.random()
    return draw.uniform(0.15, 0.5) if kind < 0.35 else draw.uniform(0.3, 1.2) if kind < 0.85 else draw.uniform(1.0, 3.5)


def _first_start(draw: random.Random, kind: str, length_s: float) -> float:
    if kind == "middle":
        return -draw.uniform(0.2, 2.0)
    if kind == "late":
        return draw.uniform(0.5, length_s * 0.97)
    chance = draw.random()
    if chance < 0.15:
        return -draw.uniform(0, 0.12)  # The timestamp of the previous window was a little late.
    if chance < 0.5:
        return draw.uniform(0, 0.4)
    return draw.uniform(0, 0.1) + pause(draw) * draw.choice([0.5, 1.0])


def _mix(samples: Samples, utterance: Utterance, start: float, level: float) -> None:
    at = round(start * SAMPLE_RATE)
    audible_samples = utterance.samples[max(0, -at) : max(0, len(samples) - at)]
    at = max(0, at)
    samples[at : at + len(audible_samples)] += audible_samples.astype(np.float32) * np.float32(level / 32768)


def label(
    placed: list[Placed], content_s: float, timestamps: bool, vocabulary: Vocabulary, draw: random.Random
) -> Target:
    """Return the expected tokens: all audible words; of a last utterance that is cut off, only its start.

    The next window begins at that start and contains the utterance.
    """
    target = Target()
    for index, spoken in enumerate(placed):
        cut = spoken.end > content_s + 0.03
        if cut and spoken.start > content_s - 0.04:
            break
        start = min(max(spoken.start, 0.0), 1.0) if index == 0 and spoken.start < 0 else spoken.start
        if cut and timestamps and target.tokens:
            target.put(vocabulary.timestamp(start), _near(start))
            break
        audible = [at for at, span in enumerate(spoken.word_spans()) if _is_audible(span, spoken.start, content_s)]
        if not audible:
            continue
        target.has_speech = True
        if timestamps:
            target.put(vocabulary.timestamp(start), _near(start))
        spans = spoken.word_spans()
        for at in audible:
            target.put(int(spoken.utterance.tokens[at]), spans[at])
        if not cut:
            # The full stop spans the pause, so that the next word begins where it is spoken.
            following = placed[index + 1].start if index + 1 < len(placed) else content_s
            target.put(int(spoken.utterance.tokens[-1]), (spoken.end - 0.12, max(spoken.end + 0.08, following - 0.06)))
            if timestamps:
                target.put(vocabulary.timestamp(spoken.end), (spoken.end - 0.08, spoken.end + 0.08))
    if timestamps and not target.has_speech:
        target = Target([vocabulary.timestamp(draw.uniform(0, 1.0))], [None])
    target.put(vocabulary.end)
    return target


def _near(start: float) -> Span:
    return start - 0.06, start + 0.1


def _is_audible(word: tuple[float, float], utterance_start: float, content_s: float) -> bool:
    begin, end = word
    audible_samples = (min(end, content_s) - max(begin, 0.0)) / max(end - begin, 1e-3)
    # A first word that is only clipped at its onset is still expected.
    return audible_samples > 0.65 or (audible_samples > 0 and begin < 0.1 and utterance_start > -0.125)


def _phoneme_positions(placed: list[Placed], content_s: float, length_s: float) -> np.ndarray:
    positions = np.zeros(int(length_s * TICKS_PER_SECOND), np.int64)
    for spoken in placed:
        starts = [*(spoken.start + float(t) for t in spoken.utterance.phoneme_starts), spoken.end]
        ticks = [max(0, round(t * TICKS_PER_SECOND)) for t in starts]
        for phoneme, begin, end in zip(spoken.utterance.phonemes, ticks, ticks[1:], strict=False):
            positions[begin:end] = phoneme
    positions[int(np.ceil(content_s * TICKS_PER_SECOND)) :] = 0
    return positions
