"""The names of the files that a demo writes for several recordings."""

import pytest

from smelt.cli.demo import file_stems


@pytest.mark.parametrize(
    ("filenames", "names"),
    [
        (["standup.ogg"], ["standup"]),
        (["monday.v2.ogg", "tuesday.m4a"], ["monday.v2", "tuesday"]),
        (["talk.mp3", "talk.wav", "1-talk.wav"], ["1-talk", "2-talk", "3-1-talk"]),
        (["a\x1b[2J.ogg"], [r"a\u001b[2J"]),
        (["Talk.mp3", "talk.mp3"], ["1-Talk", "2-talk"]),
    ],
)
def test_demo_output_names_are_unique(filenames: list[str], names: list[str]) -> None:
    assert file_stems(filenames) == names
