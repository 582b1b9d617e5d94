"""One window of the model after the other: where each ends decides where the next begins."""

from collections.abc import Iterator

from faster_whisper import WhisperModel
from faster_whisper.transcribe import Segment

from smelt.processor.speech.raw_segment import RawSegment, heard_from, word_from, words_of
from smelt.processor.speech.vad import SpeechAudio


def listen(
    model: WhisperModel, voice: SpeechAudio, language: str, *, seek: int, beam_size: int, word_times: bool
) -> Iterator[RawSegment]:
    """Transcribe the speech of a span from the window at `seek` on; the same windows give the same text.

    The features are there when this returns; the model begins with the first segment that is asked for.
    """
    if not len(voice.samples):
        return iter(())
    segments, _ = model.transcribe(
        voice.samples,
        language=language,
        beam_size=beam_size,
        word_timestamps=word_times,
        vad_filter=False,
        clip_timestamps=[seek / model.frames_per_second],
        # Both would make a window depend on more than its own audio. CTranslate2 seeds its sampling once for each
        # thread, so that a sampled window can't be repeated; and a window that follows earlier text repeats its errors.
        temperature=0.0,
        condition_on_previous_text=False,
    )
    return (_heard(segment, voice, model) for segment in segments)


def _heard(segment: Segment, voice: SpeechAudio, model: WhisperModel) -> RawSegment:
    found = words_of(segment, model)
    start = voice.span_time(found[0].start if found else segment.start)
    end = voice.span_time(segment.end, is_end=True)
    words = None if found is None else [word_from(word, *voice.span_times(word.start, word.end)) for word in found]
    return heard_from(segment, seek=segment.seek, start=start, end=end, words=words)
