"""Names of the Realtime channels (without the `realtime:` prefix of the protocol) and of the Storage bucket."""

from typing import Final

WORKERS_CHANNEL: Final = "smelt-workers"
"""The private channel of wake-ups, on which the database makes idle workers claim."""

AUDIO_BUCKET: Final = "smelt-audio"


def smelt_channel(smelt_id: str) -> str:
    """Return the name of the private channel of a smelt."""
    return f"smelt:{smelt_id}"


def batch_channel(batch_id: str) -> str:
    """Return the name of the private channel of a batch."""
    return f"smelt-batch:{batch_id}"


def notifications_channel(user_id: str) -> str:
    """Return the name of the private channel of a user's notifications."""
    return f"smelt-notifications:{user_id}"


def feed_channel(user_id: str) -> str:
    """Return the name of the private channel for changes of the rows that a user owns."""
    return f"smelt-feed:{user_id}"
