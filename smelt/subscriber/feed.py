"""The feed: changes of all smelts and files that the signed-in user owns."""

import asyncio
import inspect
import logging
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, TypeVar, assert_never
from uuid import UUID

from smelt.backend.project import Project
from smelt.backend.realtime import Broadcast, ChangesOf, LiveEvent, RowChanged
from smelt.backend.rpc import parse
from smelt.contract.channels import feed_channel
from smelt.contract.rows import FileRow, RowChange, SmeltRow, SmeltsDeleted
from smelt.errors import SmeltError
from smelt.subscriber.freshness import Freshness
from smelt.subscriber.live_iterator import LiveIterator
from smelt.subscriber.mirror import FAMILIES, CacheKey, Family, FeedChange, Pending, RowMirror, cache_keys_for

logger = logging.getLogger(__name__)

# While joined, live changes suffice; this read finds changes that even a healthy connection may lose.
LIVE_READ_S: Final = 300.0

OnInvalidate = Callable[[frozenset[CacheKey]], Awaitable[None] | None]
R = TypeVar("R", SmeltRow, FileRow)


@dataclass(frozen=True)
class FamilyReport:
    """The freshness of one family of cache keys; ages are in seconds, None for never.

    `changed_age_s` is the time since the last change, `read_age_s` since all rows were read.
    """

    family: Family
    freshness: Freshness
    changed_age_s: float | None
    read_age_s: float | None


class Feed(LiveIterator[FeedChange]):
    """The smelts and files of the signed-in user: an async context manager, and an async iterator of changes.

    Existing rows are emitted first, as inserts. `smelts` and `files` contain the newest state at any time. A slow
    consumer gets one merged change per row, with the last state that it has received as `before`. The iteration does
    not end by itself; it raises `Unauthorized` if the user may not, or no longer, read.
    """

    def __init__(self, project: Project, *, polling: bool, on_invalidate: Sequence[OnInvalidate] = ()) -> None:
        self._mirror = RowMirror()
        self._pending = Pending()
        super().__init__("feed", project.realtime, self._pending.pop, polling=polling, live_read_s=LIVE_READ_S)
        self._project = project
        self._hooks = list(on_invalidate)
        self._stale_keys: set[CacheKey] = set()
        self._changed_at: dict[Family, float] = {}
        self._stale = asyncio.Event()
        self._loaded = asyncio.Event()
        self._hook_task: asyncio.Task[None] | None = None
        self._user_id: UUID | None = None

    @property
    def smelts(self) -> Mapping[UUID, SmeltRow]:
        """The current smelts of the user by id."""
        return self._mirror.smelts

    @property
    def files(self) -> Mapping[UUID, FileRow]:
        """The current files of all smelts by id."""
        return self._mirror.files

    def on_invalidate(self, hook: OnInvalidate) -> None:
        """Add a function, plain or async, that is called with the cache keys to invalidate; one call at a time."""
        self._hooks.append(hook)

    def report(self) -> tuple[FamilyReport, ...]:
        """Return the freshness of each family of cache keys."""
        now = time.monotonic()
        read_at = self._reconciler.read_at
        return tuple(
            FamilyReport(
                family=family,
                freshness=self._reconciler.freshness,
                changed_age_s=None if family not in self._changed_at else now - self._changed_at[family],
                read_age_s=None if read_at is None else now - read_at,
            )
            for family in FAMILIES
        )

    async def close(self) -> None:
        """Stop; no hook is called afterwards, and the iteration raises `PermanentError`."""
        self._pending.clear()
        if self._hook_task is not None:
            self._hook_task.cancel()
        try:
            await super().close()
        finally:
            if self._hook_task is not None:
                await asyncio.wait([self._hook_task])

    async def loaded(self) -> None:
        """Wait until all rows were read once, or the iteration raises an error."""
        await self._loaded.wait()

    async def _join(self) -> None:
        self._user_id = await self._project.user_id()
        owner_filter = f"user_id=eq.{self._user_id}"
        changes = (ChangesOf("smelts", owner_filter), ChangesOf("smelt_files", owner_filter))
        await self._reconciler.start(self._realtime, feed_channel(str(self._user_id)), changes)
        self._hook_task = asyncio.create_task(self._run_hooks(), name="feed hooks")

    async def _read(self) -> None:
        mine = ("user_id", "eq", str(self._user_id))
        self._mirror.start_read()
        smelts = await self._project.rpc.rows("smelts", mine)
        files = await self._project.rpc.rows("smelt_files", mine)
        self._publish(self._mirror.merge_rows(_parsed(SmeltRow, smelts), _parsed(FileRow, files)))
        if self._mirror.is_uncertain:
            self._reconciler.request_gap_read()
        self._loaded.set()

    def _fail(self, error: SmeltError) -> None:
        super()._fail(error)
        self._loaded.set()

    def _merge(self, event: LiveEvent) -> None:
        match event:
            case RowChanged(change):
                self._merge_change(change)
            case Broadcast("smelts_deleted", payload):
                self._merge_deletion(payload)
            case Broadcast():
                pass
            case _:
                assert_never(event)

    def _merge_change(self, payload: object) -> None:
        try:
            change = self._mirror.merge_change(RowChange.model_validate(payload))
        except ValueError:  # Realtime sends rows that are too large without some columns.
            self._read_instead("a change of a row")
            return
        if change is not None:
            self._publish([change])

    def _merge_deletion(self, payload: object) -> None:
        try:
            deleted = SmeltsDeleted.model_validate(payload)
        except ValueError:
            self._read_instead("a deletion")
            return
        self._publish(self._mirror.merge_deletion(deleted.ids, time.monotonic()))

    def _read_instead(self, what: str) -> None:
        logger.info("%s is incomplete, reading all rows instead", what)
        self._reconciler.request_read()

    def _publish(self, changes: Sequence[FeedChange]) -> None:
        now = time.monotonic()
        for change in changes:
            self._pending.add(change)
            keys = cache_keys_for(change)
            self._stale_keys |= keys
            self._changed_at |= dict.fromkeys((key.family for key in keys), now)
        if changes:
            self._inbox.wake()
            self._stale.set()

    async def _run_hooks(self) -> None:
        while True:
            await self._stale.wait()
            self._stale.clear()
            keys, self._stale_keys = frozenset(self._stale_keys), set()
            for hook in list(self._hooks):
                try:
                    result = hook(keys)
                    if inspect.isawaitable(result):
                        await result
                except Exception:
                    logger.exception("a hook of the feed failed")


def _parsed(shape: type[R], rows: Sequence[object]) -> list[R]:
    return [parse(shape, row) for row in rows]
