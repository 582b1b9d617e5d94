"""Names of the Realtime channels (without the `realtime:` prefix of the protocol)."""

from typing import Final

WORKERS_CHANNEL: Final = "smelt-workers"
"""Private channel on which the database wakes idle workers."""

AUDIO_BUCKET: Final = "smelt-audio"


def smelt_channel(smelt_id: str) -> str:
    """The private channel of one smelt."""
    return f"smelt:{smelt_id}"


def batch_channel(batch_id: str) -> str:
    """The private channel of one batch."""
    return f"smelt-batch:{batch_id}"


def notifications_channel(user_id: str) -> str:
    """The private channel of one user's notifications."""
    return f"smelt-notifications:{user_id}"


def feed_channel(user_id: str) -> str:
    """The private channel on which one user follows the changes of the rows that it owns."""
    return f"smelt-feed:{user_id}"
