"""Captions can be read: cues are divided evenly, last 0.8 to 7 s, and keep all words in order."""

import textwrap
import unicodedata
from collections.abc import Sequence
from itertools import accumulate, pairwise, zip_longest

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from smelt.contract.state import FileSegment, FileState, Trust
from smelt.transcripts.caption_tokens import Mark, marks_of
from smelt.transcripts.captions import CaptionLayout, Cue, caption_cues
from tests.unit.transcripts.transcript_samples import FILE, segment, word

DEFAULT = CaptionLayout()
ONE_LINE = CaptionLayout(line_chars=8, lines=1)
TOLERANCE_S = 1e-6


def timed(*words: tuple[str, float, float]) -> FileSegment:
    """Return a segment with word times."""
    text = "".join(f" {text}" for text, _, _ in words)
    return segment(words[0][1], words[-1][2], text, [word(f" {text}", start, end) for text, start, end in words])


def file_with(duration_s: float | None = None, **stretches: tuple[tuple[float, float], ...]) -> FileState:
    """Return the file with a trust that has stretches."""
    trust = Trust(silence_seconds=0, low_confidence_segments=(), repeated_segments=()).model_copy(update=stretches)
    return FILE.model_copy(update={"trust": trust, "duration_seconds": duration_s})


def cues(
    segments: Sequence[FileSegment], layout: CaptionLayout = DEFAULT, file: FileState = FILE
) -> list[tuple[float, float, str]]:
    """Return start, end and text of each cue; times in milliseconds."""
    return [
        (round(cue.start, 3), round(cue.end, 3), "\n".join(cue.lines)) for cue in caption_cues(segments, file, layout)
    ]


def text_of(cue: Cue) -> str:
    return " ".join(cue.lines)


# Division


def test_cue_division_of_a_slightly_too_long_segment_is_even() -> None:
    text = "He said that he had never seen so many birds in one place before he came to the island."
    first, second = caption_cues([segment(0, 6, text)], FILE, DEFAULT)
    assert len(text) > 84
    assert abs(len(text_of(first)) - len(text_of(second))) <= 10
    assert first.end == second.start


@pytest.mark.parametrize("word_count", range(2, 80))
def test_cue_division_of_equal_words_is_even_and_has_no_single_word(word_count: int) -> None:
    lengths = [
        len(text_of(cue).split())
        for cue in caption_cues([segment(0, word_count * 0.2, "words " * word_count)], FILE, DEFAULT)
    ]
    assert sum(lengths) == word_count
    assert max(lengths) - min(lengths) <= 2
    assert min(lengths) >= 2


def test_cue_division_prefers_punctuation_near_the_middle() -> None:
    text = "When the meeting was over at last, everyone went home to get some rest before the morning train."
    assert [text_of(cue) for cue in caption_cues([segment(0, 6, text)], FILE, DEFAULT)] == [
        "When the meeting was over at last,",
        "everyone went home to get some rest before the morning train.",
    ]


def test_cue_division_prefers_the_end_of_a_sentence_but_not_an_abbreviation() -> None:
    text = "We have seen him at the market this morning. I think he asked for the famous Mrs. Rachel Lynde again."
    assert [text_of(cue) for cue in caption_cues([segment(0, 6, text)], FILE, DEFAULT)] == [
        "We have seen him at the market this morning.",
        "I think he asked for the famous Mrs. Rachel Lynde again.",
    ]
    unmarked = "We went to visit the good old Mr. Thornton and the other people of the little town again"
    first, _ = caption_cues([segment(0, 6, unmarked)], FILE, DEFAULT)
    assert not text_of(first).endswith("Mr.")


def test_cue_division_of_a_quoted_sentence_is_after_the_quotation_mark() -> None:
    text = 'She asked us: "Have you been to the market at last?" Nobody in the whole house had an idea.'
    assert text_of(caption_cues([segment(0, 6, text)], FILE, DEFAULT)[0]).endswith('last?"')


def test_cue_lines_are_of_about_the_same_length() -> None:
    [(_, _, text)] = cues([segment(0, 4, "words that together need more than one single line")])
    assert [len(line) for line in text.split("\n")] == [24, 25]


def test_cue_division_keeps_the_segments_of_the_model() -> None:
    texts = ["This is a segment of usual length.", "And so is the one that follows it."]
    spoken = [segment(n * 3, n * 3 + 3, text, index=n) for n, text in enumerate(texts)]
    assert [text_of(cue) for cue in caption_cues(spoken, FILE, DEFAULT)] == texts


def test_cue_merges_short_neighboring_segments() -> None:
    spoken = [segment(0, 1, "Yes."), segment(1.5, 2, "Okay.", index=1), segment(2, 4, "So what is next?", index=2)]
    assert cues(spoken) == [(0, 4, "Yes. Okay. So what is next?")]


def test_cue_of_a_single_word_remains_between_silence() -> None:
    spoken = [segment(0, 2, "So that is it."), segment(3, 3.5, "Okay.", index=1), segment(4.5, 6, "And on.", index=2)]
    assert [text for _, _, text in cues(spoken)] == ["So that is it.", "Okay.", "And on."]


def test_cue_ends_at_a_pause_of_a_second() -> None:
    spoken = timed(("one", 10, 11), ("two", 11.5, 12), ("six", 15, 16), ("ten", 16.9, 19))
    assert cues([spoken]) == [(10, 12, "one two"), (15, 19, "six ten")]


def test_cue_that_is_too_long_is_divided_at_its_longest_pause() -> None:
    spoken = timed(
        ("one", 0, 1.5), ("two", 1.5, 3), ("three", 3.2, 4.5), ("four", 5.3, 6), ("five", 6.2, 7.5), ("six", 7.5, 8)
    )
    assert cues([spoken]) == [(0, 4.5, "one two three"), (5.3, 8, "four five six")]


def test_cue_without_word_times_is_divided_if_it_is_too_long() -> None:
    assert cues([segment(0, 12, "one two three four five six")]) == [
        (0, 6, "one two three"),
        (6, 12, "four five six"),
    ]


@pytest.mark.parametrize("text", ["Okay.", "Okay then.", "Okay then, bye."])
def test_cue_of_few_words_ends_after_7_seconds(text: str) -> None:
    assert cues([segment(3, 60, text)]) == [(3, 10, text)]


def test_cue_times_assume_that_a_very_long_segment_is_spoken_at_its_start() -> None:
    assert cues([segment(0, 3600, "four words every day.")]) == [(0, 7, "four words"), (7, 14, "every day.")]


def test_cue_division_of_slow_words_avoids_cues_that_are_too_long() -> None:
    spoken = timed(("one", 0, 3), ("two", 3, 6), ("three", 6, 8), ("four", 8, 9), ("five", 9, 10))
    assert cues([spoken]) == [(0, 6, "one two"), (6, 10, "three four five")]
    spoken = timed(("one", 0, 1), ("two", 1, 2), ("three", 2, 2.1), ("four", 2.1, 9))
    assert cues([spoken]) == [(0, 2, "one two"), (2, 9, "three four")]
    spoken = timed(("one", 0, 0.2), ("two", 0.2, 0.4), ("three", 0.4, 0.6), ("four", 0.6, 9))
    assert cues([spoken]) == [(0, 0.4, "one two"), (0.4, 7.4, "three four")]


def test_cue_of_few_slow_words_with_times_ends_after_7_seconds() -> None:
    assert cues([timed(("one", 0, 5), ("two", 5, 9))]) == [(0, 7, "one two")]


# Times


def test_cue_that_is_too_short_is_extended_into_the_silence_after_it() -> None:
    spoken = [segment(5, 5.3, "Oh no."), segment(9, 10, "It is late.", index=1)]
    assert cues(spoken)[0] == (5, 5.8, "Oh no.")


def test_cue_that_is_too_short_is_extended_into_the_silence_before_it() -> None:
    full = "It is quite a long sentence that will fill the upper and the lower line of a caption."
    assert cues([segment(5, 5.5, "Oh no."), segment(5.5, 9, full, index=1)])[0] == (4.7, 5.5, "Oh no.")


def test_cue_that_is_too_short_is_merged_with_its_neighbor_or_stays() -> None:
    assert cues([segment(0, 0.3, "Oh no."), segment(0.3, 3, "It is late.", index=1)]) == [(0, 3, "Oh no. It is late.")]
    assert cues([segment(0, 0.3, "Oh my no"), segment(0.3, 3, "it is", index=1)], ONE_LINE) == [
        (0, 0.3, "Oh my no"),
        (0.3, 3, "it is"),
    ]


def test_cues_that_need_the_same_silence_are_merged() -> None:
    texts = ("Here is a text of some more length.", "Here is another text of that length.")
    full = "It is quite a long sentence that will fill the upper and the lower line of a caption."
    spoken = [segment(0, 0.3, texts[0]), segment(0.9, 1.2, texts[1], index=1), segment(1.2, 6, full, index=2)]
    assert cues(spoken)[0] == (0, 1.2, f"{texts[0]}\n{texts[1]}")


def test_cue_is_not_extended_beyond_the_recording() -> None:
    assert cues([segment(5, 5.3, "Oh no.")], file=file_with(duration_s=5.5)) == [(4.7, 5.5, "Oh no.")]


def test_cue_starts_and_ends_with_its_words() -> None:
    spoken = timed(("one", 10, 11), ("two", 11.5, 12), ("six", 15, 16), ("ten", 16, 19))
    longer = spoken.model_copy(update={"start": 8, "end": 21})
    assert cues([longer], ONE_LINE) == [(10, 12, "one two"), (15, 19, "six ten")]


def test_cue_times_ignore_words_that_differ_from_the_text() -> None:
    other = timed(("one", 1, 2), ("two", 2, 3)).model_copy(update={"text": "one nine"})
    assert cues([other]) == cues([other.model_copy(update={"words": None})])


def test_cue_of_a_segment_that_starts_out_of_order_is_delayed() -> None:
    assert cues([segment(10, 12, "one two"), segment(9, 15, "six ten", index=1)], ONE_LINE) == [
        (10, 12, "one two"),
        (12, 15, "six ten"),
    ]


# Text


def test_cue_of_punctuation_alone_is_omitted() -> None:
    spoken = [segment(0, 2, "It is late."), segment(2, 9, " ... -", index=1), segment(9, 11, "So it is.", index=2)]
    assert [text for _, _, text in cues(spoken)] == ["It is late.", "So it is."]
    assert cues([segment(0, 2, "\u200b ."), segment(2, 3, "", index=1)]) == []
    assert [text for _, _, text in cues([segment(0, 2, "eighty-8 -- ")], ONE_LINE)] == ["eighty-8"]


def test_cue_keeps_symbols_and_replaces_arrows() -> None:
    assert [text for _, _, text in cues([segment(0, 2, "♪ 5 --> €")])] == ["♪ 5 → €"]


def test_cue_division_of_a_text_without_spaces_is_at_its_marks() -> None:
    text = "今日は天気がとても良いので、みんなで公園へ行きました。それから店で昼ご飯を食べて、ゆっくり家に帰りました。"
    first, second = caption_cues([segment(0, 10, text)], FILE, CaptionLayout(line_chars=42, lines=1))[:2]
    assert first.lines == ("今日は天気がとても良いので、",)
    assert second.lines == ("みんなで公園へ行きました。",)


def test_cue_division_of_a_text_without_spaces_uses_word_times() -> None:
    spoken = [word("今日は", 0, 1), word("良い", 2, 3), word("天気です", 3, 5)]
    assert cues([segment(0, 9, "今日は良い天気です", spoken)], ONE_LINE) == [
        (0, 1, "今日は"),
        (2, 3.5, "良い天"),
        (3.5, 5, "気です"),
    ]


@pytest.mark.parametrize(
    "text", ["「東京」へ、行って、みた。", "ちょっと待ってってば", "เที่ยวเมืองไทยกันไหม", "スーパーマーケット"]
)
def test_cue_division_of_a_text_without_spaces_keeps_bound_letters_together(text: str) -> None:
    shown = caption_cues([segment(0, 9, text)], FILE, ONE_LINE)
    lines = [line for cue in shown for line in cue.lines]
    assert "".join(lines) == text
    assert len(lines) > 1
    assert all(
        unicodedata.category(line[0]) not in ("Po", "Pe", "Mn", "Lm") and line[0] not in "っょ" for line in lines
    )
    assert all(line[-1] not in "「เไ" for line in lines)


def test_cue_divides_a_word_that_is_longer_than_a_line() -> None:
    assert [text for _, _, text in cues([segment(0, 6, "Donaudampfschiff ahoi")], CaptionLayout(line_chars=8))] == [
        "Donaudam\npfschiff",
        "ahoi",
    ]


# Stretches without a transcript


def test_marks_are_long_stretches_in_order() -> None:
    file = file_with(untranscribed=((28, 54), (3, 3.9)), damaged=((10, 11),))
    assert marks_of(file) == (Mark(10, 11, "recording damaged"), Mark(28, 54, "speech not transcribed"))
    assert marks_of(FILE) == ()


def test_mark_is_a_cue_that_others_do_not_cover() -> None:
    spoken = [segment(8, 10, "It was late."), segment(14, 14.4, "Oh no.", index=1)]
    file = file_with(untranscribed=((10, 14),), damaged=((15, 40),))
    assert cues(spoken, file=file) == [
        (8, 10, "It was late."),
        (10, 14, "[speech not transcribed]"),
        (14, 14.8, "Oh no."),
        (15, 40, "[recording damaged]"),
    ]


def test_mark_inside_a_segment_separates_its_cues() -> None:
    text = "I saw him there and he was gone."
    expected = [(0, 4, "I saw him there"), (4, 6, "[recording damaged]"), (6, 10, "and he was gone.")]
    words = [("I", 0, 1), ("saw", 1, 2), ("him", 2, 3), ("there", 3, 5), ("and", 5, 7), ("he", 7, 8), ("was", 8, 9)]
    for spoken in (segment(0, 10, text), timed(*words, ("gone.", 9, 10))):
        assert cues([spoken], file=file_with(damaged=((4, 6),))) == expected


def test_mark_that_is_covered_by_words_is_shown_in_their_pauses() -> None:
    spoken = timed(("one", 0, 1), ("two", 1, 2), ("six", 5, 6), ("ten", 6, 6.5))
    assert cues([spoken], file=file_with(untranscribed=((1, 9),))) == [
        (0, 2, "one two"),
        (2, 5, "[speech not transcribed]"),
        (5, 6.5, "six ten"),
        (6.5, 9, "[speech not transcribed]"),
    ]
    assert [text for *_, text in cues([segment(3, 4, "a word")], file=file_with(damaged=((2, 5),)))] == [
        "[recording damaged]",
        "a word",
        "[recording damaged]",
    ]


def test_mark_is_shortened_to_a_layout_with_less_room() -> None:
    assert cues([], ONE_LINE, file_with(damaged=((2, 5),))) == [(2, 5, "[...]")]
    assert cues([], CaptionLayout(line_chars=12), file_with(damaged=((2, 5),))) == [(2, 5, "[recording\ndamaged]")]


# Properties


@st.composite
def speech(draw: st.DrawFn) -> list[FileSegment]:
    """Draw segments of realistic speech, with or without word times."""
    has_words = draw(st.booleans())
    texts = st.sampled_from(["I", "we", "go", "then,", "maybe", "tomorrow.", "Yes.", "No!", "understanding", "Mr."])
    pauses = st.one_of(st.just(0.0), st.floats(0, 0.5), st.floats(0.5, 3))
    segments: list[FileSegment] = []
    reached = draw(st.floats(0, 5))
    for index in range(draw(st.integers(1, 6))):
        words = []
        for text in draw(st.lists(texts, min_size=1, max_size=30)):
            start = reached + draw(pauses)
            reached = start + draw(st.floats(0, 1.5))
            words.append(word(f" {text}", start, reached))
        text = "".join(one.word for one in words)
        segments.append(segment(words[0].start, reached, text, words if has_words else None, index))
    return segments


layouts = st.builds(CaptionLayout, line_chars=st.integers(14, 45), lines=st.integers(1, 3))


def can_merge(cue: Cue, following: Cue, pause_s: float, layout: CaptionLayout) -> bool:
    """Return True if two cues are close enough for one cue and fit into it."""
    lines = textwrap.wrap(f"{text_of(cue)} {text_of(following)}", layout.line_chars, break_on_hyphens=False)
    return pause_s < 1 and following.end - cue.start < 7 - TOLERANCE_S and len(lines) <= layout.lines


def pauses_between(shown: Sequence[Cue], segments: Sequence[FileSegment]) -> list[float]:
    """Return the pause of the speech after each cue but the last; 0 inside a segment without words."""
    pauses = []
    for one, following in zip_longest(segments, segments[1:]):
        words, count = one.words or (), len(one.text.split())
        inner = [after.start - before.end for before, after in pairwise(words)] if words else [0.0] * (count - 1)
        pauses += [*inner, 0.0 if following is None else following.start - one.end]
    counts = accumulate(len(text_of(cue).split()) for cue in shown)
    return [pauses[count - 1] for count in counts][:-1]


@given(speech(), layouts)
def test_cues_keep_all_words_in_order(segments: list[FileSegment], layout: CaptionLayout) -> None:
    shown = caption_cues(segments, FILE, layout)
    assert " ".join(map(text_of, shown)).split() == [word for one in segments for word in one.text.split()]


@given(speech(), layouts)
def test_cues_last_0_8_to_7_seconds_and_have_no_single_words(
    segments: list[FileSegment], layout: CaptionLayout
) -> None:
    shown = caption_cues(segments, FILE, layout)
    pauses = pauses_between(shown, segments)
    for n, cue in enumerate(shown):
        assert cue.end - cue.start <= 7 + TOLERANCE_S
        is_short = cue.end - cue.start < 0.8 - TOLERANCE_S
        if is_short:  # The speech around it leaves no silence to extend it into.
            assert n + 1 < len(shown)
            assert shown[n + 1].start <= cue.end
            assert cue.start == (shown[n - 1].end if n else 0)
        if is_short or len(text_of(cue).split()) == 1:
            neighbors = [(n - 1, n)] * (n > 0) + [(n, n + 1)] * (n + 1 < len(shown))
            assert not any(can_merge(shown[one], shown[other], pauses[one], layout) for one, other in neighbors)


@given(speech(), layouts)
def test_cues_with_word_times_contain_neither_long_pauses_nor_many_slow_words(
    segments: list[FileSegment], layout: CaptionLayout
) -> None:
    spoken = [word for one in segments for word in one.words or ()]
    shown = caption_cues(segments, FILE, layout)
    for cue in shown if spoken else ():
        words = [spoken.pop(0) for _ in text_of(cue).split()]
        assert all(after.start - before.end < 1 for before, after in pairwise(words))
        assert words[-1].end - words[0].start <= 7 + TOLERANCE_S or len(words) <= 3
        assert cue.start <= words[0].start + TOLERANCE_S
        assert cue.end >= min(words[-1].end, words[0].start + 7) - TOLERANCE_S


times = st.floats(0, 100_000)
any_text = st.text(st.one_of(st.characters(), st.sampled_from(" <>-&\n.、。今日は")), max_size=60)


@st.composite
def any_segments(draw: st.DrawFn) -> list[FileSegment]:
    """Draw segments as a model may return them: with words at any time, which may differ from the text."""
    segments = []
    for index, start in enumerate(sorted(draw(st.lists(times, max_size=5)))):
        spoken = draw(st.lists(st.builds(word, any_text, times, times), max_size=8))
        text = draw(any_text) if not spoken or draw(st.booleans()) else "".join(one.word for one in spoken)
        segments.append(segment(start, draw(st.floats(start, 100_000)), text, spoken or None, index))
    return segments


stretches = st.lists(st.tuples(times, times).map(lambda pair: (min(pair), max(pair))), max_size=3).map(tuple)


@example([], 42, 2, (), ())
@given(any_segments(), st.integers(8, 50), st.integers(1, 3), stretches, stretches)
def test_cues_of_any_segments_follow_the_layout_without_overlap(
    segments: list[FileSegment],
    line_chars: int,
    lines: int,
    untranscribed: tuple[tuple[float, float], ...],
    damaged: tuple[tuple[float, float], ...],
) -> None:
    file = file_with(untranscribed=untranscribed, damaged=damaged)
    shown = caption_cues(segments, file, CaptionLayout(line_chars=line_chars, lines=lines))
    for cue in shown:
        assert 1 <= len(cue.lines) <= lines
        assert all(line and line == " ".join(line.split()) and columns(line) <= line_chars for line in cue.lines)
        assert 0 <= cue.start <= cue.end
    assert all(before.end <= after.start for before, after in pairwise(shown))
    texts = [text_of(cue) for cue in shown if text_of(cue) not in MARKS]
    assert all(map(letters, texts))
    assert letters("".join(texts)) == letters("".join(one.text.replace("-->", "→") for one in segments))


MARKS = ("[speech not transcribed]", "[recording damaged]", "[...]")


def columns(line: str) -> int:
    return sum(2 if unicodedata.east_asian_width(letter) in "WF" else 1 for letter in line)


def letters(text: str) -> str:
    """Return a text without punctuation, spaces and invisible characters."""
    kinds = ((letter, unicodedata.category(letter)) for letter in text)
    return "".join(letter for letter, kind in kinds if kind[0] not in "PZ" and kind not in ("Cc", "Cf"))
