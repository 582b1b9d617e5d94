"""The spoken texts of the recordings that `words.py` and the tests with real speech use."""

from collections.abc import Mapping, Sequence
from pathlib import Path

# Recordings that are made from others: the names of those, and how many of their first words they contain.
FIRST_20_S = (("en", 40),)
CONTENTS: Mapping[str, Sequence[tuple[str, int | None]]] = {
    "call_phase_inverted": (("en", None),),
    "de_then_en": (("de", None), ("en", None), ("es", None)),
    "dtx_gap": FIRST_20_S,
    "late_audio": FIRST_20_S,
    "obs_two_tracks": FIRST_20_S,
    "screencast_audio_ends_early": FIRST_20_S,
    "silence_then_de": (("de", None),),
    "vbr_noxing_info_tag": (("en", None),),
    "zeros_0.2s": (("en", None),),
}
# A speech of 1961, and the MIT license in English and German.
TEXTS = {
    "jfk": """
        And so, my fellow Americans, ask not what your country can do for you, ask what you can do for your country.""",
    "multilingual": """
        Permission is hereby granted, free of charge, to any person obtaining a copy of this software and associated
        documentation files, to deal in the software without restriction, including without limitation the rights to
        use, copy, modify, merge, publish, distribute, sublicense, and or sell copies of the software, and to permit
        persons to whom the software is furnished to do so, subject to the following conditions: The above copyright
        notice and this permission notice shall be included in all copies or substantial portions of the software.
        Jedem, der diese Software und die dazugehörigen Dokumentationsdateien erhält, wird hiermit unentgeltlich die
        Genehmigung erteilt, mit der Software uneingeschränkt zu verfahren. Dies umfasst insbesondere das Recht, die
        Software zu verwenden, zu vervielfältigen, zu modifizieren, zusammenzufügen, zu veröffentlichen, zu verteilen,
        unterzulizenzieren und oder Kopien der Software zu verkaufen und diese Rechte unter folgenden Bedingungen
        anderen zu übertragen.""",
}
# The start of speech in recordings whose clock a decoder may ignore.
SPEECH_STARTS_S = {"late_audio": 15.0, "silence_then_de": 90.0}
# The languages of recordings with several.
LANGUAGES = {"de_then_en": {"de", "en", "es"}, "multilingual": {"de", "en"}}


def known_text(source: Path) -> str | None:
    """Return the spoken text of a recording, None if it is unknown."""
    beside = source.with_suffix(".txt")
    if beside.exists():
        return beside.read_text()
    if source.stem in CONTENTS:
        parts = [(source.with_name(f"{part}.txt").read_text().split(), count) for part, count in CONTENTS[source.stem]]
        return " ".join(word for words, count in parts for word in words[:count])
    return TEXTS.get(source.stem)
