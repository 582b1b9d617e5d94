"""The Storage server returns the responses that were recorded on the platform."""

import asyncio
import logging
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import psycopg
import pytest

from smelt.local import LocalStack
from tests.harness.stacks import POSTGREST
from tests.integration.local.storage_replay import RECORDINGS, Replay

logger = logging.getLogger(__name__)

SCENARIOS = (
    *("01_buckets", "02_upload", "03_signed_upload", "04_download", "05_list", "05_remove_move_copy", "06_tus"),
    "07_misc",
)

HASHED_NAMES = "file names are hashes of keys, so no key is too long for the disk"
GATEWAY = "the gateway handles CORS and the paths of other services"
NOT_SERVED = "returns 404 with a hint"
DIFFERENT = {
    "name: long 300 chars": HASHED_NAMES,
    "GET /version": "it has another version",
    "GET /metrics": "not implemented",
    "GET /documentation/json": "not implemented",
    "OPTIONS preflight /object/recordings/x": GATEWAY,
    "OPTIONS preflight /bucket": GATEWAY,
    "OPTIONS preflight /object/list/recordings": GATEWAY,
    "OPTIONS with CORS headers": GATEWAY,
    "cdn purge as alice": NOT_SERVED,
    "direct SQL delete is refused by trigger (psql)": "the recorded request is only `GET /version`",
}
"""Responses that are not compared, each with its reason."""


@dataclass
class Played:
    """The recordings played so far; each one depends on the state after the previous ones."""

    replay: Replay
    storage: Path
    outcomes: dict[str, tuple[int, list[str]]] = field(default_factory=dict)

    def outcome(self, scenario: str) -> tuple[int, list[str]]:
        """Return the number of compared responses of a scenario, and the differences."""
        preparations = _preparations(self.replay, self.storage)
        for name in SCENARIOS[len(self.outcomes) : SCENARIOS.index(scenario) + 1]:
            self.outcomes[name] = self.replay.play(name, preparations.get(name, {}), DIFFERENT)
        return self.outcomes[scenario]


@pytest.fixture(scope="module")
def played(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Played]:
    """A server of an empty project, before any recording."""
    project, folder = tmp_path_factory.mktemp("project"), tmp_path_factory.mktemp("stack")
    (project / "config.toml").write_text(
        '[storage]\nfile_size_limit = "50MiB"\n[api]\nallowed_origins = ["http://app.example"]\n'
    )
    stack = LocalStack(folder, migrations=project, postgrest=POSTGREST)
    with asyncio.Runner() as runner:
        runner.run(stack.__aenter__())
        try:
            with psycopg.connect(stack.admin_dsn, autocommit=True) as database:
                yield Played(Replay(stack.api_url, stack.jwt_secret, database), folder / "storage")
        finally:
            runner.run(stack.__aexit__(None, None, None))


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_storage_responses_match_the_recordings(scenario: str, played: Played) -> None:
    """Every recorded request gets the recorded response, and results in the recorded rows."""
    compared, differences = played.outcome(scenario)
    logger.info("%s: %s responses and rows compared", scenario, compared)
    assert compared > 0
    assert not differences, "\n".join(differences)


def _preparations(replay: Replay, storage: Path) -> Mapping[str, Mapping[str, Callable[[], object]]]:
    """Return the manual changes of database or files before a request, by its label."""

    def sql(text: str) -> Callable[[], object]:
        return lambda: replay.database.execute(text)

    def lose_file() -> None:
        row = replay.database.execute("select version from storage.objects where name like '%/gone.webm'").fetchone()
        assert row is not None
        for path in storage.glob(f"*/*/{row[0]}"):
            path.unlink()

    return {
        "01_buckets": {
            "get as authenticated with bucket SELECT policy": sql(
                "create policy b_sel on storage.buckets for select to authenticated using (id = 'limits')"
            ),
            "create as authenticated with INSERT policy": sql(
                "create policy b_ins on storage.buckets for insert to authenticated with check (name like 'user-%')"
            ),
        },
        "02_upload": {"POST raw": sql((RECORDINGS / "policies.sql").read_text())},
        "03_signed_upload": {
            "use: after the INSERT policy was dropped (no RLS at use)": sql("drop policy rec_ins on storage.objects"),
        },
        "04_download": {
            "seed": sql(
                "create policy rec_ins on storage.objects for insert to authenticated with check "
                "(bucket_id = 'recordings' and (storage.foldername(name))[1] = (select auth.uid()::text))"
            ),
            "GET of a row whose file is gone": lose_file,
        },
    }
