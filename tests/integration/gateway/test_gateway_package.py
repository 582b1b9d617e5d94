"""The JavaScript package and the page as the gateway serves them."""

from dataclasses import replace

import httpx
import pytest

from smelt.js_package import package_files, packed_package
from tests.harness.gateways import options_for, running_gateway
from tests.harness.stacks import Stack

STATES = "/api/smelts/states"


async def test_modules_of_the_package_are_served_to_pages_of_any_origin(visitor: httpx.AsyncClient) -> None:
    entry = await visitor.get("/smelt.js")
    assert entry.text == "export * from './smelt-js/index.js'\n"
    for name, content in package_files().items():
        response = await visitor.get(f"/smelt-js/{name}")
        if name.endswith((".js", ".json", ".ts")):
            assert (response.status_code, response.content) == (200, content), name
            assert response.headers["Access-Control-Allow-Origin"] == "*"
    assert (await visitor.get("/smelt-js/index.js")).headers["Content-Type"] == "text/javascript; charset=utf-8"


async def test_archive_for_npm_is_that_of_the_command_and_is_validated(visitor: httpx.AsyncClient) -> None:
    response = await visitor.get("/smelt-js.tgz")
    assert (response.content, response.headers["Content-Type"]) == (packed_package(), "application/gzip")
    assert response.headers["Cache-Control"] == "no-cache"
    again = await visitor.get("/smelt-js.tgz", headers={"If-None-Match": response.headers["ETag"]})
    assert (again.status_code, again.content) == (304, b"")


@pytest.mark.parametrize(
    "path",
    [
        "/smelt-js/missing.js",
        "/smelt-js/page/page.js",
        "/smelt-js/%2e%2e/js_package.py",
        "/page/..%2findex.js",
        "/page/index.html",
    ],
)
async def test_other_files_are_not_found(visitor: httpx.AsyncClient, path: str) -> None:
    assert (await visitor.get(path)).status_code == 404


async def test_page_may_load_its_own_files_and_call_the_project_alone(
    visitor: httpx.AsyncClient, shared_stack: Stack
) -> None:
    page = await visitor.get("/")
    assert page.headers["Content-Type"] == "text/html; charset=utf-8"
    policy = dict(part.split(" ", 1) for part in page.headers["Content-Security-Policy"].split("; "))
    assert policy["connect-src"] == f"'self' {shared_stack.api_url}"
    assert policy["default-src"] == "'none'"
    assert policy["script-src"] == policy["style-src"] == "'self'"
    config = (await visitor.get("/config.json")).json()
    assert config == {"url": shared_stack.api_url, "key": shared_stack.anon_key, "read_tokens": True}


def test_public_url_of_the_project_is_the_one_for_browsers_alone(shared_stack: Stack) -> None:
    # The gateway itself must not use it: nothing listens there.
    public_url = "http://127.0.0.1:9"
    with (
        running_gateway(options_for(shared_stack, public_url=public_url)) as other,
        httpx.Client(base_url=other.url, timeout=30) as http,
    ):
        assert http.get("/config.json").json() == {
            "url": public_url,
            "key": shared_stack.anon_key,
            "read_tokens": True,
        }
        assert f"connect-src 'self' {public_url};" in http.get("/").headers["Content-Security-Policy"]
        assert http.get("/readyz").status_code == 200


def test_policy_of_the_page_cannot_be_extended_by_the_url_of_the_project(shared_stack: Stack) -> None:
    options = replace(options_for(shared_stack), url=f"{shared_stack.api_url}/path;script-src *")
    with running_gateway(options) as other:
        policy = httpx.get(other.url, timeout=30).headers["Content-Security-Policy"]
    assert f"connect-src 'self' {shared_stack.api_url};" in policy
    assert "*" not in policy


async def test_states_of_many_smelts_are_read_in_one_request(
    owner: httpx.AsyncClient, visitor: httpx.AsyncClient
) -> None:
    created = [(await owner.post("/api/smelts", json={"text": f"note {n}"})).json()["id"] for n in range(2)]
    read = (await owner.post(STATES, json={"smelts": [{"id": one} for one in created]})).json()
    assert [state["id"] for state in read["smelts"]] == created
    seq = read["smelts"][0]["seq"]
    known = {"id": created[0], "after_seq": seq, "segments_after": 0}
    (unchanged,) = (await owner.post(STATES, json={"smelts": [known]})).json()["smelts"]
    assert "status" not in unchanged
    assert unchanged["seq"] == seq
    assert (await visitor.post(STATES, json={"smelts": [{"id": created[0]}]})).json()["missing"] == created[:1]
    assert (await owner.post(STATES, json={"smelts": [{"id": created[0]}] * 201})).status_code == 422
    assert (await owner.post(STATES, json={"smelts": [{"id": created[0], "after_seq": 2**63}]})).status_code == 422
