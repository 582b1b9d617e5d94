"""The layout of captions, from the settings."""

from smelt.contract.captions import CaptionLayout
from smelt.settings import CaptionSettings


def caption_layout() -> CaptionLayout:
    """Return the caption layout of the settings; raise `SettingsError` if they are invalid."""
    settings = CaptionSettings.read()
    return CaptionLayout(line_chars=settings.caption_line_chars, lines=settings.caption_lines)
