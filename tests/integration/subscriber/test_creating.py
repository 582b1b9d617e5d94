"""Creating a smelt: recordings go up, and what goes wrong leaves nothing behind."""

from pathlib import Path
from uuid import uuid4

import httpx
import pytest
from hands import Hand
from stacks import Stack, User

from smelt.errors import NotFound, RequestRefused
from smelt.subscriber.client import Client, connect

GREETING = Path(__file__).parents[2] / "recordings" / "greeting.ogg"
QUESTION = Path(__file__).parents[2] / "recordings" / "question.ogg"


async def test_several_recordings_are_uploaded_and_submitted(client: Client, hand: Hand) -> None:
    created = await client.create(files=[GREETING, str(QUESTION)], prompts=["action_items"], mode="combine")
    assert [file.filename for file in created.files] == ["greeting.ogg", "question.ogg"]
    assert created.default_prompt_names == ("action_items",)
    assert (await client.get(created.id)).submitted_at is not None
    job = await hand.claim(created.id)
    assert all(file.object_version for file in job.claim.files)


async def test_a_text_needs_no_upload(client: Client) -> None:
    created = await client.create(text="Ship it on Monday.")
    assert (await client.get(created.id)).submitted_at is not None


async def test_a_smelt_can_be_submitted_later(client: Client) -> None:
    created = await client.create(files=[GREETING], submit=False)
    assert (await client.get(created.id)).submitted_at is None
    assert (await client.submit(created.id)).submitted_at is not None


async def test_the_same_key_goes_on_where_it_was_interrupted(client: Client) -> None:
    key = str(uuid4())
    first = await client.create(files=[GREETING], idempotency_key=key, submit=False)
    again = await client.create(files=[GREETING], idempotency_key=key)
    assert (await client.get(first.id)).submitted_at is not None
    third = await client.create(files=[GREETING], idempotency_key=key)
    assert first.id == again.id == third.id


async def test_a_file_that_is_not_there_creates_nothing(client: Client, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        await client.create(files=[GREETING, tmp_path / "missing.mp3"])


async def test_a_refused_request_carries_its_code(workshop: Stack) -> None:
    async with connect(workshop.api_url, workshop.anon_key) as visitor:
        with pytest.raises(RequestRefused) as refused:
            await visitor.create(files=[GREETING, QUESTION])
    assert refused.value.code == "too_many_files"


async def test_a_deleted_smelt_is_gone(client: Client) -> None:
    created = await client.create(text="Ship it on Monday.")
    await client.delete(created.id)
    with pytest.raises(NotFound):
        await client.get(created.id)


async def test_a_failed_upload_takes_its_smelt_along(
    client: Client, workshop: Stack, user: User, tmp_path: Path
) -> None:
    folder = tmp_path / "folder.mp3"  # It has a size, but nobody can read it.
    folder.mkdir()
    with pytest.raises(IsADirectoryError):
        await client.create(files=[folder])
    headers = {"apikey": workshop.anon_key, "Authorization": f"Bearer {user.access_token}"}
    async with httpx.AsyncClient(headers=headers) as http:
        response = await http.get(f"{workshop.api_url}/rest/v1/smelts", params={"select": "id"})
    assert response.json() == []
