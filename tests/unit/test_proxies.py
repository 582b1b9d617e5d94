"""The proxy with the faults of networks leaves nothing open."""

from tests.harness.cancellation import cancel_at_every_await
from tests.harness.leaks import assert_no_leaks
from tests.harness.proxies import FaultyProxy


async def test_proxy_whose_start_is_cancelled_leaves_no_socket_once_stopped() -> None:
    async with assert_no_leaks():
        proxy = FaultyProxy("http://127.0.0.1:9")
        await proxy.start()
        await proxy.stop()
        assert await cancel_at_every_await(proxy.start, proxy.stop)
        await proxy.close()
