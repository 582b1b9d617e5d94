"""The doctor checks the language model of the settings, and gives advice for each failure."""

import asyncio

import pytest
from starlette.responses import Response

from smelt.cli.checks import language_model
from smelt.cli.checks.machine import check_machine
from smelt.cli.checks.result import CheckResult
from smelt.processor.synthesis.llm.endpoint import EndpointOptions
from smelt.settings import WorkerSettings
from tests.harness.fake_llm import Responder, delayed_response, error_response, serving


async def llm_finding(response: Responder) -> CheckResult:
    async with serving(response) as model:
        options = EndpointOptions(base_url=model.base_url, model="some", api_key="secret")
        return await language_model.check_language_model(options)


async def test_doctor_llm_check_passes_with_one_request() -> None:
    async with serving(lambda _: "yes") as model:
        settings = WorkerSettings(llm_base_url=model.base_url, llm_model="some")
        results = {result.check: result async for result in check_machine(settings)}
    assert results["synthesis"].level == "ok"
    assert f"some at {model.base_url}" in results["synthesis"].observed
    assert len(model.conversations) == 1


@pytest.mark.parametrize(
    ("response", "level", "remedy"),
    [
        (error_response(401, "invalid_api_key"), "fail", "SMELT_LLM_API_KEY"),
        (error_response(429, "insufficient_quota"), "fail", "billing"),
        (error_response(429, "rate_limit_exceeded", {"retry-after": "0"}), "warn", "too many requests"),
        (error_response(404, "model_not_found"), "fail", "SMELT_LLM_MODEL (available: m)"),
        (error_response(500, "overloaded", {"retry-after": "0"}), "fail", "SMELT_LLM_BASE_URL"),
        (Response("<html>Welcome!</html>", media_type="text/html"), "fail", "SMELT_LLM_BASE_URL"),
    ],
)
async def test_doctor_llm_check_gives_advice_for_every_fault(response: Response, level: str, remedy: str) -> None:
    result = await llm_finding(lambda _: response)
    assert result.level == level
    assert result.remedy is not None
    assert remedy in result.remedy
    assert "secret" not in result.observed + result.remedy


async def test_doctor_llm_check_names_an_unreachable_endpoint() -> None:
    options = EndpointOptions(base_url="http://127.0.0.1:9/v1", model="some")
    result = await language_model.check_language_model(options)
    assert result.level == "fail"
    assert "http://127.0.0.1:9/v1" in result.observed
    assert result.remedy is not None
    assert "SMELT_LLM_BASE_URL" in result.remedy


async def test_doctor_llm_check_warns_about_a_model_that_is_loading(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(language_model, "RESPONSE_TIMEOUT_S", 0.1)
    loaded = asyncio.Event()

    async def slowly() -> str:
        await loaded.wait()
        return "yes"

    async with serving(lambda _: delayed_response(slowly())) as model:
        options = EndpointOptions(base_url=model.base_url, model="some")
        result = await language_model.check_language_model(options)
        loaded.set()
    assert result.level == "warn"
