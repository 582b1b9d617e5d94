"""The vocabulary of a smelt is a prompt of whole terms; a text that only repeats it is not used."""

from collections.abc import Sequence
from dataclasses import replace

import pytest
from faster_whisper import WhisperModel
from faster_whisper.tokenizer import Tokenizer

from smelt.processor.media.recording import Recording
from smelt.processor.speech import decoder as decoder_module
from smelt.processor.speech.checkpoint import START
from smelt.processor.speech.decoder import DecodedWindow, EncodedWindows, Window
from smelt.processor.speech.transcriber import Transcriber
from smelt.processor.speech.values import SpeechOptions
from smelt.processor.speech.vocabulary import MAX_PROMPT_TOKENS, fitting_prompt, is_echo, is_same_speech
from tests.unit.processor.test_windows import ScriptedDecoder, decoded, texts, transcribe, window_of

TERMS = ("Mr. Hale", "Helstone", "Grimmelshausen")


def characters(text: str) -> list[int]:
    return list(map(ord, text))


def test_prompt_has_as_many_whole_terms_as_fit() -> None:
    assert fitting_prompt(TERMS, characters, 100) == (characters(" Mr. Hale, Helstone, Grimmelshausen"), 3)
    assert fitting_prompt(TERMS, characters, 33) == (characters(" Mr. Hale, Helstone"), 2)
    assert fitting_prompt(TERMS, characters, 5) == ([], 0)
    assert fitting_prompt((), characters, 5) == ([], 0)
    assert fitting_prompt(("a\n b",), characters, 5) == (characters(" a b"), 1)


def test_prompt_of_the_largest_vocabulary_leaves_room_in_the_context(demo_model: WhisperModel) -> None:
    tokenizer = Tokenizer(demo_model.hf_tokenizer, multilingual=False)
    tokens, count = fitting_prompt([f"Term {n} of the company" for n in range(100)], tokenizer.encode)
    assert len(tokens) <= MAX_PROMPT_TOKENS == demo_model.max_length // 2 - 1
    assert 0 < count < 100


@pytest.mark.parametrize("options", [SpeechOptions(), SpeechOptions(batch_size=2)], ids=str)
def test_vocabulary_that_is_too_long_is_cut_and_logged_once(
    options: SpeechOptions, demo_model: WhisperModel, opening: Recording, caplog: pytest.LogCaptureFixture
) -> None:
    decoder_module._warn_of_cut.cache_clear()
    transcriber = Transcriber(demo_model, replace(options, vocabulary=tuple(f"Zyqx {n} Vorbl" for n in range(100))))
    short = Recording(opening.path, 5 * 16_000)
    for _ in range(2):
        list(transcriber.transcribe(short, "en"))
    [record] = [record for record in caplog.records if "vocabulary" in record.message]
    assert "of 100 terms" in record.message


@pytest.mark.parametrize(
    ("text", "is_repeated"),
    [
        ("Mr. Hale, Helstone, Grimmelshausen", True),
        ("Dr. Hale, Dr. Hale.", True),
        ("helstone", True),
        ("I met him at Helstone.", False),
        ("", False),
        ("...", False),
    ],
)
def test_echo_has_half_of_its_words_from_the_vocabulary(text: str, is_repeated: bool) -> None:
    assert is_echo(text, TERMS) == is_repeated
    assert not is_echo(text, ())


def test_spellings_of_the_same_speech_resemble_each_other() -> None:
    assert is_same_speech("Mr. Hale.", "Mr. Hell")
    assert not is_same_speech("Helstone, Grimmelshausen", "Thank you.")
    assert not is_same_speech("Helstone", "")


class PromptedDecoder(ScriptedDecoder):
    """A decoder with a vocabulary: `echo` is its text with it, `plain` without."""

    vocabulary = TERMS

    def __init__(self, echo: str, plain: str, **statistics: float) -> None:
        super().__init__(lambda window, *_: decoded(window, (0, 4, echo)))
        self.plain = plain
        self.statistics = statistics

    def decode(
        self,
        encoded: EncodedWindows,
        languages: Sequence[str],
        *,
        no_repeat_ngram_size: int = 0,
        use_vocabulary: bool = True,
    ) -> list[DecodedWindow]:
        if use_vocabulary:
            return super().decode(encoded, languages, no_repeat_ngram_size=no_repeat_ngram_size)
        self.decoded.append(len(languages))
        parts = [(0.0, 4.0, self.plain)] if self.plain else []
        return [decoded(window, *parts, **self.statistics) for window in encoded.windows]


def quiet_window() -> Window:
    return window_of(4, voiced=False)


def test_window_that_repeats_the_vocabulary_has_the_text_without_it() -> None:
    [result] = transcribe(PromptedDecoder("Helstone, Grimmelshausen", "Thank you."), quiet_window())
    assert texts(result) == ["Thank you."]
    [result] = transcribe(PromptedDecoder("Helstone, Grimmelshausen", ""), quiet_window())
    assert texts(result) == []


def test_windows_that_repeat_the_vocabulary_are_decoded_again_at_a_time_with_the_same_output_of_the_encoder() -> None:
    decoder = PromptedDecoder("Helstone", "Thank you.")
    results = transcribe(decoder, *[quiet_window()] * 3)
    assert (decoder.encoded, decoder.decoded) == ([3], [3, 3])
    assert [texts(result) for result in results] == [["Thank you."]] * 3


def test_window_that_is_silent_without_the_vocabulary_has_no_text() -> None:
    silent = {"no_speech_prob": 0.9, "avg_logprob": -1.5}
    [result] = transcribe(PromptedDecoder("Helstone", "Helston", **silent), quiet_window())
    assert texts(result) == []


def test_name_that_is_spoken_keeps_the_spelling_of_the_vocabulary() -> None:
    [result] = transcribe(PromptedDecoder("Mr. Hale.", "Mr. Hell."), quiet_window())
    assert texts(result) == ["Mr. Hale."]


@pytest.mark.parametrize(
    "changed", [{"language": "de"}, {"task": "translate"}, {"vocabulary": ("Hale",)}, {"word_times": True}], ids=str
)
def test_checkpoint_mode_names_the_options_of_the_smelt(changed: dict[str, object], demo_model: WhisperModel) -> None:
    options = SpeechOptions()
    keys = [Transcriber(demo_model, one).resume_point(START).mode_key for one in (options, replace(options, **changed))]  # type: ignore[arg-type]
    assert keys[0] != keys[1]
