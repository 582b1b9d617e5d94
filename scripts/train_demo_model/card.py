"""The model card: the limits of the model, for programs that warn about them and for people."""

import json
from pathlib import Path
from typing import Any

import grammar


def write_card(folder: Path, report: dict[str, Any]) -> None:
    """Write card.json: the notice, the known words, and the word error rate."""
    known = sorted({word.lower() for word in grammar.vocabulary()})
    card = {
        "name": "demo",
        "language": "en",
        "notice": f"The demo model knows only {len(known)} words of a short meeting, as espeak-ng speaks them. "
        "On other speech it writes wrong words without any sign of doubt.",
        "word_error_rate": report["single utterances, unheard voices"]["word_error_rate"],
        "vocabulary": known,
    }
    (folder / "card.json").write_text(json.dumps(card, indent=1) + "\n")
