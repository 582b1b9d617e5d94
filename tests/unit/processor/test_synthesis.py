"""Extractive outputs: deterministic, nothing invented, and useful for the usual sentences of meetings."""

import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from smelt.contract.events import Segment
from smelt.contract.vocabulary import DEFAULT_PROMPTS
from smelt.contract.work import SavedSegment, UserPrompt
from smelt.processor.synthesis.markdown import as_sentence, capitalized, clock, inline
from smelt.processor.synthesis.people import names_in
from smelt.processor.synthesis.prompts import PROMPTS
from smelt.processor.synthesis.ranking import Ranking
from smelt.processor.synthesis.request import NO_SPEECH, SynthesisInput, SynthesisRequest
from smelt.processor.synthesis.sentences import Sentence, sentences_of_segments, sentences_of_text, split_sentences
from tests.unit.processor.audio_samples import STANDUP
from tests.unit.processor.synthesis.rendering import render

SPOKEN_TEXT = STANDUP.with_suffix(".txt").read_text().lower()
STANDUP_SOURCE = SynthesisInput(filename="standup.ogg", language="en", sentences=sentences_of_text(SPOKEN_TEXT))


def made(text: str, *prompts: str) -> str:
    source = SynthesisInput(filename="x", language="en", sentences=sentences_of_text(text))
    return render(source, SynthesisRequest(prompts=prompts, user_prompt=None))


def test_action_items_of_the_standup_are_found() -> None:
    content = render(STANDUP_SOURCE, SynthesisRequest(prompts=("action_items",), user_prompt=None))
    named, mentioned = content.split("Also mentioned:")
    assert named.splitlines()[:3] == [
        "- [ ] Carla: finish the proposal by Thursday",
        "- [ ] David and Henry: prepare the backup",
        "- [ ] Martin: send the invoice by Monday",
    ]
    assert mentioned.split("\n- [ ] ")[1:] == [
        "Today I will review the contract",
        "Today I will update the server",
        "Can you check the backup before Wednesday?",
        "Tomorrow Henry will check the backup and the password",
    ]


def test_summary_contains_only_spoken_sentences() -> None:
    summary = made(SPOKEN_TEXT, "summarize")
    spoken = {sentence.text.rstrip(".") for sentence in sentences_of_text(SPOKEN_TEXT)}
    chosen = [sentence.rstrip(".").lower() for sentence in split_sentences(summary)]
    assert 3 <= len(chosen) <= 8
    assert set(chosen) <= {text.rstrip("?") for text in spoken} | spoken


@pytest.mark.parametrize("prompt", DEFAULT_PROMPTS)
def test_synthesize_is_deterministic_for_every_prompt(prompt: str) -> None:
    request = SynthesisRequest(prompts=(prompt,), user_prompt=None)
    first = render(STANDUP_SOURCE, request)
    assert len(first) > 40
    assert not first.startswith("#") or prompt == "detailed_notes"
    assert first == render(STANDUP_SOURCE, request)


def test_synthesize_puts_several_prompts_under_headings() -> None:
    content = made(SPOKEN_TEXT, *DEFAULT_PROMPTS)
    assert re.findall(r"^## (.+)$", content, re.MULTILINE) == [
        "Summary",
        "Action items",
        "Detailed notes",
        "Questions and answers",
        "Table of contents",
    ]


def test_detailed_notes_contain_every_statement_and_its_time() -> None:
    segments = [
        Segment(index=i, start=i * 61.0, end=i * 61.0 + 3, text=t) for i, t in enumerate(SPOKEN_TEXT.splitlines()[:9])
    ]
    source = SynthesisInput(filename="x", language="en", sentences=sentences_of_segments(segments))
    notes = render(source, SynthesisRequest(prompts=("detailed_notes",), user_prompt=None))
    assert notes.count("\n- ") == 9
    assert "(00:00)" in notes


def test_qa_format_finds_the_reply_to_a_question() -> None:
    content = made("When is the release? The release is on Monday. Who likes coffee?", "qa_format")
    assert "**Q: When is the release?**\n\nA: The release is on Monday." in content
    assert "**Q: Who likes coffee?**\n\nA: _No answer was found._" in content


def test_user_prompt_without_a_language_model_is_explained() -> None:
    prompt = UserPrompt(id="00000000-0000-4000-8000-000000000001", name="As a *poem*", content="Write a poem.")  # type: ignore[arg-type]
    content = render(STANDUP_SOURCE, SynthesisRequest(prompts=("summarize",), user_prompt=prompt))
    assert "## As a \\*poem\\*" in content
    assert "need a language model" in content
    assert "We have twelve open tickets." in content


def test_synthesize_without_prompts_returns_the_transcript() -> None:
    assert made("hello there. how are you") == "Hello there. How are you."


def test_synthesize_of_silence_reports_no_speech() -> None:
    assert made("", *DEFAULT_PROMPTS) == NO_SPEECH


@pytest.mark.parametrize(
    "text", ["日本語の文です。もう一つの文です。", "... !!! ???", "a. b. c.", "1 2 3", "Είναι μια μικρή πρόταση."]
)
@pytest.mark.parametrize("prompt", DEFAULT_PROMPTS)
def test_synthesize_gives_output_for_any_script(prompt: str, text: str) -> None:
    assert made(text, prompt)


@dataclass(frozen=True)
class Meeting:
    """The segments of a meeting, a word of its subject, and a question with its reply."""

    language: str
    segments: tuple[str, ...]
    subject: str
    question: str | None
    reply: str | None


MEETINGS = [
    Meeting(
        "de",
        (
            *("Guten Morgen.", "Die Sitzung ist kurz.", "Wann ist die Veröffentlichung?"),
            *("Die Veröffentlichung ist am Montag.", "Anna will die Kuchen.", "Was wir heute brauchen, ist Geduld."),
        ),
        "veröffentlichung",
        "Wann ist die Veröffentlichung?",
        "Die Veröffentlichung ist am Montag.",
    ),
    Meeting(
        "ja",
        ("おはようございます。", "リリースはいつですか\uff1f", "リリースは月曜日です。", "予算は五百ドル", "です。"),
        "リリース",
        "リリースはいつですか\uff1f",
        "リリースは月曜日です。",
    ),
    Meeting("zh", ("大家早上好", "我们今天讨论预算", "预算是五百元", "发布会在星期一"), "预算", None, None),
    Meeting("th", ("สวัสดีครับ", "วันนี้เราคุยเรื่องงบประมาณ", "งบประมาณห้าร้อย"), "งบประมาณห้าร้อย", None, None),
    Meeting(
        "hi",
        ("नमस्ते सब लोग।", "रिलीज़ कब है?", "रिलीज़ सोमवार को है।", "बजट पाँच सौ है।"),
        "रिलीज़",
        "रिलीज़ कब है?",
        "रिलीज़ सोमवार को है।",
    ),
    Meeting(
        "ar",
        ("صباح الخير.", "متى الإصدار؟", "الإصدار يوم الاثنين."),
        "الإصدار",
        "متى الإصدار؟",
        "الإصدار يوم الاثنين.",
    ),
]


@pytest.mark.parametrize("meeting", MEETINGS, ids=lambda meeting: meeting.language)
def test_synthesize_covers_every_sentence_in_every_language(meeting: Meeting) -> None:
    segments = [Segment(index=i, start=i, end=i + 1, text=text) for i, text in enumerate(meeting.segments)]
    source = SynthesisInput(filename="x", language=meeting.language, sentences=sentences_of_segments(segments))
    outputs = {
        prompt: render(source, SynthesisRequest(prompts=(prompt,), user_prompt=None)) for prompt in DEFAULT_PROMPTS
    }
    sentences = [sentence.text for sentence in source.sentences]
    spoken = "".join(meeting.segments)
    assert "".join(sentences) == spoken
    assert outputs["detailed_notes"].count("\n- ") == len(sentences) > 2
    assert outputs["summarize"] != outputs["detailed_notes"]
    assert meeting.subject in outputs["detailed_notes"].splitlines()[0].lower()
    # The output does not claim that there are no action items if there are no rules to find them.
    assert ("finds action items only in English" in outputs["action_items"]) == (meeting.language != "de")
    asked = re.findall(r"^\*\*Q: (.+)\*\* \(00:0\d\)$", outputs["qa_format"], re.MULTILINE)
    assert asked == [meeting.question] * (meeting.question is not None)
    assert meeting.reply is None or f"A: {meeting.reply}" in outputs["qa_format"].replace("。 ", "。\n\nA: ")
    for text in sentences:
        closed = as_sentence(text, ())
        assert closed in (text, f"{text}。")


def test_sentences_of_a_script_without_marks_follow_its_segments() -> None:
    texts = ["大家早上好", "我们今天讨论预算", "预算是五百元"]
    marked = [*texts, "谢谢大家。"]
    for spoken, sentences in ((texts, texts), (marked, ["".join(marked)])):
        segments = [Segment(index=i, start=i, end=i + 1, text=text) for i, text in enumerate(spoken)]
        assert [sentence.text for sentence in sentences_of_segments(segments)] == sentences
    endless = [Segment(index=i, start=i, end=i + 1, text="我们今天讨论预算") for i in range(50)]
    closed = [*endless, Segment(index=50, start=50, end=51, text="好。")]
    assert max(len(sentence.text) for sentence in sentences_of_segments(closed)) < 100


@settings(max_examples=25, deadline=None)
@given(st.text(max_size=400))
def test_synthesize_is_deterministic_for_any_text(text: str) -> None:
    assert made(text, *DEFAULT_PROMPTS) == made(text, *DEFAULT_PROMPTS)


def test_ranking_compares_a_bounded_number_of_sentence_pairs(monkeypatch: pytest.MonkeyPatch) -> None:
    compared = Counter[int]()
    lines = SPOKEN_TEXT.splitlines()

    def counted(compare: Callable[..., float]) -> Callable[..., float]:
        def compare_counted(ranking: Ranking, *pair: Any) -> float:
            compared[len(ranking.scores)] += 1
            return compare(ranking, *pair)

        return compare_counted

    for compare in (Ranking.similarity, Ranking.block_similarity):
        monkeypatch.setattr(Ranking, compare.__name__, counted(compare))
    for count in (1000, 3000):
        sentences = tuple(Sentence(f"{lines[i % len(lines)][:-1]} {i}.", float(i)) for i in range(count))
        source = SynthesisInput(filename="x", language="en", sentences=sentences)
        render(source, SynthesisRequest(prompts=DEFAULT_PROMPTS, user_prompt=None))
    assert 3000 <= compared[3000] <= 4 * compared[1000]


def test_sentence_over_several_segments_is_joined() -> None:
    texts = ["this is the first", "half of it. and", "the next one.", "no end"]
    segments = [Segment(index=i, start=float(i), end=i + 1.0, text=text) for i, text in enumerate(texts)]
    assert sentences_of_segments(segments) == (
        Sentence("this is the first half of it.", 0.0),
        Sentence("and the next one.", 1.0),
        Sentence("no end", 3.0),
    )


def test_sentence_split_ignores_abbreviations_and_numbers() -> None:
    assert split_sentences("Dr. Who paid 3.5 dollars, e.g. for tea. J. Smith left!") == [
        "Dr. Who paid 3.5 dollars, e.g. for tea.",
        "J. Smith left!",
    ]


@given(st.text(alphabet="ab .!?", max_size=60))
def test_sentence_split_loses_no_character(text: str) -> None:
    assert re.sub(r"\s", "", "".join(split_sentences(text))) == re.sub(r"\s", "", text)


def test_sentence_is_capitalized() -> None:
    assert as_sentence("tomorrow i meet anna on friday", {"anna"}) == "Tomorrow I meet Anna on Friday."
    assert capitalized("NASA met anna", {"anna"}) == "NASA met anna"
    assert as_sentence("He asked, 'how?'", ()) == "He asked, 'how?'"
    assert as_sentence("tear down the fence,", ()) == "Tear down the fence."
    assert as_sentence("我们见面\uff0c", ()) == "我们见面。"


def test_names_are_recognized_by_their_position() -> None:
    spoken = [
        *SPOKEN_TEXT.splitlines(),
        "the server will restart.",
        "it will rain.",
        "Ben asked Zoe to wait.",
        "thank you all.",
    ]
    assert names_in(spoken) == {"anna", "carla", "emma", "henry", "martin"}


def test_markdown_of_a_transcript_is_escaped() -> None:
    assert inline("# not a heading") == "\\# not a heading"
    assert inline("<script>\n*x* [a](b)") == "\\<script> \\*x\\* \\[a](b)"
    assert inline("1. is no list, 2) too") == "1\\. is no list, 2) too"
    assert inline("12) is none") == "12\\) is none"
    assert inline("~~~ is no fence") == "\\~\\~\\~ is no fence"
    assert inline("AT&T says &lt; and &#60;") == "AT&T says \\&lt; and \\&#60;"
    assert inline("C# ends in #") == "C# ends in \\#"
    assert clock(59.9) == "00:59"
    assert clock(3661) == "1:01:01"


def test_prompts_have_one_record_for_each_name_of_the_contract() -> None:
    assert tuple(prompt.name for prompt in PROMPTS) == DEFAULT_PROMPTS


def test_extracts_contain_only_words_of_the_speakers() -> None:
    """Each line occurs in the transcript, except for headings, titles, names of speakers, and notices."""
    spoken = [
        *("Okay, Ben, can you send me the draft by Friday?", "Sure, I'll send it tomorrow.", "Um, okay."),
        *(
            "What's the state of the budget?",
            "The budget. Um.",
            "It's 500 dollars over.",
            "Let's cut the travel costs.",
        ),
        *(f"Then we looked at page {n} of the annual report for {n * 7} minutes." for n in range(40)),
        *(f"The garden needs {n} new trees and a fence." for n in range(40)),
    ]
    segments = [
        SavedSegment(index=n, start=n * 6.0, end=n * 6.0 + 5, text=text, speaker=f"Speaker {n % 2 + 1}")
        for n, text in enumerate(spoken)
    ]
    source = SynthesisInput(filename="x", language="en", sentences=sentences_of_segments(segments))
    transcript = plain(" ".join(spoken))
    for prompt in DEFAULT_PROMPTS:
        content = render(source, SynthesisRequest(prompts=(prompt,), user_prompt=None))
        lines = [line for line in content.splitlines() if line and not line.startswith(("#", "Also"))]
        assert len(lines) > 1
        for line in lines:
            text = re.sub(r"^(- \[ \] |- |A: |\*\*Q: |\d+\. )(Speaker \d: |Ben: )?|\*\*|\(\d\d:\d\d\)", "", line)
            parts = text.split(", ") if prompt == "table_of_contents" else re.split(r"(?<=[.?]) ", text)
            assert all(plain(part) in transcript for part in parts), line


def test_outputs_omit_sentences_without_content() -> None:
    text = (
        "Okay. Yeah, yeah, yeah, the budget. Uh, right. No, no, no, the budget is late. Anna has the new invoice. Um. "
        "Is the invoice paid?"
    )
    assert made(text, "detailed_notes").splitlines()[2:] == [
        "- No, no, no, the budget is late.",
        "- Anna has the new invoice.",
        "- Is the invoice paid?",
    ]
    assert made(text, "summarize") == "No, no, no, the budget is late. Anna has the new invoice."
    assert made("Okay. Yeah.", "detailed_notes").splitlines()[2:] == ["- Okay.", "- Yeah."]


def test_output_of_a_short_text_states_that_it_is_short() -> None:
    assert made("Ship it on Monday.", "summarize") == (
        "_The text is too short for a summary. This is all of it:_\n\nShip it on Monday."
    )
    assert made("Ship it on Monday.", "table_of_contents") == "_The text is too short for a table of contents._"
    assert made("The budget is late.", "action_items") == "_No action items were found._"


def test_questions_without_marks_need_rules_of_the_language() -> None:
    source = SynthesisInput(filename="x", language="pl", sentences=sentences_of_text("Kiedy jest premiera. Jutro."))
    content = render(source, SynthesisRequest(prompts=("qa_format",), user_prompt=None))
    assert "has no question marks" in content
    assert "English, French, German and Spanish" in content


def test_language_of_a_text_decides_about_its_rules() -> None:
    source = SynthesisInput(
        filename="x", language=None, sentences=sentences_of_text("Wir müssen die Rechnung noch an den Kunden schicken.")
    )
    content = render(source, SynthesisRequest(prompts=("action_items",), user_prompt=None))
    assert content == "- [ ] Wir müssen die Rechnung noch an den Kunden schicken"


def test_action_item_without_an_owner_is_that_of_its_speaker() -> None:
    sentences = (
        Sentence("Can you send it?", 61.0, "Speaker 1"),
        Sentence("Okay, I'll send it today.", 64.0, "Speaker 2"),
    )
    source = SynthesisInput(filename="x", language="en", sentences=sentences)
    content = render(source, SynthesisRequest(prompts=("action_items",), user_prompt=None))
    assert content.splitlines() == [
        "- [ ] Speaker 1: Can you send it? (01:01)",
        "- [ ] Speaker 2: I'll send it today (01:04)",
    ]


def plain(text: str) -> str:
    return " ".join(re.findall(r"[\w']+", text.lower()))
