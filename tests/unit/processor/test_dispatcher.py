"""Posting to an external service: acceptance, backoff, and the checkpoint at which a worker resumes."""

from collections.abc import AsyncIterator, Iterator
from uuid import uuid4

import pytest

from smelt.contract.dispatch import DispatchedJob
from smelt.processor.dispatcher import Dispatcher
from smelt.processor.errors import NotAccepted
from smelt.processor.options import DispatchOptions
from smelt.processor.speech.breaker import CircuitBreaker
from smelt.processor.speech.checkpoint import START, read_checkpoint
from tests.harness.external_services import Service, running_service
from tests.harness.waiting import until

JOB = DispatchedJob(
    job_id=uuid4(),
    files=(),
    callback_url="",
    callback_token="",
    expires_at="2026-01-01T00:00:00Z",  # type: ignore[arg-type]
)


@pytest.fixture
def service() -> Iterator[Service]:
    with running_service() as running:
        yield running


@pytest.fixture
async def dispatcher(service: Service) -> AsyncIterator[Dispatcher]:
    options = DispatchOptions(url=service.url, gateway_url="", signing_keys=())
    made = Dispatcher(options, lambda: None, CircuitBreaker(min_delay_s=0.01))
    yield made
    await made.aclose()


async def rejected(dispatcher: Dispatcher) -> float | None:
    """Post a job that is not accepted; return the delay."""
    with pytest.raises(NotAccepted) as raised:
        await dispatcher.post(JOB)
    assert dispatcher.is_suspended
    return raised.value.retry_after_s


async def test_dispatch_backoff_doubles_until_a_job_is_accepted(dispatcher: Dispatcher, service: Service) -> None:
    service.status = 429
    delays = []
    for _ in range(3):
        delays.append(await rejected(dispatcher))
        await until(lambda: not dispatcher.is_suspended)
    assert delays == [0.01, 0.02, 0.04]
    service.status = 200
    await dispatcher.post(JOB)
    service.status = 302
    assert await rejected(dispatcher) == 0.01


@pytest.mark.parametrize(("header", "delay_s"), [("7", 7), ("9" * 30, 300), ("soon", 0.01), ("-5", 0.01)])
async def test_dispatch_backoff_is_at_least_retry_after(
    dispatcher: Dispatcher, service: Service, header: str, delay_s: float
) -> None:
    service.status, service.retry_after = 503, header
    assert await rejected(dispatcher) == delay_s


@pytest.mark.parametrize("url", ["http://127.0.0.1:9", "http://[::1", "http://127.0.0.1:9/\x00"])
async def test_dispatch_to_an_unreachable_address_is_not_accepted(url: str) -> None:
    dispatcher = Dispatcher(DispatchOptions(url=url, gateway_url="", signing_keys=()), lambda: None)
    assert await rejected(dispatcher) == 2
    await dispatcher.aclose()


def test_resume_from_an_external_service_begins_at_the_end_of_its_last_segment() -> None:
    found = read_checkpoint({"transcribed_s": 12.5, "segment_count": 4}).for_mode("another mode")
    assert (found.span_start, found.position, found.seek, found.segment_count) == (200_000, 200_000, 0, 4)
    assert read_checkpoint({"transcribed_s": "?"}) == START
