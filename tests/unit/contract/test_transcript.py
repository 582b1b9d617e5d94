"""A transcript keeps its words and times in every format."""

import itertools
import json
import re
from uuid import uuid4

from hypothesis import given
from hypothesis import strategies as st

from smelt.contract.events import Segment
from smelt.contract.state import FileState, Trust
from smelt.contract.transcript import CaptionLayout, to_json, to_srt, to_txt, to_vtt

SEGMENTS = (
    Segment(index=0, start=0.0, end=2.5, text=" good morning anna."),
    Segment(index=1, start=2.4, end=3661.0049, text=" the report is late."),
)


def test_text_has_one_segment_a_line() -> None:
    assert to_txt(SEGMENTS) == "good morning anna.\nthe report is late.\n"


def test_srt_numbers_its_cues_and_never_overlaps_them() -> None:
    assert to_srt(SEGMENTS) == (
        "1\n00:00:00,000 --> 00:00:02,400\ngood morning anna.\n\n"
        "2\n00:00:02,400 --> 01:01:01,005\nthe report is late.\n"
    )


def test_vtt_starts_with_its_header() -> None:
    assert to_vtt(SEGMENTS[:1]) == "WEBVTT\n\n00:00:00.000 --> 00:00:02.500\ngood morning anna.\n"


def test_json_has_the_text_and_the_times() -> None:
    parsed = json.loads(to_json(SEGMENTS))
    assert parsed["text"] == "good morning anna. the report is late."
    assert parsed["segments"][0] == {"index": 0, "start": 0.0, "end": 2.5, "text": " good morning anna."}


def test_json_of_a_file_tells_how_far_to_trust_it() -> None:
    trust = Trust(silence_seconds=3.5, low_confidence_segments=(1,), repeated_segments=(), model="small")
    file = FileState.model_validate(
        {
            "id": uuid4(),
            "filename": "a.mp3",
            "position": 0,
            "input_type": "audio",
            "size_bytes": 5,
            "status": "completed",
            "stage": "completed",
            "progress": 100,
            "language": "de",
            "trust": trust,
        }
    )
    parsed = json.loads(to_json(SEGMENTS, file))
    assert Trust.model_validate(parsed["trust"]) == trust
    assert (parsed["filename"], parsed["language"]) == ("a.mp3", "de")


@given(st.lists(st.floats(0, 100_000), min_size=2, max_size=20))
def test_no_cue_ends_before_it_starts_or_after_the_next_one(times: list[float]) -> None:
    segments = [
        Segment(index=i, start=start, end=end + 1, text="so be it")
        for i, (start, end) in enumerate(itertools.pairwise(sorted(times)))
    ]
    clocks = re.findall(r"[0-9:.]{12,}", to_vtt(segments))
    assert len(clocks) == 2 * len(segments)
    assert clocks == sorted(clocks)


def test_a_long_segment_is_shown_in_several_cues_for_their_share_of_its_time() -> None:
    segment = Segment(index=0, start=10, end=16, text="one two six ten " * 3)
    assert to_vtt([segment], CaptionLayout(line_chars=8, lines=2)) == (
        "WEBVTT\n"
        "\n00:00:10.000 --> 00:00:12.000\none two\nsix ten\n"
        "\n00:00:12.000 --> 00:00:14.000\none two\nsix ten\n"
        "\n00:00:14.000 --> 00:00:16.000\none two\nsix ten\n"
    )


@given(st.text(max_size=300), st.integers(8, 50), st.integers(1, 3))
def test_every_cue_fits_its_layout_and_no_text_passes_for_a_cue_line(text: str, line_chars: int, lines: int) -> None:
    layout = CaptionLayout(line_chars=line_chars, lines=lines)
    captions = to_vtt([Segment(index=0, start=0, end=60, text=text)], layout)
    cues = [cue.split("\n") for cue in captions.removeprefix("WEBVTT\n").split("\n\n") if cue.strip("\n")]
    shown = [line for cue in cues for line in "\n".join(cue).strip("\n").split("\n")[1:]]
    assert captions.count("-->") == len(cues)
    assert all(len(line) <= line_chars for line in shown)
    assert len(shown) <= lines * len(cues)
    assert "".join("".join(shown).split()) == "".join(text.replace("-->", "→").split())
    clocks = re.findall(r"[0-9:.]{12,}(?= -->|$)", captions, re.MULTILINE)
    assert clocks == sorted(clocks)
