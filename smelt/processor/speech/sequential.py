"""Sequential transcription: the end of each window decides the start of the next one."""

from collections.abc import Iterator

from faster_whisper import WhisperModel
from faster_whisper.transcribe import Segment

from smelt.processor.speech.raw_segment import RawSegment, raw_segment_from, word_from, words_of
from smelt.processor.speech.vad import SpeechAudio


def transcribe(
    model: WhisperModel, speech: SpeechAudio, language: str, *, seek: int, beam_size: int, word_times: bool
) -> Iterator[RawSegment]:
    """Transcribe the speech of a span from the window at `seek`; the same window always gives the same text.

    Features are computed before this returns; the model starts with the first segment that is requested.
    """
    if not len(speech.samples):
        return iter(())
    segments, _ = model.transcribe(
        speech.samples,
        language=language,
        beam_size=beam_size,
        word_timestamps=word_times,
        vad_filter=False,
        clip_timestamps=[seek / model.frames_per_second],
        # Other values would make a window depend on more than its own audio: CTranslate2 seeds its sampling once per
        # thread, so a sampled window can't be reproduced; and conditioning on earlier text repeats its errors.
        temperature=0.0,
        condition_on_previous_text=False,
    )
    return (_raw_segment(segment, speech, model) for segment in segments)


def _raw_segment(segment: Segment, speech: SpeechAudio, model: WhisperModel) -> RawSegment:
    timed = words_of(segment, model)
    start = speech.span_time(timed[0].start if timed else segment.start)
    end = speech.span_time(segment.end, is_end=True)
    words = None if timed is None else [word_from(word, *speech.span_times(word.start, word.end)) for word in timed]
    return raw_segment_from(segment, seek=segment.seek, start=start, end=end, words=words)
