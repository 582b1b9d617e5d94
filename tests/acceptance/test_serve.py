"""`smelt serve` as a process: its start line, its drain, and its settings."""

import signal
from pathlib import Path

import httpx
from commands import smelt
from gateway_process import gateway_process
from gateways import SIGNING_KEY
from stacks import Stack


def test_serve_logs_its_address_and_exits_with_0_after_sigterm(stack: Stack, tmp_path: Path) -> None:
    with gateway_process(stack.env(), tmp_path / "log") as gateway:
        assert httpx.get(f"{gateway.url}/readyz").status_code == 200
        gateway.process.send_signal(signal.SIGTERM)
        assert gateway.process.wait(30) == 0
    assert "draining" in gateway.log.read_text()


def test_serve_names_the_variable_of_an_invalid_setting(stack: Stack) -> None:
    done = smelt("serve", "--port", "0", env={**stack.env(), "SMELT_SIGNING_KEYS": f"{SIGNING_KEY}, short"})
    assert done.returncode == 2
    assert "SMELT_SIGNING_KEYS is invalid" in done.stderr
    assert "short" not in done.stderr


def test_serve_names_the_variables_of_an_address_that_is_in_use(stack: Stack, tmp_path: Path) -> None:
    with gateway_process(stack.env(), tmp_path / "log") as gateway:
        done = smelt("serve", "--port", gateway.url.rpartition(":")[2], env=stack.env())
    assert done.returncode == 2
    assert "SMELT_GATEWAY_PORT" in done.stderr
