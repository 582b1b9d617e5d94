"""Somebody who watches a smelt and keeps all that is told."""

import asyncio
from uuid import UUID

from smelt.subscriber.client import Client
from smelt.subscriber.diagnostics import WatchReport
from smelt.subscriber.updates import Completed, Progress, Segments, Update


class WatchRecorder:
    """Takes every update of a watch as it comes."""

    def __init__(self, client: Client, smelt_id: UUID) -> None:
        self.updates: list[Update] = []
        self._client = client
        self._smelt_id = smelt_id
        self._task = asyncio.create_task(self._watch())

    @property
    def words(self) -> list[str]:
        """The transcript so far."""
        return [segment.text for update in self.updates if isinstance(update, Segments) for segment in update.segments]

    @property
    def percentage(self) -> float:
        """The highest so far, -1 before the first."""
        return max((update.percentage for update in self.updates if isinstance(update, Progress)), default=-1)

    @property
    def joined(self) -> bool:
        """Whether the channel of the smelt is joined now."""
        report = self._report()
        return report is not None and report.joined

    @property
    def rejoin_count(self) -> int:
        """How often the channel was joined after the first time, as long as the watch goes on."""
        report = self._report()
        return 0 if report is None else report.rejoin_count

    @property
    def over(self) -> bool:
        """Whether the watch has ended, with or without an error."""
        return self._task.done()

    @property
    def failed(self) -> bool:
        """Whether the watch has ended with an error."""
        return self.over and not self._task.cancelled() and self._task.exception() is not None

    async def end(self, timeout_s: float = 30) -> Completed:
        """The end, once the watch is over; everything before it has to be in order."""
        await asyncio.wait_for(self._task, timeout_s)
        *before, last = self.updates
        assert isinstance(last, Completed)
        assert not any(isinstance(update, Completed) for update in before)
        progress = [update for update in before if isinstance(update, Progress)]
        seqs = [update.seq for update in progress]
        assert seqs == sorted(seqs)
        percentages = [update.percentage for update in progress]
        assert percentages == sorted(percentages)
        return last

    async def stop(self) -> None:
        """Watch no more."""
        self._task.cancel()
        await asyncio.wait([self._task])

    async def _watch(self) -> None:
        async for update in self._client.watch(self._smelt_id):
            self.updates += [update]

    def _report(self) -> WatchReport | None:
        reports = self._client.diagnostics().watches
        return next((report for report in reports if report.smelt_id == self._smelt_id), None)
