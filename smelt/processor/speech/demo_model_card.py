"""The card of the demo model, without loading the model."""

from importlib import resources
from importlib.resources.abc import Traversable
from typing import Final

from pydantic import BaseModel

DEMO: Final = "demo"


class _Card(BaseModel):
    notice: str


def notice_of(name: str) -> str | None:
    """Return the notice for readers of this model's transcripts; None for a model made for human speech."""
    if name != DEMO:
        return None
    return _Card.model_validate_json((demo_folder() / "card.json").read_text(encoding="utf-8")).notice


def demo_folder() -> Traversable:
    """Return the folder of the demo model in the package."""
    return resources.files("smelt.processor") / "demo_model"
