"""Clients without a project, for the tests of code that uses smelt.

    async def test_my_view(smelt_client):            # the fixture comes with the package
        smelt = smelt_client.add("meeting.m4a")
        watching = asyncio.create_task(my_view(smelt_client, smelt.id))
        smelt.progress("transcribing", 40, eta_seconds=12)
        smelt.segments("Good morning.")
        smelt.complete("# Notes")
        await watching

`FakeClient` is a `smelt.Client`, and `FakeBlockingClient` (fixture `smelt_blocking_client`) a `smelt.blocking.Client`,
over a project in memory: the same methods with the same signatures. The test controls its smelts; `get`, the feed and
batches follow from them. The test also adds notifications (`add_notification`) and connection events
(`FakeSmelt.connection_event`). Limits, prompts and permissions are not checked, and files need not exist.
"""

from smelt.testing.clients import FakeBlockingClient, FakeClient
from smelt.testing.smelts import FakeSmelt

__all__ = ["FakeBlockingClient", "FakeClient", "FakeSmelt"]
