"""Creation of smelts: recordings are uploaded, and a failure leaves no smelt."""

from pathlib import Path
from uuid import uuid4

import httpx
import pytest
from scripted_worker import ScriptedWorker
from stacks import Stack, User

from smelt.errors import NotFound, RequestRejected
from smelt.subscriber.client import Client, connect

GREETING = Path(__file__).parents[2] / "recordings" / "greeting.ogg"
QUESTION = Path(__file__).parents[2] / "recordings" / "question.ogg"


async def test_create_uploads_and_submits_several_recordings(client: Client, scripted_worker: ScriptedWorker) -> None:
    created = await client.create(files=[GREETING, str(QUESTION)], prompts=["action_items"], mode="combine")
    assert [file.filename for file in created.files] == ["greeting.ogg", "question.ogg"]
    assert created.default_prompt_names == ("action_items",)
    assert (await client.get(created.id)).submitted_at is not None
    job = await scripted_worker.claim(created.id)
    assert all(file.object_version for file in job.claim.files)


async def test_create_from_text_submits_without_an_upload(client: Client) -> None:
    created = await client.create(text="Ship it on Monday.")
    assert (await client.get(created.id)).submitted_at is not None


async def test_submit_can_be_called_after_create(client: Client) -> None:
    created = await client.create(files=[GREETING], submit=False)
    assert (await client.get(created.id)).submitted_at is None
    assert (await client.submit(created.id)).submitted_at is not None


async def test_idempotent_create_submits_a_smelt_that_is_not_submitted_yet(client: Client) -> None:
    key = str(uuid4())
    first = await client.create(files=[GREETING], idempotency_key=key, submit=False)
    again = await client.create(files=[GREETING], idempotency_key=key)
    assert (await client.get(first.id)).submitted_at is not None
    third = await client.create(files=[GREETING], idempotency_key=key)
    assert first.id == again.id == third.id


async def test_create_with_a_missing_file_raises_file_not_found(client: Client, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        await client.create(files=[GREETING, tmp_path / "missing.mp3"])


async def test_create_rejected_by_the_server_carries_its_error_code(shared_stack: Stack) -> None:
    async with connect(shared_stack.api_url, shared_stack.anon_key) as visitor:
        with pytest.raises(RequestRejected) as rejected:
            await visitor.create(files=[GREETING, QUESTION])
    assert rejected.value.code == "too_many_files"


async def test_delete_makes_get_raise_not_found(client: Client) -> None:
    created = await client.create(text="Ship it on Monday.")
    await client.delete(created.id)
    with pytest.raises(NotFound):
        await client.get(created.id)


async def test_upload_failure_deletes_the_smelt(
    client: Client, shared_stack: Stack, user: User, tmp_path: Path
) -> None:
    folder = tmp_path / "folder.mp3"  # It has a size, but cannot be read.
    folder.mkdir()
    with pytest.raises(IsADirectoryError):
        await client.create(files=[folder])
    headers = {"apikey": shared_stack.anon_key, "Authorization": f"Bearer {user.access_token}"}
    async with httpx.AsyncClient(headers=headers) as http:
        response = await http.get(f"{shared_stack.api_url}/rest/v1/smelts", params={"select": "id"})
    assert response.json() == []
