"""The proxy of a chaos run: Storage that fails, messages twice and late, and nothing of it once it is healed."""

from collections import Counter
from collections.abc import AsyncIterator
from random import Random

import httpx
import pytest

from smelt.backend.client_rpc import ClientRpc
from smelt.backend.project import Project
from smelt.backend.realtime import ChangesOf, ChannelEvent, RowChanged
from smelt.contract.channels import feed_channel
from smelt.contract.rows import RowChange
from tests.chaos.network import ChaosProxy, chaos_proxy
from tests.harness.stacks import TLS, Stack, sign_up
from tests.harness.waiting import until
from tests.harness.worker_harness import AppClient

BROADCASTS = 40
CHANGED_SMELTS = 20


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


async def test_proxy_delivers_changes_twice_and_out_of_order_but_those_of_a_file_in_order(
    stack: Stack, proxy: ChaosProxy
) -> None:
    user = sign_up(stack)
    received: list[RowChange] = []

    def on_event(event: ChannelEvent) -> None:
        if isinstance(event, RowChanged):
            received.append(RowChange.model_validate(event.change))

    async with Project(proxy.url, stack.anon_key, access_token=user.access_token) as project:
        bindings = [ChangesOf(table, f"user_id=eq.{user.id}") for table in ("smelts", "smelt_files")]
        channel = await project.realtime.join(feed_channel(user.id), on_event, changes=bindings)
        assert await channel.wait_joined(20)
        proxy.disorder()
        calls, created = ClientRpc(project.rpc), []
        for _ in range(CHANGED_SMELTS):
            created.append((await calls.create_smelt(text_input="Ship it on Monday.")).id)
            await calls.cancel_smelt(created[-1])
        # Each smelt and its file are inserted and updated.
        await until(lambda: len({(one.row_id, one.record["status"]) for one in received}) == 4 * CHANGED_SMELTS)
    inserted = [one.row_id for one in received if (one.table, one.type) == ("smelts", "INSERT")]
    assert max(Counter(inserted).values()) == 2
    assert list(dict.fromkeys(inserted)) != created
    for file_id in {one.row_id for one in received if one.table == "smelt_files"}:
        statuses = [one.record["status"] for one in received if one.row_id == file_id]
        assert list(dict.fromkeys(statuses)) == ["pending", "failed"]
        assert statuses == sorted(statuses, reverse=True)
