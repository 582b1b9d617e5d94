"""The events of a batch: its progress, and a notification for every terminal smelt."""

import asyncio
from pathlib import Path
from typing import Any

from smelt.contract.channels import batch_channel, notifications_channel
from tests.harness.fake_llm import delayed_response, serving
from tests.harness.stacks import Stack, sign_up
from tests.harness.waiting import until
from tests.harness.worker_harness import RECORDINGS, app_client, running_worker


async def test_batch_ends_once_with_completed_failed_and_cancelled_members(project: Stack, tmp_path: Path) -> None:
    """Two members complete at the same time, one fails, and one is cancelled before a worker claims it."""
    bad = tmp_path / "bad.mp3"
    bad.write_bytes(b"not a recording at all\n" * 30)
    user = sign_up(project)
    together = asyncio.Barrier(2)

    async def with_the_other() -> str:
        await together.wait()
        return "It was decided."

    async with (
        app_client(project, user.access_token) as app,
        serving(lambda _: delayed_response(with_the_other())) as model,
    ):
        batch = await app.calls.create_batch("Interviews")
        good = [await app.create(RECORDINGS / name, batch_id=batch.id) for name in ("decision.ogg", "budget.ogg")]
        failing = await app.create(bad, batch_id=batch.id)
        cancelled = await app.create(RECORDINGS / "greeting.ogg", batch_id=batch.id)
        async with (
            app.subscribed(batch_channel(str(batch.id))) as batch_events,
            app.subscribed(notifications_channel(user.id)) as notified,
        ):
            for created in (cancelled, failing, *good):
                await app.calls.submit_smelt(created.id)
            await app.calls.cancel_smelt(cancelled.id)
            async with running_worker(
                project, tmp_path / "work", concurrency=3, llm_base_url=model.base_url, llm_model="m"
            ):
                await until(lambda: any(ended(batch) for batch in deduplicated(batch_events)))
                await until(lambda: len(deduplicated(notified)) == 4)
    # Two that were made at the same time may arrive in either order: receivers go by `seq`.
    counted = sorted(deduplicated(batch_events), key=lambda batch: int(batch["seq"]))
    assert len({batch["seq"] for batch in counted}) == len(counted)
    assert [ended(batch) for batch in counted] == [False] * (len(counted) - 1) + [True]
    last = counted[-1]
    assert (last["total"], last["completed"], last["failed"], last["progress"]) == (4, 2, 2, 100)
    assert last["status"] == "completed"
    assert {row["smelt_id"]: (row["type"], row["data"].get("error_code")) for row in deduplicated(notified)} == {
        **{str(created.id): ("smelt_completed", None) for created in good},
        str(failing.id): ("smelt_failed", "invalid_format"),
        str(cancelled.id): ("smelt_failed", "cancelled"),
    }


def deduplicated(received: list[tuple[str, dict[str, Any]]]) -> list[dict[str, Any]]:
    """Return each event once: a worker sends those of the database again."""
    return list({payload["event_id"]: payload for _, payload in received}.values())


def ended(batch: dict[str, Any]) -> bool:
    return batch["completed"] + batch["failed"] == batch["total"]
