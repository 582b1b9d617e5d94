"""Transcription jobs on Supabase: create a smelt and upload its files, watch it live, get its results.

    async with smelt.connect(url, key) as client:
        created = await client.create(files=["meeting.m4a"], prompts=["summarize"])
        async for update in client.watch(created.id):
            ...

`smelt.blocking.connect` returns the same client without `await`.
"""

import importlib
import logging
from typing import TYPE_CHECKING, Final

from smelt.errors import (
    Forbidden,
    NotFound,
    PermanentError,
    RequestRejected,
    SettingsError,
    SmeltError,
    SmeltFailed,
    TransientError,
    Unauthorized,
    Unavailable,
)

if TYPE_CHECKING:
    from smelt import blocking as blocking
    from smelt.contract.batches import Batch as Batch
    from smelt.contract.events import FileProgress as FileProgress
    from smelt.contract.events import Output as Output
    from smelt.contract.events import Result as Result
    from smelt.contract.events import Segment as Segment
    from smelt.contract.options import SmeltOptions as SmeltOptions
    from smelt.contract.rows import FileRow as FileRow
    from smelt.contract.rows import Notification as Notification
    from smelt.contract.rows import SmeltRow as SmeltRow
    from smelt.contract.state import Created as Created
    from smelt.contract.state import Snapshot as Snapshot
    from smelt.subscriber.client import Client as Client
    from smelt.subscriber.client import connect as connect
    from smelt.subscriber.diagnostics import Diagnostics as Diagnostics
    from smelt.subscriber.feed import Feed as Feed
    from smelt.subscriber.mirror import CacheKey as CacheKey
    from smelt.subscriber.mirror import FeedChange as FeedChange
    from smelt.subscriber.mirror import FileChange as FileChange
    from smelt.subscriber.mirror import SmeltChange as SmeltChange
    from smelt.subscriber.notifications import Notifications as Notifications
    from smelt.subscriber.subscription import Subscription as Subscription
    from smelt.subscriber.updates import BatchProgress as BatchProgress
    from smelt.subscriber.updates import Completed as Completed
    from smelt.subscriber.updates import Connected as Connected
    from smelt.subscriber.updates import ConnectionIssue as ConnectionIssue
    from smelt.subscriber.updates import Disconnected as Disconnected
    from smelt.subscriber.updates import Failed as Failed
    from smelt.subscriber.updates import Progress as Progress
    from smelt.subscriber.updates import Segments as Segments
    from smelt.subscriber.updates import Update as Update
    from smelt.subscriber.uploads import UploadProgress as UploadProgress

__all__ = [
    "Batch",
    "BatchProgress",
    "CacheKey",
    "Client",
    "Completed",
    "Connected",
    "ConnectionIssue",
    "Created",
    "Diagnostics",
    "Disconnected",
    "Failed",
    "Feed",
    "FeedChange",
    "FileChange",
    "FileProgress",
    "FileRow",
    "Forbidden",
    "NotFound",
    "Notification",
    "Notifications",
    "Output",
    "PermanentError",
    "Progress",
    "RequestRejected",
    "Result",
    "Segment",
    "Segments",
    "SettingsError",
    "SmeltChange",
    "SmeltError",
    "SmeltFailed",
    "SmeltOptions",
    "SmeltRow",
    "Snapshot",
    "Subscription",
    "TransientError",
    "Unauthorized",
    "Unavailable",
    "Update",
    "UploadProgress",
    "blocking",
    "connect",
]

# Imported on first use: these modules take a third of a second to import.
_HOMES: Final = {
    "Batch": "smelt.contract.batches",
    "BatchProgress": "smelt.subscriber.updates",
    "CacheKey": "smelt.subscriber.mirror",
    "Client": "smelt.subscriber.client",
    "Completed": "smelt.subscriber.updates",
    "Connected": "smelt.subscriber.updates",
    "ConnectionIssue": "smelt.subscriber.updates",
    "Created": "smelt.contract.state",
    "Diagnostics": "smelt.subscriber.diagnostics",
    "Disconnected": "smelt.subscriber.updates",
    "Failed": "smelt.subscriber.updates",
    "Feed": "smelt.subscriber.feed",
    "FeedChange": "smelt.subscriber.mirror",
    "FileChange": "smelt.subscriber.mirror",
    "FileProgress": "smelt.contract.events",
    "FileRow": "smelt.contract.rows",
    "Notification": "smelt.contract.rows",
    "Notifications": "smelt.subscriber.notifications",
    "Progress": "smelt.subscriber.updates",
    "Output": "smelt.contract.events",
    "Result": "smelt.contract.events",
    "Segment": "smelt.contract.events",
    "Segments": "smelt.subscriber.updates",
    "SmeltChange": "smelt.subscriber.mirror",
    "SmeltOptions": "smelt.contract.options",
    "SmeltRow": "smelt.contract.rows",
    "Snapshot": "smelt.contract.state",
    "Subscription": "smelt.subscriber.subscription",
    "Update": "smelt.subscriber.updates",
    "UploadProgress": "smelt.subscriber.uploads",
    "connect": "smelt.subscriber.client",
}

logging.getLogger(__name__).addHandler(logging.NullHandler())


def __getattr__(name: str) -> object:
    if name == "blocking":
        return importlib.import_module("smelt.blocking")
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
