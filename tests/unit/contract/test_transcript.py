"""Transcripts keep their words and times in every format."""

import html
import json
import re
from uuid import UUID

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from smelt.contract.state import FileSegment, FileState, Trust, Word
from smelt.contract.transcript import CaptionLayout, TranscriptFormat, format_transcript, to_srt, to_txt, to_vtt

FILE = FileState(
    id=UUID(int=1),
    filename="a.mp3",
    position=0,
    input_type="audio",
    size_bytes=5,
    status="completed",
    stage="completed",
    progress=100,
    language="de",
    trust=Trust(silence_seconds=3.5, low_confidence_segments=(1,), repeated_segments=(), model="small"),
)
SHORT = CaptionLayout(line_chars=8, lines=2)


def segment(start: float, end: float, text: str, words: tuple[Word, ...] | None = None, index: int = 0) -> FileSegment:
    return FileSegment(file_id=FILE.id, index=index, start=start, end=end, text=text, words=words)


def word(text: str, start: float, end: float) -> Word:
    return Word(word=text, start=start, end=end, probability=0.9)


SEGMENTS = (
    segment(0.0, 2.5, " good morning anna."),
    segment(2.4, 3661.0049, " the report is late.", index=1),
)
SEGMENT_WITH_WORDS = segment(
    10,
    20,
    "one two six ten",
    (word(" one", 10, 11), word(" two", 11.5, 12), word(" six", 15, 16), word(" ten", 18, 19)),
)


def test_txt_has_one_segment_per_line() -> None:
    assert to_txt(SEGMENTS) == "good morning anna.\nthe report is late.\n"


def test_srt_numbers_its_cues_and_never_overlaps_them() -> None:
    assert to_srt(SEGMENTS) == (
        "1\n00:00:00,000 --> 00:00:02,400\ngood morning anna.\n\n"
        "2\n00:00:02,400 --> 01:01:01,005\nthe report is late.\n"
    )


def test_vtt_starts_with_its_header() -> None:
    assert to_vtt(SEGMENTS[:1]) == "WEBVTT\n\n00:00:00.000 --> 00:00:02.500\ngood morning anna.\n"


def test_json_transcript_has_file_text_and_times() -> None:
    parsed = json.loads(format_transcript(TranscriptFormat.JSON, SEGMENTS, FILE))
    assert parsed["text"] == "good morning anna. the report is late."
    assert parsed["segments"][0] == {"index": 0, "start": 0.0, "end": 2.5, "text": " good morning anna."}
    assert Trust.model_validate(parsed["trust"]) == FILE.trust
    assert (parsed["filename"], parsed["language"]) == ("a.mp3", "de")


def test_json_transcript_includes_the_words_of_a_segment() -> None:
    plain, spoken = json.loads(format_transcript(TranscriptFormat.JSON, (SEGMENTS[0], SEGMENT_WITH_WORDS), FILE))[
        "segments"
    ]
    assert "words" not in plain
    assert spoken["words"][1] == {"word": " two", "start": 11.5, "end": 12, "probability": 0.9}


@pytest.mark.parametrize("form", [TranscriptFormat.SRT, TranscriptFormat.VTT])
def test_captions_follow_the_layout(form: TranscriptFormat) -> None:
    assert "one two\nsix ten" in format_transcript(form, [SEGMENT_WITH_WORDS], FILE, SHORT)
    assert "one two six ten" in format_transcript(form, [SEGMENT_WITH_WORDS], FILE)


def test_captions_split_a_long_segment_into_cues_by_its_time() -> None:
    assert to_vtt([segment(10, 16, "one two six ten " * 3)], SHORT) == (
        "WEBVTT\n"
        "\n00:00:10.000 --> 00:00:12.000\none two\nsix ten\n"
        "\n00:00:12.000 --> 00:00:14.000\none two\nsix ten\n"
        "\n00:00:14.000 --> 00:00:16.000\none two\nsix ten\n"
    )


def test_caption_cues_start_and_end_with_their_words() -> None:
    assert to_vtt([SEGMENT_WITH_WORDS], CaptionLayout(line_chars=8, lines=1)) == (
        "WEBVTT\n"
        "\n00:00:10.000 --> 00:00:12.000\none two\n"
        "\n00:00:15.000 --> 00:00:19.000\nsix ten\n"
    )  # fmt: skip


def test_captions_of_a_language_without_spaces_use_word_times() -> None:
    spoken = segment(0, 9, "今日は良い天気です", (word("今日は", 0, 1), word("良い", 4, 6), word("天気です", 6, 8)))
    assert to_vtt([spoken], CaptionLayout(line_chars=4, lines=1)) == (
        "WEBVTT\n"
        "\n00:00:00.000 --> 00:00:05.000\n今日は良\n"
        "\n00:00:05.000 --> 00:00:07.500\nい天気で\n"
        "\n00:00:07.500 --> 00:00:08.000\nす\n"
    )


def test_captions_escape_tags() -> None:
    assert "1 &lt;b&gt; 2 &amp;lt; 3" in to_vtt([segment(0, 1, "1 <b> 2 &lt; 3")])


def test_captions_ignore_words_that_differ_from_the_text() -> None:
    other = SEGMENT_WITH_WORDS.model_copy(update={"text": "one two six nine"})
    assert to_vtt([other]) == to_vtt([other.model_copy(update={"words": None})])


def test_captions_delay_a_segment_that_starts_out_of_order() -> None:
    assert clocks(to_vtt([segment(10, 12, "one"), segment(9, 15, "two", index=1)])) == [
        ("00:00:10.000", "00:00:12.000"),
        ("00:00:12.000", "00:00:15.000"),
    ]


times = st.floats(0, 100_000)
texts = st.text(st.one_of(st.characters(), st.sampled_from(" <>-&\n")), max_size=60)


@st.composite
def transcribed_segments(draw: st.DrawFn) -> list[FileSegment]:
    """Draw segments as a model may return them: with words at any time, which may differ from the text."""
    segments = []
    for index, start in enumerate(sorted(draw(st.lists(times, max_size=5)))):
        spoken = draw(st.lists(st.builds(word, texts, times, times), max_size=8))
        text = draw(texts) if not spoken or draw(st.booleans()) else "".join(one.word for one in spoken)
        end = draw(st.floats(start, 100_000))
        segments.append(segment(start, end, text, tuple(spoken) or None, index))
    return segments


@example([], 42, 2)
@given(transcribed_segments(), st.integers(8, 50), st.integers(1, 3))
def test_captions_contain_all_text_in_the_layout_without_overlap(
    segments: list[FileSegment], line_chars: int, lines: int
) -> None:
    captions = to_vtt(segments, CaptionLayout(line_chars=line_chars, lines=lines))
    cues = [cue.strip("\n").split("\n") for cue in captions.removeprefix("WEBVTT\n").split("\n\n") if cue.strip("\n")]
    shown = [html.unescape(line) for _, *of_cue in cues for line in of_cue]
    assert captions.count("-->") == len(cues)
    assert all(1 <= len(of_cue) <= lines for _, *of_cue in cues)
    assert all(len(line) <= line_chars for line in shown)
    assert letters(shown) == letters([one.text.replace("-->", "→") for one in segments])
    shown_at = [clock for of_cue in clocks(captions) for clock in of_cue]
    assert len(shown_at) == 2 * len(cues)
    assert shown_at == sorted(shown_at)


@given(transcribed_segments(), st.integers(8, 50))
def test_caption_cues_do_not_exceed_their_segment(segments: list[FileSegment], line_chars: int) -> None:
    for one in segments:
        [(earliest, latest)] = clocks(to_srt([segment(one.start, one.end, "x")]))
        cues = clocks(to_srt([one], CaptionLayout(line_chars=line_chars, lines=1)))
        assert all(earliest <= start <= end <= latest for start, end in cues)


def clocks(captions: str) -> list[tuple[str, str]]:
    """Return the start and end of each cue."""
    return re.findall(r"^([0-9:,.]{12}) --> ([0-9:,.]{12})$", captions, re.MULTILINE)


def letters(lines: list[str]) -> str:
    return "".join("".join(lines).split())
