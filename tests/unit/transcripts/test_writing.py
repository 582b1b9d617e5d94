"""Words are counted in all scripts."""

import pytest

from smelt.transcripts.writing import word_count


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("", 0),
        (" ... ", 0),
        ("It's 3 o'clock.", 5),
        ("안녕하세요 여러분", 2),
        ("日本語です。", 5),
        ("我用 Python 写代码", 6),
        ("Привет, мир", 2),
    ],
)
def test_word_count_counts_words_or_letters_by_script(text: str, count: int) -> None:
    assert word_count(text) == count
