"""Outputs without a language model: deterministic, nothing invented, and useful for what people say in meetings."""

import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
from audio_samples import STANDUP
from hypothesis import given, settings
from hypothesis import strategies as st

from smelt.contract.events import Segment
from smelt.contract.vocabulary import DEFAULT_PROMPTS
from smelt.contract.work import UserPrompt
from smelt.processor.synthesis.action_items import ActionItem, action_items
from smelt.processor.synthesis.extractive import NOTHING_SAID, render
from smelt.processor.synthesis.markdown import as_sentence, capitalised, clock, inline
from smelt.processor.synthesis.people import names_in
from smelt.processor.synthesis.prompts import PROMPTS
from smelt.processor.synthesis.questions import is_question
from smelt.processor.synthesis.ranking import Ranking
from smelt.processor.synthesis.sentences import Sentence, sentences_of_segments, sentences_of_text, split_sentences
from smelt.processor.synthesis.source import Order, Source

SAID = STANDUP.with_suffix(".txt").read_text().lower()
STANDUP_SOURCE = Source(filename="standup.ogg", language="en", sentences=sentences_of_text(SAID))


def made(text: str, *prompts: str) -> str:
    source = Source(filename="x", language="en", sentences=sentences_of_text(text))
    return render(source, Order(prompts=prompts, user_prompt=None))


def test_action_items_of_the_meeting_are_found() -> None:
    content = render(STANDUP_SOURCE, Order(prompts=("action_items",), user_prompt=None))
    named, mentioned = content.split("Also mentioned:")
    assert named.splitlines()[:3] == [
        "- [ ] Carla: finish the proposal by Thursday",
        "- [ ] David and Henry: prepare the backup",
        "- [ ] Martin: send the invoice by Monday",
    ]
    assert "- [ ] Henry: check the backup and the password" in mentioned
    assert "- [ ] Check the backup before Wednesday" in mentioned


@pytest.mark.parametrize(
    ("sentence", "item"),
    [
        (
            "action item anna will review the budget by friday.",
            ActionItem("named", "Anna", "review the budget by friday"),
        ),
        ("Action item: call the printer.", ActionItem("named", None, "call the printer")),
        ("TODO: write the report", ActionItem("named", None, "write the report")),
        ("Action item, Zoë must call Ben!", ActionItem("named", "Zoë", "call Ben")),
        ("[ ] buy milk", ActionItem("named", None, "buy milk")),
        ("So, Anna will send the invoice.", ActionItem("mentioned", "Anna", "send the invoice")),
        ("ben asked carla to deploy the website.", ActionItem("mentioned", "Carla", "deploy the website")),
        ("Please send it today.", ActionItem("mentioned", None, "send it today")),
        ("We need to rewrite the manual.", None),
        ("It will rain.", None),
        ("Anna will be late.", None),
        ("The budget is five hundred dollars.", None),
    ],
)
def test_a_sentence_gives_its_item(sentence: str, item: ActionItem | None) -> None:
    assert action_items([sentence]) == (() if item is None else (item,))


def test_the_same_item_counts_once() -> None:
    assert len(action_items(["Anna will call Ben.", "anna will call Ben."])) == 1


def test_a_summary_says_nothing_that_was_not_said() -> None:
    summary = made(SAID, "summarize")
    said = {sentence.text.rstrip(".") for sentence in sentences_of_text(SAID)}
    chosen = [sentence.rstrip(".").lower() for sentence in split_sentences(summary)]
    assert 3 <= len(chosen) <= 8
    assert set(chosen) <= {text.rstrip("?") for text in said} | said


@pytest.mark.parametrize("prompt", DEFAULT_PROMPTS)
def test_every_prompt_gives_the_same_useful_output_each_time(prompt: str) -> None:
    order = Order(prompts=(prompt,), user_prompt=None)
    first = render(STANDUP_SOURCE, order)
    assert len(first) > 40
    assert not first.startswith("#") or prompt == "detailed_notes"
    assert first == render(STANDUP_SOURCE, order)


def test_several_prompts_come_under_headings_in_one_content() -> None:
    content = made(SAID, *DEFAULT_PROMPTS)
    assert re.findall(r"^## (.+)$", content, re.MULTILINE) == [
        "Summary",
        "Action items",
        "Detailed notes",
        "Questions and answers",
        "Table of contents",
    ]


def test_detailed_notes_hold_everything_of_a_short_meeting_with_its_time() -> None:
    segments = [Segment(index=i, start=i * 61.0, end=i * 61.0 + 3, text=t) for i, t in enumerate(SAID.splitlines()[:9])]
    source = Source(filename="x", language="en", sentences=sentences_of_segments(segments))
    notes = render(source, Order(prompts=("detailed_notes",), user_prompt=None))
    assert notes.count("\n- ") == 9
    assert "(00:00)" in notes


def test_questions_get_what_was_said_in_answer() -> None:
    content = made("When is the release? The release is on Monday. Who likes coffee?", "qa_format")
    assert "**Q: When is the release?**\n\nA: The release is on Monday." in content
    assert "**Q: Who likes coffee?**\n\nA: _No answer was found._" in content


def test_a_prompt_of_the_user_is_honest_about_the_missing_model() -> None:
    prompt = UserPrompt(id="00000000-0000-4000-8000-000000000001", name="As a *poem*", content="Write a poem.")  # type: ignore[arg-type]
    content = render(STANDUP_SOURCE, Order(prompts=("summarize",), user_prompt=prompt))
    assert "## As a \\*poem\\*" in content
    assert "needs a language model" in content
    assert "We have twelve open tickets." in content


def test_without_a_prompt_the_transcript_is_the_output() -> None:
    assert made("hello there. how are you") == "Hello there. How are you."


def test_silence_is_said_to_be_silence() -> None:
    assert made("", *DEFAULT_PROMPTS) == NOTHING_SAID


@pytest.mark.parametrize(
    "text", ["日本語の文です。もう一つの文です。", "... !!! ???", "a. b. c.", "1 2 3", "Είναι μια μικρή πρόταση."]
)
@pytest.mark.parametrize("prompt", DEFAULT_PROMPTS)
def test_any_language_gives_something(prompt: str, text: str) -> None:
    assert made(text, prompt)


@dataclass(frozen=True)
class Meeting:
    """What somebody said, segment by segment, a word of its subject, and what is asked and answered in it."""

    language: str
    segments: tuple[str, ...]
    subject: str
    question: str | None
    answer: str | None


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
    Meeting("zh", ("大家早上好", "我们今天讨论预算", "预算是五百元", "发布会在星期一"), "预算", None, "预算是五百元。"),
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
def test_every_language_gets_what_was_said_in_it(meeting: Meeting) -> None:
    segments = [Segment(index=i, start=i, end=i + 1, text=text) for i, text in enumerate(meeting.segments)]
    source = Source(filename="x", language=meeting.language, sentences=sentences_of_segments(segments))
    outputs = {prompt: render(source, Order(prompts=(prompt,), user_prompt=None)) for prompt in DEFAULT_PROMPTS}
    sentences = [sentence.text for sentence in source.sentences]
    said = "".join(meeting.segments)
    assert "".join(sentences) == said
    assert outputs["detailed_notes"].count("\n- ") == len(sentences) > 2
    assert outputs["summarize"] != outputs["detailed_notes"]
    assert meeting.subject in outputs["table_of_contents"].lower()
    # English ways of saying so are none of another language, and nobody claims that nothing was to be done.
    assert "- [ ]" not in outputs["action_items"]
    assert "in English alone" in outputs["action_items"]
    assert all(sentence in outputs["action_items"] for sentence in sentences)
    asked = re.findall(r"^\*\*Q: (.+)\*\*$", outputs["qa_format"], re.MULTILINE)
    assert [question for question in asked if not question.startswith("What was")] == [meeting.question] * (
        meeting.question is not None
    )
    assert meeting.answer is None or f"A: {meeting.answer}" in outputs["qa_format"].replace("。 ", "。\n\nA: ")
    for text in sentences:
        closed = as_sentence(text, ())
        assert closed in (text, f"{text}。")


def test_a_script_without_spaces_and_marks_is_told_apart_by_its_segments_alone() -> None:
    texts = ["大家早上好", "我们今天讨论预算", "预算是五百元"]
    marked = [*texts, "谢谢大家。"]
    for said, sentences in ((texts, texts), (marked, ["".join(marked)])):
        segments = [Segment(index=i, start=i, end=i + 1, text=text) for i, text in enumerate(said)]
        assert [sentence.text for sentence in sentences_of_segments(segments)] == sentences
    endless = [Segment(index=i, start=i, end=i + 1, text="我们今天讨论预算") for i in range(50)]
    closed = [*endless, Segment(index=50, start=50, end=51, text="好。")]
    assert max(len(sentence.text) for sentence in sentences_of_segments(closed)) < 100


@settings(max_examples=25, deadline=None)
@given(st.text(max_size=400))
def test_no_text_breaks_it(text: str) -> None:
    assert made(text, *DEFAULT_PROMPTS) == made(text, *DEFAULT_PROMPTS)


def test_hours_of_talk_are_compared_sentence_by_sentence_but_not_all_with_all(monkeypatch: pytest.MonkeyPatch) -> None:
    compared = Counter[int]()
    lines = SAID.splitlines()

    def counted(compare: Callable[..., float]) -> Callable[..., float]:
        def compare_counted(ranking: Ranking, *pair: Any) -> float:
            compared[len(ranking.scores)] += 1
            return compare(ranking, *pair)

        return compare_counted

    for compare in (Ranking.similarity, Ranking.block_similarity):
        monkeypatch.setattr(Ranking, compare.__name__, counted(compare))
    for count in (1000, 3000):
        sentences = tuple(Sentence(f"{lines[i % len(lines)][:-1]} {i}.", float(i)) for i in range(count))
        source = Source(filename="x", language="en", sentences=sentences)
        render(source, Order(prompts=DEFAULT_PROMPTS, user_prompt=None))
    assert 3000 <= compared[3000] <= 4 * compared[1000]


def test_a_sentence_over_several_segments_is_put_together() -> None:
    texts = ["this is the first", "half of it. and", "the next one.", "no end"]
    segments = [Segment(index=i, start=float(i), end=i + 1.0, text=text) for i, text in enumerate(texts)]
    assert sentences_of_segments(segments) == (
        Sentence("this is the first half of it.", 0.0),
        Sentence("and the next one.", 1.0),
        Sentence("no end", 3.0),
    )


def test_abbreviations_and_numbers_end_no_sentence() -> None:
    assert split_sentences("Dr. Who paid 3.5 dollars, e.g. for tea. J. Smith left!") == [
        "Dr. Who paid 3.5 dollars, e.g. for tea.",
        "J. Smith left!",
    ]


@given(st.text(alphabet="ab .!?", max_size=60))
def test_splitting_loses_no_letter(text: str) -> None:
    assert re.sub(r"\s", "", "".join(split_sentences(text))) == re.sub(r"\s", "", text)


def test_what_was_heard_in_lower_case_is_spelled_for_readers() -> None:
    assert as_sentence("tomorrow i meet anna on friday", {"anna"}) == "Tomorrow I meet Anna on Friday."
    assert capitalised("NASA met anna", {"anna"}) == "NASA met anna"


def test_people_are_known_by_where_their_names_stand() -> None:
    said = [*SAID.splitlines(), "the server will restart.", "it will rain.", "Ben asked Zoe to wait.", "thank you all."]
    assert names_in(said) == {"anna", "carla", "emma", "henry", "martin"}


def test_transcripts_stay_data_in_markdown() -> None:
    assert inline("# not a heading") == "\\# not a heading"
    assert inline("<script>\n*x* [a](b)") == "\\<script> \\*x\\* \\[a](b)"
    assert inline("1. is no list, 2) too") == "1\\. is no list, 2) too"
    assert inline("12) is none") == "12\\) is none"
    assert inline("~~~ is no fence") == "\\~\\~\\~ is no fence"
    assert inline("AT&T says &lt; and &#60;") == "AT&T says \\&lt; and \\&#60;"
    assert inline("C# ends in #") == "C# ends in \\#"
    assert clock(59.9) == "00:59"
    assert clock(3661) == "1:01:01"
    assert is_question("could you look at it")


def test_prompts_have_one_record_for_each_name_of_the_contract() -> None:
    assert tuple(prompt.name for prompt in PROMPTS) == DEFAULT_PROMPTS
