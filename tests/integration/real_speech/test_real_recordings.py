"""Recordings of real speech are transcribed by a worker completely, at their times and in their languages."""

from itertools import pairwise
from pathlib import Path

import pytest
from known_texts import known_text
from words_scoring import align, without_loops, words_of

from tests.integration.real_speech.real_transcripts import RECORDINGS, Transcript

pytestmark = [pytest.mark.real_speech, pytest.mark.timeout(900)]

# The most wrong words: those of the model at its best, and some more. A gap splits a sentence, which costs a few words.
MAX_ERRORS = {
    "jfk.flac": 3,
    "dtx_gap.ogg": 12,
    "dtx_gap.webm": 12,
    "screencast_audio_ends_early.webm": 9,
    "late_audio.mkv": 9,
    "obs_two_tracks.mkv": 9,
    "zeros_0.2s.aac": 16,
    "vbr_noxing_info_tag.mp3": 16,
    "call_phase_inverted.flac": 16,
    "multilingual.mp3": 16,
}
MAX_LINE_CHARS = 42
MIN_CUE_S, MAX_CUE_S = 0.8, 7.0


@pytest.mark.parametrize("name", RECORDINGS)
def test_no_intact_recording_is_rejected(transcripts: dict[str, Transcript], name: str) -> None:
    assert transcripts[name].file.error_code is None
    assert transcripts[name].file.status == "completed"


@pytest.mark.parametrize("name", MAX_ERRORS)
def test_words_match_the_known_text(transcripts: dict[str, Transcript], real_speech: Path, name: str) -> None:
    known = known_text(real_speech / name)
    assert known is not None
    alignment = align(words_of(known), words_of(transcripts[name].text))

    assert alignment.errors <= MAX_ERRORS[name], transcripts[name].text
    assert alignment.missing_run <= 4, transcripts[name].text


def test_meeting_is_transcribed_without_a_loop(transcripts: dict[str, Transcript]) -> None:
    words, loops = without_loops(words_of(transcripts["meeting_ami_tst00.flac"].text))

    assert loops == 0
    assert len(words) >= 50
    assert {"meetings", "talk", "everyone", "doing"} <= set(words)


def test_late_audio_starts_at_its_time_in_the_recording(transcripts: dict[str, Transcript]) -> None:
    late = transcripts["late_audio.mkv"]

    assert late.segments[0].start == pytest.approx(15.0, abs=1.0)
    assert late.cues[0].start == pytest.approx(15.0, abs=1.0)


@pytest.mark.parametrize("name", ["dtx_gap.ogg", "dtx_gap.webm"])
def test_times_include_a_pause_without_packets(transcripts: dict[str, Transcript], name: str) -> None:
    assert transcripts[name].file.duration_seconds == pytest.approx(35.0, abs=0.5)
    assert transcripts[name].segments[-1].end == pytest.approx(35.0, abs=1.0)


def test_sentence_after_noise_starts_at_its_own_time(transcripts: dict[str, Transcript]) -> None:
    [sentence] = [s for s in transcripts["noise_between.flac"].segments if "I lay for a long while" in s.text]

    assert sentence.start == pytest.approx(101.2, abs=1.0)


def test_track_with_the_voice_is_transcribed(transcripts: dict[str, Transcript]) -> None:
    trust = transcripts["obs_two_tracks.mkv"].file.trust
    assert trust is not None

    assert (trust.track, trust.track_count) == (2, 2)


def test_channel_is_transcribed_alone_if_the_mix_is_silent(transcripts: dict[str, Transcript]) -> None:
    trust = transcripts["call_phase_inverted.flac"].file.trust
    assert trust is not None

    assert trust.channel in (1, 2)


def test_each_language_is_transcribed_in_its_own_and_reported(transcripts: dict[str, Transcript]) -> None:
    license_text = transcripts["multilingual.mp3"]
    spoken = " ".join(words_of(license_text.text))

    assert "free of charge to any person" in spoken
    assert " ".join(words_of("die Genehmigung erteilt, mit der Software")) in spoken
    assert license_text.languages == {"en", "de"}


def test_second_language_is_neither_translated_nor_omitted(
    transcripts: dict[str, Transcript], real_speech: Path
) -> None:
    german = (known_text(real_speech / "de.flac") or "").partition("Fuchshaim,")[2]
    english = (known_text(real_speech / "en.flac") or "").partition("Thou that art")[0]
    found = transcripts["german_then_english.wav"]
    alignment = align(words_of(german + english), words_of(found.text))

    assert alignment.errors <= 35, found.text
    assert alignment.missing_run <= 8, found.text
    assert found.languages == {"de", "en"}


def test_captions_of_readers_are_readable(transcripts: dict[str, Transcript]) -> None:
    cues = transcripts["readers.wav"].cues

    assert len(cues) >= 10
    for cue in cues:
        assert MIN_CUE_S <= round(cue.end - cue.start, 3) <= MAX_CUE_S, cue
        assert 1 <= len(cue.rows) <= 2, cue
        assert max(map(len, cue.rows)) <= MAX_LINE_CHARS, cue
    assert sum(len(" ".join(cue.rows).split()) == 1 for cue in cues) <= len(cues) / 20, cues
    assert all(before.end <= after.start for before, after in pairwise(cues))
