"""A recorder of all updates of a watch."""

import asyncio
from uuid import UUID

from smelt.subscriber.client import Client
from smelt.subscriber.diagnostics import WatchReport
from smelt.subscriber.updates import Completed, Progress, Segments, Update


class WatchRecorder:
    """Watches a smelt in a task and records every update."""

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
        """The highest percentage so far, -1 before the first."""
        return max((update.percentage for update in self.updates if isinstance(update, Progress)), default=-1)

    @property
    def joined(self) -> bool:
        """True while the channel of the smelt is joined."""
        report = self._report()
        return report is not None and report.joined

    @property
    def rejoin_count(self) -> int:
        """The number of joins after the first one, while the watch runs."""
        report = self._report()
        return 0 if report is None else report.rejoin_count

    @property
    def over(self) -> bool:
        """True if the watch has ended, with or without an error."""
        return self._task.done()

    @property
    def failed(self) -> bool:
        """True if the watch has ended with an error."""
        return self.over and not self._task.cancelled() and self._task.exception() is not None

    async def end(self, timeout_s: float = 30) -> Completed:
        """Wait for the end of the watch and return its completion; assert that the updates before it are in order."""
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
        """Cancel the watch."""
        self._task.cancel()
        await asyncio.wait([self._task])

    async def _watch(self) -> None:
        async for update in self._client.watch(self._smelt_id):
            self.updates += [update]

    def _report(self) -> WatchReport | None:
        reports = self._client.diagnostics().watches
        return next((report for report in reports if report.smelt_id == self._smelt_id), None)
