"""`smelt serve` as a process: its start line, its drain, and its settings."""

import signal
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final

import httpx
import psutil
import pytest

from tests.acceptance.commands import smelt
from tests.acceptance.gateway_process import GatewayProcess, gateway_process
from tests.harness.gateways import SIGNING_KEY
from tests.harness.stacks import Stack, User, sign_up

MIB: Final = 1024 * 1024
FORM_HEAD: Final = b'--b\r\nContent-Disposition: form-data; name="file"; filename="a.wav"\r\n\r\n'
FORM_END: Final = b"\r\n--b--\r\n"


def form_headers(user: User) -> dict[str, str]:
    """Return the headers of a form of this user."""
    return {"Authorization": f"Bearer {user.access_token}", "Content-Type": "multipart/form-data; boundary=b"}


@pytest.fixture(scope="module")
def gateway(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayProcess]:
    """A gateway for tests that do not stop it."""
    env = {**stack.env(), "SMELT_LOG_LEVEL": "debug"}
    with gateway_process(env, tmp_path_factory.mktemp("gateway") / "log") as running:
        yield running


def test_serve_names_the_variable_of_an_invalid_setting(stack: Stack) -> None:
    done = smelt("serve", "--port", "0", env={**stack.env(), "SMELT_SIGNING_KEYS": f"{SIGNING_KEY}, short"})
    assert done.returncode == 2
    assert "SMELT_SIGNING_KEYS is invalid" in done.stderr
    assert "short" not in done.stderr


def test_serve_names_the_variables_of_an_address_that_is_in_use(stack: Stack, gateway: GatewayProcess) -> None:
    done = smelt("serve", "--port", gateway.url.rpartition(":")[2], env=stack.env())
    assert done.returncode == 2
    assert "SMELT_GATEWAY_PORT" in done.stderr


def test_serve_finishes_a_running_upload_after_sigterm_and_exits_with_0(stack: Stack, tmp_path: Path) -> None:
    user = sign_up(stack)
    with gateway_process(stack.env(), tmp_path / "log") as gateway:

        def slow_form() -> Iterator[bytes]:
            yield FORM_HEAD
            gateway.process.send_signal(signal.SIGTERM)
            for _ in range(10):
                time.sleep(0.1)
                yield b"RIFF"
            yield FORM_END

        response = httpx.post(f"{gateway.url}/api/smelts", content=slow_form(), headers=form_headers(user), timeout=60)
        assert response.status_code == 201, response.text
        assert response.json()["files"][0]["size_bytes"] == 40
        assert gateway.process.wait(30) == 0
    assert "draining" in gateway.log.read_text()


def test_serve_ends_an_upload_that_outlasts_the_drain(stack: Stack, tmp_path: Path) -> None:
    user = sign_up(stack)
    with gateway_process({**stack.env(), "SMELT_DRAIN_S": "1"}, tmp_path / "log") as gateway:

        def endless_form() -> Iterator[bytes]:
            yield FORM_HEAD
            gateway.process.send_signal(signal.SIGTERM)
            while gateway.process.poll() is None:
                time.sleep(0.05)
                yield b"RIFF"

        with suppress(httpx.WriteError):
            response = httpx.post(
                f"{gateway.url}/api/smelts", content=endless_form(), headers=form_headers(user), timeout=60
            )
            assert (response.status_code, response.json()["code"]) == (503, "unavailable")
        assert gateway.process.wait(30) == 0
    assert "POST /api/smelts 503" in gateway.log.read_text()


def test_serve_uploads_20_mib_with_flat_memory(stack: Stack, gateway: GatewayProcess) -> None:
    user = sign_up(stack)

    def form(mebibytes: int) -> Iterator[bytes]:
        yield FORM_HEAD
        for _ in range(mebibytes):
            yield b"\0" * MIB
        yield FORM_END

    process = psutil.Process(gateway.process.pid)
    for mebibytes in (1, 7):  # Loads the modules that uploads need.
        httpx.post(f"{gateway.url}/api/smelts", content=form(mebibytes), headers=form_headers(user), timeout=60)
    before = process.memory_info().rss
    peak_before = peak_bytes(process.pid)
    response = httpx.post(f"{gateway.url}/api/smelts", content=form(20), headers=form_headers(user), timeout=60)
    assert response.status_code == 201, response.text
    assert response.json()["files"][0]["size_bytes"] == 20 * MIB
    assert peak_bytes(process.pid) - max(before, peak_before) < 4 * MIB


def peak_bytes(pid: int) -> int:
    """Return the highest resident memory of a process so far."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) * 1024


def test_serve_logs_no_query_strings(gateway: GatewayProcess) -> None:
    httpx.get(f"{gateway.url}/api/smelts/11111111-1111-4111-8111-111111111111?token=geheim")
    httpx.get(f"{gateway.url}/nothing?token=geheim")
    log = gateway.log.read_text()
    assert "GET /api/smelts/11111111-1111-4111-8111-111111111111 40" in log
    assert "GET /nothing 404" in log
    assert "geheim" not in log
