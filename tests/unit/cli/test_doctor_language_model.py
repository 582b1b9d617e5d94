"""The doctor asks the language model of the settings, and says what to do about every way in which it fails."""

import asyncio

import pytest
from language_model import Answer, delayed, refused, serving
from starlette.responses import Response

from smelt.cli.checks import language_model
from smelt.cli.checks.finding import Finding
from smelt.cli.checks.machine import machine_findings
from smelt.processor.synthesis.llm.endpoint import EndpointOptions
from smelt.settings import WorkerSettings


async def asked(answer: Answer) -> Finding:
    async with serving(answer) as model:
        options = EndpointOptions(base_url=model.base_url, model="some", api_key="secret")
        return await language_model.language_model_finding(options)


async def test_a_model_that_answers_is_well_and_is_asked_as_a_worker_asks() -> None:
    async with serving(lambda _: "yes") as model:
        settings = WorkerSettings(llm_base_url=model.base_url, llm_model="some")
        findings = {finding.check: finding async for finding in machine_findings(settings)}
    assert findings["synthesis"].level == "ok"
    assert f"some at {model.base_url}" in findings["synthesis"].seen
    assert len(model.conversations) == 1


@pytest.mark.parametrize(
    ("answer", "level", "advice"),
    [
        (refused(401, "invalid_api_key"), "fail", "SMELT_LLM_API_KEY"),
        (refused(429, "insufficient_quota"), "fail", "billing"),
        (refused(429, "rate_limit_exceeded", {"retry-after": "0"}), "warn", "too many requests"),
        (refused(404, "model_not_found"), "fail", "SMELT_LLM_MODEL (there is m)"),
        (refused(500, "overloaded", {"retry-after": "0"}), "fail", "SMELT_LLM_BASE_URL"),
        (Response("<html>Welcome!</html>", media_type="text/html"), "fail", "SMELT_LLM_BASE_URL"),
    ],
)
async def test_every_fault_says_what_to_do(answer: Response, level: str, advice: str) -> None:
    finding = await asked(lambda _: answer)
    assert finding.level == level
    assert finding.advice is not None
    assert advice in finding.advice
    assert "secret" not in finding.seen + finding.advice


async def test_an_endpoint_that_is_not_there_is_named() -> None:
    options = EndpointOptions(base_url="http://127.0.0.1:9/v1", model="some")
    finding = await language_model.language_model_finding(options)
    assert finding.level == "fail"
    assert "http://127.0.0.1:9/v1" in finding.seen
    assert finding.advice is not None
    assert "SMELT_LLM_BASE_URL" in finding.advice


async def test_a_model_that_is_still_loading_is_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(language_model, "ANSWER_WITHIN_S", 0.1)
    loaded = asyncio.Event()

    async def slowly() -> str:
        await loaded.wait()
        return "yes"

    async with serving(lambda _: delayed(slowly())) as model:
        options = EndpointOptions(base_url=model.base_url, model="some")
        finding = await language_model.language_model_finding(options)
        loaded.set()
    assert finding.level == "warn"
