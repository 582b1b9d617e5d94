"""The disk of Storage in a chaos run: it rejects uploads while it is full, and accepts them again afterwards."""

import json
from pathlib import Path

import httpx
import pytest

from smelt.local import StackHandle
from tests.chaos.disks import STORAGE_DISK_FULL, filled, small_disks
from tests.harness.gateways import http_client


@pytest.mark.own_project("since it fills the disk of its Storage")
async def test_full_disk_of_storage_rejects_uploads_until_there_is_space(
    fresh_stack: StackHandle, tmp_path: Path
) -> None:
    service = {"Authorization": f"Bearer {fresh_stack.service_role_key}", "apikey": fresh_stack.service_role_key}
    with small_disks(fresh_stack, tmp_path) as disks:
        if STORAGE_DISK_FULL in disks.skipped:
            pytest.skip(disks.skipped[STORAGE_DISK_FULL])
        async with http_client(f"{fresh_stack.api_url}/storage/v1", service) as http:
            (await http.post("/bucket", json={"name": "b"})).raise_for_status()
            with filled(disks.mounted[STORAGE_DISK_FULL]):
                rejected = await http.post("/object/b/audio", content=bytes(1 << 20))
            assert (rejected.status_code, json.loads(rejected.content)["message"]) == (500, "The disk is full")
            assert (await http.post("/object/b/audio", content=bytes(1 << 20))).status_code == httpx.codes.OK
