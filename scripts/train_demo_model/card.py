"""What the model says of itself, for programs that warn of it and for people."""

import json
from pathlib import Path
from typing import Any

import grammar


def write_card(folder: Path, report: dict[str, Any]) -> None:
    """Write card.json: the notice, the words it knows, and how well it hears them."""
    known = sorted({word.lower() for word in grammar.vocabulary()})
    card = {
        "name": "demo",
        "language": "en",
        "notice": f"The demo model knows only {len(known)} words of a short meeting, as espeak-ng speaks them. "
        "On other speech it writes wrong words, and is sure of them.",
        "word_error_rate": report["single utterances, unheard voices"]["word_error_rate"],
        "vocabulary": known,
    }
    (folder / "card.json").write_text(json.dumps(card, indent=1) + "\n")
