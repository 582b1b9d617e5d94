"""Transcripts keep their words and times in every format."""

import json

import pytest

from smelt.contract.state import FileSegment, FileState, Trust
from smelt.contract.vocabulary import TranscriptFormat
from smelt.transcripts.captions import CaptionLayout, caption_cues
from smelt.transcripts.formats import format_transcript, span, to_json, to_srt, to_txt, to_vtt
from tests.unit.transcripts.transcript_samples import FILE as UNKNOWN
from tests.unit.transcripts.transcript_samples import segment, word

TRUST = Trust(silence_seconds=3.5, low_confidence_segments=(1,), repeated_segments=(), model="small")
FILE = UNKNOWN.model_copy(update={"language": "de", "trust": TRUST})
SHORT = CaptionLayout(line_chars=8, lines=2)


SEGMENTS = (
    segment(0.0, 2.5, " good morning anna."),
    segment(2.4, 3661.0049, " the report's late.", index=1),
)
SEGMENT_WITH_WORDS = segment(
    10,
    20,
    "one two six ten",
    (word(" one", 10, 11), word(" two", 11.5, 12), word(" six", 12.5, 13), word(" ten", 13, 14)),
)


def with_trust(file: FileState = FILE, **trust: object) -> FileState:
    """Return the file with more values of its trust."""
    assert file.trust is not None
    return file.model_copy(update={"trust": file.trust.model_copy(update=trust)})


def test_txt_has_one_segment_per_line() -> None:
    assert to_txt(SEGMENTS, FILE) == "good morning anna.\nthe report's late.\n"


def test_txt_marks_untranscribed_and_damaged_stretches_at_their_place() -> None:
    file = with_trust(untranscribed=((28.2, 53.5), (3700, 3701.5), (90, 90.9)), damaged=((10, 14),))
    later = segment(60, 61, " and on.", index=2)
    assert format_transcript("txt", (SEGMENTS[0], later), file) == (
        "good morning anna.\n"
        "[recording damaged, 0:10 to 0:14]\n"
        "[speech not transcribed, 0:28 to 0:54]\n"
        "and on.\n"
        "[speech not transcribed, 1:01:40 to 1:01:42]\n"
    )


def test_srt_numbers_its_cues_and_never_overlaps_them() -> None:
    assert to_srt((SEGMENTS[0], segment(2.4, 3604.0049, " the report's late.", index=1)), FILE) == (
        "1\n00:00:00,000 --> 00:00:02,400\ngood morning anna.\n\n2\n00:00:02,400 --> 00:00:09,400\nthe report's late.\n"
    )
    assert to_srt([segment(3661.0049, 3663, "late.")], FILE).startswith("1\n01:01:01,005 --> 01:01:03,000\n")


def test_vtt_starts_with_its_header() -> None:
    assert to_vtt(SEGMENTS[:1], FILE) == "WEBVTT\n\n00:00:00.000 --> 00:00:02.500\ngood morning anna.\n"


@pytest.mark.parametrize("form", ["srt", "vtt"])
def test_captions_mark_untranscribed_and_damaged_stretches(form: TranscriptFormat) -> None:
    file = with_trust(untranscribed=((28, 54),), damaged=((5, 6.5),))
    captions = format_transcript(form, SEGMENTS[:1], file).replace(",", ".")
    assert "00:00:05.000 --> 00:00:06.500\n[recording damaged]\n" in captions
    assert "00:00:28.000 --> 00:00:54.000\n[speech not transcribed]\n" in captions


@pytest.mark.parametrize(
    ("stretch", "text"),
    [((0, 9.5), "0:00 to 0:10"), ((59.9, 60), "0:59 to 1:00"), ((3599.5, 3599.6), "59:59 to 1:00:00")],
)
def test_span_contains_the_whole_stretch(stretch: tuple[float, float], text: str) -> None:
    assert span(*stretch) == text


def test_json_transcript_has_file_text_and_times() -> None:
    parsed = json.loads(format_transcript("json", SEGMENTS, FILE))
    assert parsed["text"] == "good morning anna. the report's late."
    assert parsed["segments"][0] == {"index": 0, "start": 0.0, "end": 2.5, "text": " good morning anna."}
    assert Trust.model_validate(parsed["trust"]) == FILE.trust
    assert (parsed["filename"], parsed["language"]) == ("a.mp3", "de")


def test_json_transcript_includes_the_words_of_a_segment() -> None:
    plain, spoken = json.loads(format_transcript("json", (SEGMENTS[0], SEGMENT_WITH_WORDS), FILE))["segments"]
    assert "words" not in plain
    assert spoken["words"][1] == {"word": " two", "start": 11.5, "end": 12, "probability": 0.9}


def test_captions_escape_tags() -> None:
    assert "1 &lt;b&gt; 2 &amp;lt; 3" in to_vtt([segment(0, 1, "1 <b> 2 &lt; 3")], FILE)


def test_captions_follow_the_layout_of_the_call() -> None:
    for form in ("srt", "vtt"):
        assert "one two\nsix ten" in format_transcript(form, [segment(0, 3, "one two six ten")], FILE, SHORT)


def spoken(start: float, end: float, text: str, speaker: str | None, index: int = 0) -> FileSegment:
    return segment(start, end, text, index=index).model_copy(update={"speaker": speaker})


DIALOG = (
    spoken(0, 2, "Good morning.", "Speaker 1"),
    spoken(2, 3, "Good morning, Anna.", "Speaker 2", 1),
    spoken(3, 4, "How are you?", "Speaker 2", 2),
    spoken(4, 6, "Fine, thank you.", "Speaker 1", 3),
)


def test_txt_names_the_speaker_where_it_changes() -> None:
    assert to_txt(DIALOG, FILE) == (
        "Speaker 1: Good morning.\nSpeaker 2: Good morning, Anna.\nHow are you?\nSpeaker 1: Fine, thank you.\n"
    )


def test_srt_names_the_speaker_where_it_changes_and_mixes_no_two_speakers() -> None:
    texts = [block.split("\n", 2)[2].strip() for block in to_srt(DIALOG, FILE).split("\n\n")]
    assert texts == [
        "Speaker 1: Good morning.",
        "Speaker 2: Good morning, Anna.\nHow are you?",
        "Speaker 1: Fine, thank you.",
    ]


def test_vtt_has_a_voice_tag_in_each_cue() -> None:
    captions = to_vtt((*DIALOG[:2], spoken(10, 11, "x < y", "A & B", 2)), FILE)
    assert "\n<v Speaker 1>Good morning.\n" in captions
    assert "\n<v Speaker 2>Good morning, Anna.\n" in captions
    assert "\n<v A &amp; B>x &lt; y\n" in captions
    assert "Speaker 1:" not in captions


def test_json_transcript_has_the_speaker_of_a_segment_if_it_is_known() -> None:
    first, second = json.loads(to_json((DIALOG[0], SEGMENTS[1]), FILE))["segments"]
    assert first["speaker"] == "Speaker 1"
    assert "speaker" not in second


def test_captions_of_two_speakers_at_once_can_both_be_read() -> None:
    long = "I was about to explain the whole plan to you when you interrupted me."
    both = (spoken(0, 8, long, "Speaker 1"), spoken(0.5, 1, "Yes.", "Speaker 2", 1))
    first, second, third = caption_cues([*both, spoken(9, 10, "Go on, please.", "Speaker 1", 2)], FILE, CaptionLayout())
    assert first.end - first.start >= 3
    assert first.end <= second.start < second.end <= third.start
    assert [cue.speaker for cue in (first, second, third)] == ["Speaker 1", "Speaker 2", "Speaker 1"]


@pytest.mark.parametrize("line_chars", [8, 20, 42])
def test_captions_with_labels_keep_all_words_in_every_layout(line_chars: int) -> None:
    layout = CaptionLayout(line_chars=line_chars, lines=1)
    texts = [" ".join(cue.lines) for cue in caption_cues(DIALOG, FILE, layout, has_labels=True)]
    assert " ".join(texts) == to_txt(DIALOG, FILE).replace("\n", " ").strip()
