"""The tools of an operator: `smelt doctor`, logs, metrics and `smelt list`."""

import json
import re
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import psycopg
import pytest
from prometheus_client.parser import text_string_to_metric_families

from smelt import blocking
from smelt.local import StackHandle
from tests.acceptance.commands import STANDUP, smelt, submit, worker
from tests.harness.impostors import each_impostor
from tests.harness.stacks import Stack, running_local, sign_up
from tests.harness.waiting import wait_until

CHECKS = [
    *("settings", "project", "service key", "schema", "migrations", "clock", "queue", "visitors", "bucket"),
    *("broadcast", "wake-up channel", "changes", "anon key", "forbidden broadcast", "public channels"),
    *("foreign rows", "foreign channel"),
    *("model", "decoding", "synthesis", "disk"),
]

CheckResults = dict[str, dict[str, Any]]


@pytest.fixture(scope="module")
def own_stack() -> Iterator[StackHandle]:
    """A project whose policies and settings the tests may change."""
    with running_local() as stack:
        yield stack


@pytest.fixture(scope="module")
def bare_stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StackHandle]:
    """A project without smelt's migrations."""
    with running_local(tmp_path_factory.mktemp("supabase")) as stack:
        yield stack


def doctor(env: dict[str, str]) -> tuple[int, CheckResults]:
    """Run `smelt doctor --json`; return its exit code and its results by the names of the checks."""
    done = smelt("doctor", "--json", env=env)
    assert done.stderr == "", done.stderr
    listed = [json.loads(line) for line in done.stdout.splitlines()]
    assert all(result["level"] in {"ok", "warn", "fail"} for result in listed)
    assert all(result["remedy"] for result in listed if result["level"] != "ok")
    return done.returncode, {result["check"]: result for result in listed}


def levels(results: CheckResults, level: str) -> set[str]:
    return {check for check, result in results.items() if result["level"] == level}


@contextmanager
def changed(stack: StackHandle, change: str, back: str) -> Iterator[None]:
    """Run a SQL change as the owner, and undo it at the end."""
    with psycopg.connect(stack.db_url, autocommit=True) as owner:
        owner.execute(change.encode())
        try:
            yield
        finally:
            owner.execute(back.encode())


def test_doctor_passes_every_check_on_a_healthy_project(own_stack: StackHandle) -> None:
    code, results = doctor(own_stack.env())
    assert code == 0
    assert list(results) == CHECKS
    assert levels(results, "ok") == set(CHECKS) - {"model"}
    assert "words of the demo" in results["model"]["observed"]


def test_doctor_prints_readable_checks_and_remedies(own_stack: StackHandle) -> None:
    done = smelt("doctor", env=own_stack.env())
    assert done.returncode == 0, done.stderr
    assert re.search(r"^ok    migrations: all \d+ applied", done.stdout, re.MULTILINE)
    assert "→ for real speech, set for example SMELT_MODEL=small" in done.stdout


@pytest.mark.parametrize("key", ["sb_secret_wrong", "eyJhbGciOiJIUzI1NiJ9.e30.c2lnbmF0dXJl"])
def test_doctor_reports_a_wrong_service_key(own_stack: StackHandle, key: str) -> None:
    code, results = doctor({**own_stack.env(), "SUPABASE_SERVICE_ROLE_KEY": key})
    assert code == 2
    assert levels(results, "fail") == {"service key"}
    assert "SUPABASE_SERVICE_ROLE_KEY" in results["service key"]["observed"]


def test_doctor_reports_swapped_keys_without_printing_them(own_stack: StackHandle) -> None:
    anon, service = own_stack.anon_key, own_stack.service_role_key
    code, results = doctor({**own_stack.env(), "SUPABASE_ANON_KEY": service, "SUPABASE_SERVICE_ROLE_KEY": anon})
    assert code == 2
    assert {"anon key", "service key"} <= levels(results, "fail")
    assert "bypasses all policies" in results["anon key"]["observed"]
    assert not any(key in json.dumps(results) for key in (anon, service))


def test_doctor_advises_db_push_when_migrations_are_missing(bare_stack: StackHandle) -> None:
    code, results = doctor(bare_stack.env())
    assert code == 2
    assert levels(results, "fail") == {"migrations"}
    assert "supabase db push" in results["migrations"]["remedy"]


def test_doctor_names_a_missing_migration_version(own_stack: StackHandle) -> None:
    history = "supabase_migrations.schema_migrations"
    with changed(
        own_stack,
        f"create temp table gone as select * from {history} order by version limit 1;"
        f"delete from {history} where version in (select version from gone)",
        f"insert into {history} select * from gone",
    ):
        code, results = doctor(own_stack.env())
    assert code == 2
    assert levels(results, "fail") == {"migrations"}
    assert "20261120000100" in results["migrations"]["observed"]


def test_doctor_reports_open_policies_grants_and_bucket(own_stack: StackHandle) -> None:
    with changed(
        own_stack,
        "create policy oops_send on realtime.messages for insert to anon with check (true);"
        "create policy oops_listen on realtime.messages for select to anon using (true);"
        "grant select on public.smelts to anon;"
        "update storage.buckets set public = true where id = 'smelt-audio'",
        "drop policy oops_send on realtime.messages;"
        "drop policy oops_listen on realtime.messages;"
        "revoke select on public.smelts from anon;"
        "update storage.buckets set public = false where id = 'smelt-audio'",
    ):
        code, results = doctor(own_stack.env())
    assert code == 2
    assert levels(results, "fail") == {"forbidden broadcast", "foreign channel", "foreign rows", "bucket"}


def test_doctor_warns_when_realtime_does_not_read_changes(own_stack: StackHandle) -> None:
    with changed(
        own_stack,
        "alter publication supabase_realtime drop table public.smelts",
        "alter publication supabase_realtime add table public.smelts",
    ):
        code, results = doctor(own_stack.env())
    assert code == 0
    assert levels(results, "warn") == {"changes", "model"}
    assert "supabase_realtime" in results["changes"]["remedy"]


def test_doctor_exits_3_when_the_project_is_unreachable() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # Bound but not listening: the port stays taken, and connections are refused.
        url = f"http://127.0.0.1:{taken.getsockname()[1]}"
        code, results = doctor({"SUPABASE_URL": url, "SUPABASE_ANON_KEY": "key"})
    assert code == 3
    assert levels(results, "fail") == {"project"}
    assert results["decoding"]["level"] == "ok"


def test_doctor_reports_invalid_settings(tmp_path: Path) -> None:
    code, results = doctor({"SMELT_LEASE_S": "soon", "SUPABASE_URL": "ftp://example.com"})
    assert code == 2
    assert levels(results, "fail") == {"settings"}


@pytest.mark.parametrize(
    ("name", "value", "check"),
    [
        ("SMELT_MODEL", "gigantic", "model"),
        ("SMELT_LLM_MODEL", "some", "synthesis"),
        ("SMELT_TEMP_DIR", "/proc/nowhere", "disk"),
    ],
)
def test_doctor_names_the_setting_of_an_unusable_model_llm_or_disk(name: str, value: str, check: str) -> None:
    code, results = doctor({name: value})
    assert code == 2
    assert levels(results, "fail") == {"settings", check}
    assert name in results[check]["observed"] + results[check]["remedy"]


@pytest.fixture(scope="module")
def observed(
    own_stack: StackHandle, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[list[dict[str, Any]], str]]:
    """The log and the metrics of a worker with a JSON log, after one smelt."""
    log = tmp_path_factory.mktemp("observed") / "log"
    env = {**own_stack.env(), "SMELT_LOG_FORMAT": "json", "SMELT_METRICS_PORT": "0", "SMELT_LOG_LEVEL": "DEBUG"}
    with worker(env, log):
        code, _ = submit(STANDUP, env=own_stack.env())
        assert code == 0
        wait_until(lambda: "settled: complete" in log.read_text(), "the end in the log")
        url = re.search(r"http://127\.0\.0\.1:\d+/metrics", log.read_text())
        assert url is not None
        yield [json.loads(line) for line in log.read_text().splitlines()], httpx.get(url[0]).text


def test_doctor_prints_the_attempts_of_a_smelt(own_stack: StackHandle, tmp_path: Path) -> None:
    env = own_stack.env()
    with worker(env | {"SMELT_HOST": "machine-7"}, tmp_path / "log"):
        code, lines = submit(STANDUP, env=env)
        assert code == 0
    smelt_id = lines[-1]["smelt_id"]
    done = smelt("doctor", smelt_id, env=env)
    assert (done.returncode, done.stderr) == (0, "")
    head, attempt = done.stdout.splitlines()
    assert head == f"smelt {smelt_id}: completed; run 1"
    assert re.fullmatch(r"attempt 1 \(run 1\), .* host machine-7, worker .*: settled", attempt)
    known = json.loads(smelt("doctor", smelt_id, "--json", env=env).stdout)
    [row] = known["attempts"]
    assert (row["host"], row["ended_as"], row["risk"]) == ("machine-7", "settled", None)

    unknown = smelt("doctor", str(uuid4()), env=env)
    assert (unknown.returncode, "does not exist" in unknown.stderr) == (2, True)
    without_key = {name: value for name, value in env.items() if name != "SUPABASE_SERVICE_ROLE_KEY"}
    assert smelt("doctor", smelt_id, env=without_key).returncode == 2


def test_log_lines_about_a_smelt_carry_its_id_and_attempt(observed: tuple[list[dict[str, Any]], str]) -> None:
    lines, _ = observed
    about = [line for line in lines if "smelt_id" in line]
    assert {"claimed, run 1", "settled: complete"} <= {
        part for line in about for part in ("claimed, run 1", "settled: complete") if part in line["message"]
    }
    assert {line["attempt"] for line in about} == {1}
    assert len({line["smelt_id"] for line in about}) == 1


def test_log_contains_no_secret_at_debug_level(
    observed: tuple[list[dict[str, Any]], str], own_stack: StackHandle
) -> None:
    text = json.dumps(observed[0])
    for secret in (own_stack.service_role_key, own_stack.anon_key, own_stack.jwt_secret, "token="):
        assert secret not in text


def test_metrics_count_claims_stages_queue_and_outcomes(observed: tuple[list[dict[str, Any]], str]) -> None:
    samples = {
        (sample.name, *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(observed[1])
        for sample in family.samples
    }
    assert samples["smelt_claims_total",] == 1
    assert samples["smelt_endings_total", "complete"] == 1
    assert samples["smelt_leases_lost_total",] == 0
    for stage in ("validating", "decoding", "transcribing", "synthesizing"):
        assert samples["smelt_stage_seconds_count", stage] == 1
        assert samples["smelt_stage_seconds_sum", stage] > 0
    assert 0 < samples["smelt_realtime_factor",] < 10
    for name in ("smelt_queue_depth", "smelt_queue_age_seconds", "smelt_outbox_age_seconds"):
        assert samples[name,] >= 0
    assert samples["smelt_workers",] >= 0
    assert not any(name[0] == "smelt_broadcast_failures_total" for name in samples)


def test_metrics_port_already_taken_ends_the_worker_with_exit_2(own_stack: StackHandle) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        done = smelt("worker", "--once", env={**own_stack.env(), "SMELT_METRICS_PORT": port})
    assert done.returncode == 2
    assert f"SMELT_METRICS_PORT={port}" in done.stderr


@each_impostor
def test_worker_starts_and_ends_beside_a_planted_lock(
    plant: Callable[[Path], None], own_stack: StackHandle, tmp_path: Path
) -> None:
    """Other users may create any file in the shared temporary folder that contains the worker's folder."""
    planted = tmp_path / "temporary" / "smelt-worker-x"
    planted.mkdir(parents=True)
    plant(planted / "lock")
    with worker(own_stack.env() | {"TMPDIR": str(planted.parent)}, tmp_path / "log"):
        pass
    assert planted.exists()


def test_list_shows_only_own_smelts_newest_first(stack: Stack) -> None:
    one, other = sign_up(stack), sign_up(stack)
    env = {**stack.env(), "SMELT_ACCESS_TOKEN": one.access_token}
    created = [
        json.loads(smelt("submit", "--text", text, "--json", env=env).stdout.splitlines()[0])["id"]
        for text in ("first", "second", "third")
    ]
    listed = smelt("list", "--json", env=env)
    assert listed.returncode == 0, listed.stderr
    rows = [json.loads(line) for line in listed.stdout.splitlines()]
    assert [row["id"] for row in rows] == created[::-1]
    assert [file["filename"] for file in rows[0]["files"]] == ["text"]
    assert len(smelt("list", "-n", "2", "--json", env=env).stdout.splitlines()) == 2
    assert created[2] in smelt("list", env=env).stdout
    assert "No smelts yet" in smelt("list", env={**env, "SMELT_ACCESS_TOKEN": other.access_token}).stdout


def test_list_with_the_service_key_shows_the_smelts_of_all_users(stack: Stack) -> None:
    user = sign_up(stack)
    owned, ownerless = [
        json.loads(smelt("submit", "--text", "Ship it.", "--json", env=env).stdout)["id"]
        for env in ({**stack.env(), "SMELT_ACCESS_TOKEN": user.access_token}, stack.env())
    ]
    assert smelt("cancel", owned, env={**stack.env(), "SMELT_ACCESS_TOKEN": user.access_token}).returncode == 0
    rows = [json.loads(line) for line in smelt("list", "--json", "-n", "1000", env=stack.env()).stdout.splitlines()]
    owners = {row["id"]: (row["user_id"], row["error_code"]) for row in rows}
    assert (owners[owned], owners[ownerless]) == ((user.id, "cancelled"), (None, None))
    printed = smelt("list", env={**stack.env(), "COLUMNS": "200"}).stdout
    assert re.search(rf"\d+ s +{owned} +{user.id} +cancelled +text", printed), printed
    assert re.search(rf"\d+ s +{ownerless} +visitor +pending +text", printed), printed
    still_open = smelt("list", "--open", "--json", "-n", "1000", env=stack.env()).stdout
    assert ownerless in still_open
    assert owned not in still_open


def test_list_without_login_and_service_key_names_the_remedies(stack: Stack) -> None:
    env = {name: value for name, value in stack.env().items() if name != "SUPABASE_SERVICE_ROLE_KEY"}
    done = smelt("list", env=env)
    assert done.returncode == 2
    assert "smelt login" in done.stderr


def test_too_many_open_names_how_to_see_which_are_open(own_stack: StackHandle) -> None:
    user = sign_up(own_stack)
    env = {**own_stack.env(), "SMELT_ACCESS_TOKEN": user.access_token}
    with blocking.connect(own_stack.api_url, own_stack.anon_key, user.access_token) as client:
        client.create(files=[STANDUP], submit=False)
    with changed(own_stack, "update smelt.limits set max_open = 1", "update smelt.limits set max_open = default"):
        done = smelt("submit", "--text", "one too many", "--json", env=env)
    line = json.loads(done.stdout)
    assert (done.returncode, line["code"]) == (2, "too_many_open")
    assert "`smelt list --open`" in line["message"]
