"""A refresh completes once a read that started after it is merged."""

from typing import cast
from uuid import UUID

from smelt.backend.client_rpc import SeenState
from smelt.backend.realtime import RealtimeConnection
from smelt.subscriber.reader import Reader
from smelt.subscriber.watch import Watch
from tests.harness.histories import Row, snapshot


class CountingReader:
    """A reader whose count of reads a test sets."""

    def __init__(self) -> None:
        self.read_count = 0

    def request_read(self, watched: object) -> None:
        """Ignore the request."""


async def test_refresh_waits_for_a_read_that_started_after_it() -> None:
    reader = CountingReader()
    watch = Watch(UUID(int=1), cast("RealtimeConnection", None), cast("Reader", reader), polling=True)
    reader.read_count = 1  # A read is in progress.
    refreshed, cancelled = watch.refresh(), watch.refresh()
    watch.merge_state(snapshot(Row()), SeenState(UUID(int=1)))
    assert not refreshed.done()
    cancelled.cancel()
    reader.read_count = 2
    watch.merge_state(snapshot(Row()), SeenState(UUID(int=1)))
    assert refreshed.done()
