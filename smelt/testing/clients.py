"""The clients of a project in memory."""

import asyncio
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, aclosing
from datetime import UTC, datetime
from os import PathLike
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

from smelt import blocking
from smelt.backend.upload_source import File, UploadSource, open_sources
from smelt.contract.rows import Notification
from smelt.errors import PermanentError
from smelt.loop_thread import EventLoopThread
from smelt.subscriber.backlog import Item
from smelt.subscriber.client import Client
from smelt.subscriber.subscription import Followed
from smelt.subscriber.updates import Completed, Failed, Progress, Segments, Update
from smelt.testing.project import FakeCalls, FakeProject
from smelt.testing.smelts import FakeSmelt


class FakeClient(Client):
    """A `smelt.Client` of a project in memory; with `signed_in=False`, the client of a visitor."""

    def __init__(self, *, signed_in: bool = True) -> None:
        self._fake = FakeProject(signed_in=signed_in)
        super().__init__(self._fake)
        self._calls = FakeCalls(self._fake.rpc, self._fake)

    @property
    def smelts(self) -> Mapping[UUID, FakeSmelt]:
        """The smelts by id, which the test controls."""
        return self._fake.smelts

    def add(self, *filenames: str) -> FakeSmelt:
        """Add a smelt as if another client had created and submitted it."""
        smelt = FakeSmelt(*filenames)
        smelt.submitted_at = smelt.created_at
        self._fake.add_smelt(smelt)
        return smelt

    def add_notification(
        self,
        title: str,
        message: str = "",
        *,
        smelt_id: UUID | None = None,
        type: str = "smelt_completed",
        data: Mapping[str, Any] | None = None,
    ) -> Notification:
        """Add an unread notification of the user."""
        notification = Notification(
            id=uuid4(),
            user_id=self._fake.owner_id,
            smelt_id=smelt_id,
            type=type,
            title=title,
            message=message,
            data=dict(data or {}),
            created_at=datetime.now(UTC),
            seen_at=None,
            read_at=None,
        )
        self._fake.add_notification(notification)
        return notification

    async def aclose(self) -> None:
        """End all watches, subscriptions and feeds."""
        for smelt in self._fake.smelts.values():
            smelt.raise_error(PermanentError("the client is closed"))
        await super().aclose()

    def _open_sources(self, files: Sequence[File]) -> AbstractAsyncContextManager[list[UploadSource]]:
        # A file on disk need not exist.
        return open_sources([(Path(file).name, b"") if isinstance(file, str | PathLike) else file for file in files])

    def _open(self, smelt_id: UUID | str) -> Followed:
        return FakeWatch(self._fake, UUID(str(smelt_id)))


class FakeWatch:
    """The watch of a smelt of a project in memory."""

    def __init__(self, project: FakeProject, smelt_id: UUID) -> None:
        self.smelt_id = smelt_id
        self._project = project

    async def items(self) -> AsyncGenerator[Item, None]:
        """Yield every update and connection event; raise `NotFound` for a smelt that was not added."""
        async with aclosing(self._project.find(self.smelt_id).items()) as items:
            async for item in items:
                yield item

    async def updates(self) -> AsyncGenerator[Update, None]:
        """Yield updates without connection events."""
        async with aclosing(self.items()) as items:
            async for item in items:
                if isinstance(item, Progress | Segments | Completed | Failed):
                    yield item

    def refresh(self) -> asyncio.Future[None]:
        """Return a completed future: every update is delivered at once."""
        refreshed = asyncio.get_running_loop().create_future()
        refreshed.set_result(None)
        return refreshed


class FakeBlockingClient(blocking.Client):
    """A `smelt.blocking.Client` of a project in memory; smelts may change before and while they are watched."""

    def __init__(self, *, signed_in: bool = True) -> None:
        self._fake = FakeClient(signed_in=signed_in)
        super().__init__(EventLoopThread(), self._fake)

    @property
    def smelts(self) -> Mapping[UUID, FakeSmelt]:
        """The smelts by id, which the test controls."""
        return self._fake.smelts

    def add(self, *filenames: str) -> FakeSmelt:
        """Add a smelt as if another client had created and submitted it."""
        return self._fake.add(*filenames)

    def add_notification(
        self,
        title: str,
        message: str = "",
        *,
        smelt_id: UUID | None = None,
        type: str = "smelt_completed",
        data: Mapping[str, Any] | None = None,
    ) -> Notification:
        """Add an unread notification of the user."""
        return self._fake.add_notification(title, message, smelt_id=smelt_id, type=type, data=data)
