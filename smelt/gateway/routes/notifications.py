"""Notifications of the signed-in user about the ends of smelts."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Query
from pydantic import Field

from smelt.contract.events import Model
from smelt.contract.rows import Notification
from smelt.gateway.callers import SignedInCaller
from smelt.gateway.errors import documented
from smelt.gateway.paging import Before, Limit, cursor_after

router = APIRouter(prefix="/api/notifications", tags=["notifications"])


class NotificationPage(Model):
    """A page of notifications, newest first; `next` is the `before` of the next page, None on the last one."""

    notifications: tuple[Notification, ...]
    next: str | None


class UnreadCount(Model):
    """The number of unread notifications."""

    unread: int


class Ids(Model):
    """The notifications to mark."""

    ids: Annotated[tuple[UUID, ...], Field(min_length=1, max_length=100)]


class Marked(Model):
    """The number of notifications that were not marked before."""

    marked: int


@router.get("", responses=documented())
async def list_notifications(
    caller: SignedInCaller,
    before: Before,
    limit: Limit = 50,
    unread: Annotated[bool, Query(description="List only unread ones.")] = False,
) -> NotificationPage:
    """List the caller's notifications, newest first."""
    found = await caller.calls.list_notifications(limit, only_unread=unread, before=before)
    return NotificationPage(notifications=found, next=cursor_after(found, limit))


@router.get("/unread-count", responses=documented())
async def count_unread(caller: SignedInCaller) -> UnreadCount:
    """Return the number of the caller's unread notifications."""
    return UnreadCount(unread=await caller.calls.count_unread())


@router.post("/seen", responses=documented(408, 413))
async def mark_seen(caller: SignedInCaller, ids: Ids) -> Marked:
    """Mark notifications as seen: shown in a list."""
    return Marked(marked=await caller.calls.mark_notifications("seen_at", ids.ids))


@router.post("/read", responses=documented(408, 413))
async def mark_read(caller: SignedInCaller, ids: Ids) -> Marked:
    """Mark notifications as read: opened."""
    return Marked(marked=await caller.calls.mark_notifications("read_at", ids.ids))
