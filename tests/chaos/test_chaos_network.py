"""The proxy of a chaos run: Storage that fails, broadcasts twice and late, and nothing of it once it is healed."""

from collections import Counter
from collections.abc import AsyncIterator
from random import Random

import httpx
import pytest

from smelt.backend.project import Project
from tests.chaos.network import ChaosProxy, chaos_proxy
from tests.harness.stacks import TLS, Stack, sign_up
from tests.harness.waiting import until
from tests.harness.worker_harness import AppClient

BROADCASTS = 40


@pytest.fixture
async def proxy(stack: Stack) -> AsyncIterator[ChaosProxy]:
    async with chaos_proxy(stack.api_url, Random(1)) as proxy:
        yield proxy


async def test_proxy_fails_requests_of_storage_alone(stack: Stack, proxy: ChaosProxy) -> None:
    headers = {"apikey": stack.service_role_key}
    async with httpx.AsyncClient(base_url=proxy.url, headers=headers, verify=TLS) as http:
        # The connection is kept alive between these.
        assert (await http.get("/storage/v1/bucket")).status_code == 200
        proxy.fail_storage(544)
        assert (await http.post("/storage/v1/object/smelt-audio/a", content=bytes(1 << 20))).status_code == 544
        assert (await http.get("/storage/v1/bucket")).json()["statusCode"] == "544"
        assert (await http.get("/rest/v1/smelts")).status_code == 200
        proxy.heal()
        assert (await http.get("/storage/v1/bucket")).status_code == 200


async def test_proxy_delivers_broadcasts_twice_and_late_until_healed(stack: Stack, proxy: ChaosProxy) -> None:
    topic = f"smelt-notifications:{sign_up(stack).id}"
    async with Project(proxy.url, stack.service_role_key) as project, AppClient(project).subscribed(topic) as received:

        async def numbers_of_all() -> list[int]:
            received.clear()
            for number in range(BROADCASTS):
                await project.realtime.post(topic, "new_notification", {"number": number})
            await until(lambda: len({payload["number"] for _, payload in received}) == BROADCASTS)
            return [payload["number"] for _, payload in received]

        proxy.disorder()
        numbers = await numbers_of_all()
        assert max(Counter(numbers).values()) == 2
        assert numbers != sorted(numbers)
        proxy.heal()
        assert await numbers_of_all() == list(range(BROADCASTS))
