"""How captions are laid out, as the environment says."""

from smelt.contract.transcript import CaptionLayout
from smelt.settings import CaptionSettings


def caption_layout() -> CaptionLayout:
    """Read the settings of captions; raises `SettingsError`."""
    settings = CaptionSettings.read()
    return CaptionLayout(line_chars=settings.caption_line_chars, lines=settings.caption_lines)
