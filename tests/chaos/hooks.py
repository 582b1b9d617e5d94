"""The webhooks of a run: that of the project accepts all requests, that of a user fails, hangs and is slow at times."""

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from random import Random
from typing import Final
from uuid import UUID

from standardwebhooks import Webhook

from smelt.backend.project import Project
from smelt.backend.webhook_rpc import WebhookRpc
from smelt.contract.webhooks import WebhookWithSecret
from tests.chaos.clients import Owner
from tests.chaos.plan import Plan
from tests.chaos.site import Site
from tests.harness.proxies import FaultyProxy, faulty_proxy
from tests.harness.webhook_endpoints import Endpoint, ReceivedRequest, Respond, hang, raw, running_endpoint, status

FAILURE_SHARE: Final = 0.3
SLOW_SHARE: Final = 0.1
DELAYS_S: Final = (0.5, 5.0)
"""Below the timeout of a delivery, which a request that hangs reaches."""
PENDING: Final = """
select (payload -> 'data' ->> 'id')::uuid, (payload -> 'data' ->> 'run')::integer
from smelt.webhook_deliveries where webhook_id = %s and status = 'pending'
"""


@dataclass
class Hook:
    """A webhook with its endpoint, which belongs to the user, or to the project for None."""

    webhook: WebhookWithSecret
    endpoint: Endpoint
    user_id: UUID | None

    def ends(self) -> Counter[tuple[UUID, int]]:
        """Return the smelts and runs whose end was delivered; assert that each request is signed."""
        found = {}
        for request in self.endpoint.requests:
            assert _is_signed(request, self.webhook.secret), request
            data = json.loads(request.body)["data"]
            found[request.headers["webhook-id"]] = (UUID(data["id"]), data["run"])
        return Counter(found.values())

    async def pending_ends(self, site: Site) -> frozenset[tuple[UUID, int]]:
        """Return the smelts and runs whose end is not delivered yet: after a fault of a worker, the webhook waits."""
        return frozenset(tuple(row) for row in await site.database.rows(PENDING, self.webhook.id))


@dataclass
class Hooks:
    """All webhooks of a run; `network` is the proxy to the endpoint of the failing one."""

    accepting: Hook
    failing: Hook
    network: FaultyProxy

    def named(self) -> dict[str, Hook]:
        """Return the webhooks by name."""
        return {"accepting": self.accepting, "failing": self.failing}


def _is_signed(request: ReceivedRequest, secret: str) -> bool:
    """Return True if the signature is valid; `Webhook.verify` rejects requests that arrived five minutes ago."""
    sent_at = datetime.fromtimestamp(int(request.headers["webhook-timestamp"]), UTC)
    expected = Webhook(secret).sign(request.headers["webhook-id"], sent_at, request.body.decode())
    return expected in request.headers["webhook-signature"].split()


def failing_at_times(chance: Random) -> Respond:
    """Return a response that is late at times, and at times an error, no valid response, or none."""
    responses = (status(500), status(503), raw(b"nonsense\r\n\r\n"), raw(b""), hang)

    async def respond(endpoint: Endpoint, writer: asyncio.StreamWriter) -> None:
        if chance.random() < SLOW_SHARE:
            await asyncio.sleep(chance.uniform(*DELAYS_S))
        is_failing = chance.random() < FAILURE_SHARE
        await (chance.choice(responses) if is_failing else status(200))(endpoint, writer)

    return respond


@asynccontextmanager
async def running_hooks(site: Site, owner: Owner, plan: Plan) -> AsyncIterator[Hooks]:
    """Create both webhooks, with endpoints on this machine; delete them at the end."""
    stack, events = site.stack, ("smelt.completed", "smelt.failed")
    assert owner.user is not None
    async with AsyncExitStack() as opened:
        service = await opened.enter_async_context(Project(stack.api_url, stack.service_role_key))
        user = Project(stack.api_url, stack.anon_key, access_token=owner.access_token)
        user = await opened.enter_async_context(user)
        accepting = await opened.enter_async_context(running_endpoint(status(200)))
        failing = await opened.enter_async_context(running_endpoint(failing_at_times(plan.chance("webhook"))))
        network = await opened.enter_async_context(faulty_proxy(failing.url))
        hooks = []
        for project, endpoint, url in ((service, accepting, accepting.url), (user, failing, f"{network.url}/hook")):
            calls = WebhookRpc(project.rpc)
            webhook = await calls.create(url, events)
            opened.push_async_callback(calls.delete, webhook.id)
            hooks.append(Hook(webhook, endpoint, webhook.user_id))
        yield Hooks(*hooks, network)
