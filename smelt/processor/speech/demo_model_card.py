"""What the demo model says of itself, without loading it."""

from importlib import resources
from importlib.resources.abc import Traversable
from typing import Final

from pydantic import BaseModel

DEMO: Final = "demo"


class _Card(BaseModel):
    notice: str


def notice_of(name: str) -> str | None:
    """What to tell whoever reads what this model heard; None for a model that is made for people's speech."""
    if name != DEMO:
        return None
    return _Card.model_validate_json((demo_folder() / "card.json").read_text(encoding="utf-8")).notice


def demo_folder() -> Traversable:
    """Where the model lies in the package."""
    return resources.files("smelt.processor") / "demo_model"
