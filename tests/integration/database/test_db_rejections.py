"""PostgREST writes the message of a rejection into the status line of HTTP: it must not become a header or a body."""

import httpx
import pytest

from tests.harness.stacks import Stack

PROMPT_NAMES = {
    "a header": "x\r\nSet-Cookie: stolen=1",
    "a response": "x\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}",
    "a line feed": "x\nSet-Cookie: stolen=1",
    "an escape sequence": "\x1b[2J\x7f\x9b31m",
    "a line separator": "\u2028\u2029\x85",
    "a long name": "ü" * 100_000,
}


@pytest.mark.parametrize("name", PROMPT_NAMES.values(), ids=PROMPT_NAMES)
def test_rejection_with_hostile_input_reaches_the_client_as_one_plain_response(stack: Stack, name: str) -> None:
    response = httpx.post(
        f"{stack.api_url}/rest/v1/rpc/create_smelt",
        json={"text_input": "notes", "default_prompt_names": [name]},
        headers={"apikey": stack.anon_key, "Authorization": f"Bearer {stack.anon_key}"},
    )
    assert response.status_code == 400
    assert response.headers["content-type"].startswith("application/json")
    assert "set-cookie" not in response.headers
    error = response.json()
    assert (error["code"], error["hint"]) == ("PT400", "prompt_not_found")
    assert error["message"].isprintable()
    assert len(error["message"]) <= 400
