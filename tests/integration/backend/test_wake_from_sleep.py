"""After the machine wakes from sleep, calls do not use connections from before."""

import asyncio

from smelt.backend.project import Project
from tests.harness.faults import waking_from_sleep
from tests.harness.proxies import faulty_proxy
from tests.harness.stacks import Stack


async def test_wake_from_sleep_opens_a_new_connection_for_the_next_call(stack: Stack) -> None:
    async with (
        faulty_proxy(stack.api_url) as proxy,
        Project(proxy.url, stack.service_role_key, timeout_s=600) as project,
    ):

        async def call() -> int:
            # Called once, so that a call on an old connection fails.
            await asyncio.wait_for(project.rpc.call_once("get_smelt_health"), 60)
            return proxy.accepted["rest"]

        before = max(await asyncio.gather(*(call() for _ in range(3))))
        assert await call() == before
        async with waking_from_sleep(proxy, []):
            assert await call() == before + 1
            assert await call() == before + 1
