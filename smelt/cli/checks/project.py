"""Checks whether the project responds, accepts the keys, and has everything that smelt needs."""

import time
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

import httpx
from pydantic import ValidationError

from smelt.backend.auth import ProjectAuth
from smelt.backend.client_rpc import ClientRpc
from smelt.backend.project import Project
from smelt.backend.tokens import TokenSource
from smelt.backend.worker_rpc import MAX_WAITING_COUNT, Health, WorkerRpc
from smelt.cli.bundled_migrations import migration_files, version_of
from smelt.cli.checks.policies import LOCAL_HOSTS, check_visitor_policies, check_worker_policies
from smelt.cli.checks.result import CheckResult, Level, run_check
from smelt.contract.channels import AUDIO_BUCKET
from smelt.contract.events import Model
from smelt.contract.schema_version import SCHEMA_VERSION, schema_issue
from smelt.errors import RequestRejected, SmeltError, Unauthorized, Unavailable

_PUSH: Final = "add the migrations to your project with `smelt init DIR`, then run `supabase db push --remote`"
_KEYS: Final = "copy it again from the project's API keys, or from `supabase status -o env`"
# PostgREST's code for an unknown function.
_NO_FUNCTION: Final = "PGRST202"
_TIMEOUT_S: Final = 10.0
_SKEW_S: Final = 30.0
_MAX_OUTBOX_AGE_S: Final = 60.0
_PLATFORM_HOSTS: Final = (".supabase.co", ".supabase.in", ".supabase.net")
_PLATFORM_IP_HEADER: Final = "cf-connecting-ip"


@dataclass(frozen=True, kw_only=True)
class Access:
    """The URL of a project, and the keys that are set."""

    url: str
    anon_key: str | None
    service_key: str | None


class _Bucket(Model):
    public: bool
    file_size_limit: int | None = None


async def check_project(access: Access) -> AsyncIterator[CheckResult]:
    """Yield the results of the checks of a project; skip checks that depend on a failed one."""
    reached = await _check_reachable(access)
    yield reached
    if reached.level == "fail":
        return
    levels: dict[str, Level] = {}
    if access.service_key is not None:
        async for result in _check_as_worker(access.url, access.service_key):
            levels[result.check] = result.level
            yield result
    if access.anon_key is not None:
        async for result in _check_as_visitor(access.url, access.anon_key, levels):
            yield result


async def _check_reachable(access: Access) -> CheckResult:
    check, started_s = "project", time.monotonic()
    try:
        async with httpx.AsyncClient(timeout=_TIMEOUT_S) as http:
            key = access.anon_key or access.service_key or ""
            response = await http.get(f"{access.url}/auth/v1/health", headers={"apikey": key})
    except (httpx.TransportError, httpx.InvalidURL) as exc:
        remedy = "check SUPABASE_URL and the network; `smelt local start` starts a project on this machine"
        return CheckResult(check, "fail", f"{access.url} does not respond ({exc})", remedy, unreachable=True)
    if response.is_server_error:
        remedy = "it may be paused or starting: check its dashboard, or `smelt local status`"
        return CheckResult(check, "fail", f"{access.url} returns HTTP {response.status_code}", remedy, unreachable=True)
    if response.status_code == httpx.codes.NOT_FOUND:
        return CheckResult(
            check, "fail", f"{access.url} is not a Supabase project", "check SUPABASE_URL, which must not have a path"
        )
    return CheckResult(check, "ok", f"{access.url} responds in {1000 * (time.monotonic() - started_s):.0f} ms")


async def _check_as_worker(url: str, key: str) -> AsyncIterator[CheckResult]:
    async with Project(url, key, timeout_s=_TIMEOUT_S) as project:
        started = datetime.now(UTC)
        try:
            health = await WorkerRpc(project.rpc).get_health()
        except RequestRejected as exc:
            yield CheckResult("service key", "ok", "accepted")
            yield _migrations_missing(exc)
            return
        except SmeltError as exc:
            yield _rejected_key("service key", "SUPABASE_SERVICE_ROLE_KEY", exc)
            return
        ended = datetime.now(UTC)
        yield CheckResult("service key", "ok", "accepted, with the rights of a worker")
        yield check_schema_version(health)
        yield check_migrations(health)
        yield check_clock(health, started, ended)
        yield check_queue(health)
        yield check_client_address(url, health)
        yield await run_check("bucket", _bucket(url, key, health), _PUSH)
        async for result in check_worker_policies(project, health.missing_partition):
            yield result


async def _check_as_visitor(url: str, key: str, levels: Mapping[str, Level]) -> AsyncIterator[CheckResult]:
    async with Project(url, key, timeout_s=_TIMEOUT_S) as project:
        try:
            await ClientRpc(project.rpc).get_smelts([])
        except RequestRejected as exc:
            yield CheckResult("anon key", "ok", "accepted")
            if levels.get("migrations", "fail") != "fail" or exc.code != _NO_FUNCTION:
                yield CheckResult("functions", "fail", f"an app can't call get_smelts: {exc}", _PUSH)
            return
        except SmeltError as exc:
            yield _rejected_key("anon key", "SUPABASE_ANON_KEY", exc)
            return
        yield await _anon_permissions(project)
        async for result in check_visitor_policies(project, key, can_broadcast=levels.get("broadcast") != "fail"):
            yield result


async def _anon_permissions(project: Project) -> CheckResult:
    try:
        await WorkerRpc(project.rpc).get_health()
    except Unauthorized:
        return CheckResult("anon key", "ok", "accepted, without the rights of a worker")
    except SmeltError as exc:
        return CheckResult(
            "anon key", "warn", f"accepted; its rights could not be checked: {exc}", "run `smelt doctor` again"
        )
    remedy = "set SUPABASE_ANON_KEY to the anon or publishable key; rotate the secret key if it was published in an app"
    return CheckResult("anon key", "fail", "this is the service role's key, which bypasses all policies", remedy)


def _rejected_key(check: str, variable: str, error: SmeltError) -> CheckResult:
    if isinstance(error, Unavailable):
        return CheckResult(check, "fail", str(error), "try again, or check the project's logs", unreachable=True)
    return CheckResult(check, "fail", f"{variable} is not accepted: {error}", _KEYS)


def _migrations_missing(error: RequestRejected) -> CheckResult:
    if error.code == _NO_FUNCTION:
        return CheckResult("migrations", "fail", "functions of smelt are missing in the project", _PUSH)
    return CheckResult("migrations", "fail", f"get_smelt_health failed: {error}", _PUSH)


def check_client_address(url: str, health: Health) -> CheckResult:
    """Warn if a visitor may set the header that contains the address: only the platform's proxy overwrites it."""
    check, host, header = "visitors", httpx.URL(url).host, health.client_ip_header
    if header is None:
        return CheckResult(check, "warn", "the header with their address is unknown", _PUSH)
    if header != _PLATFORM_IP_HEADER or host in LOCAL_HOSTS or host.endswith(_PLATFORM_HOSTS):
        return CheckResult(check, "ok", f"counted by the address in the header {header}")
    return CheckResult(
        check,
        "warn",
        f"counted by the header {header}, which only the platform overwrites, and {host} may be another server",
        "if it is not a custom domain of the platform, let your proxy set a header, "
        "and name it: update smelt.limits set client_ip_header = 'x-real-ip'",
    )


def check_schema_version(health: Health) -> CheckResult:
    """Compare the project's schema version with the one that this installation supports."""
    issue = schema_issue(health.schema_version, health.schema_compatible_from)
    if issue is not None:
        return CheckResult("schema", "fail", issue.observed, issue.remedy)
    return CheckResult(
        "schema", "ok", f"version {health.schema_version}; this installation is made for version {SCHEMA_VERSION}"
    )


def check_migrations(health: Health) -> CheckResult:
    """Compare the project's migration history with the migrations of this installation."""
    bundled = [version_of(path) for path in migration_files()]
    if health.migrations is None:
        return CheckResult(
            "migrations",
            "warn",
            "the project has no migration history; the applied versions are unknown",
            f"apply them with `supabase db push --remote`, up to {bundled[-1]}",
        )
    missing = [version for version in bundled if version not in health.migrations]
    if missing:
        return CheckResult("migrations", "fail", f"{len(missing)} not applied, the first is {missing[0]}", _PUSH)
    return CheckResult("migrations", "ok", f"all {len(bundled)} applied, up to {bundled[-1]}")


def check_clock(health: Health, started: datetime, ended: datetime) -> CheckResult:
    """Compare this machine's clock with the database's, which was read between `started` and `ended`."""
    uncertain_s = (ended - started).total_seconds() / 2
    skew_s = (health.now - started).total_seconds() - uncertain_s
    observed = f"this machine is {abs(skew_s):.1f} s {'behind' if skew_s > 0 else 'ahead of'} the database"
    if abs(skew_s) - uncertain_s > _SKEW_S:
        remedy = (
            "synchronize this machine's clock (NTP); leases use the database's, but the expiry of tokens is misjudged"
        )
        return CheckResult("clock", "warn", observed, remedy)
    return CheckResult("clock", "ok", observed)


def check_queue(health: Health) -> CheckResult:
    """Warn about pending smelts without a worker, suspended workers, and old messages in the outbox."""
    waiting = f"more than {MAX_WAITING_COUNT:,}" if health.waiting > MAX_WAITING_COUNT else health.waiting
    observed = f"{waiting} smelts waiting, {health.running} running, {health.workers} workers online"
    if health.waiting and not health.workers:
        return CheckResult(
            "queue",
            "warn",
            f"{observed}; the oldest has waited {health.oldest_waiting_s:.0f} s",
            "start a worker with `smelt worker`",
        )
    if health.suspended:
        return CheckResult(
            "queue",
            "warn",
            f"{observed}; {health.suspended} suspended: their model fails on their machine, so they claim nothing",
            "run `smelt doctor` there, and look for `model` in their logs: a smaller SMELT_MODEL may fit",
        )
    if health.oldest_unsent_s > _MAX_OUTBOX_AGE_S:
        remedy = "look for `not acknowledged` in the logs of the workers, and check the Realtime limits of your plan"
        return CheckResult(
            "queue", "warn", f"{observed}; a broadcast is unsent since {health.oldest_unsent_s:.0f} s", remedy
        )
    return CheckResult("queue", "ok", observed)


async def _bucket(url: str, key: str, health: Health) -> CheckResult:
    check = "bucket"
    try:
        async with httpx.AsyncClient(auth=ProjectAuth(key, TokenSource(key)), timeout=_TIMEOUT_S) as http:
            response = await http.get(f"{url}/storage/v1/bucket/{AUDIO_BUCKET}")
        bucket = _Bucket.model_validate_json(response.content)
    except httpx.TransportError as exc:
        raise Unavailable(f"Storage does not respond: {type(exc).__name__}") from exc
    except ValidationError:
        return CheckResult(check, "fail", f"{AUDIO_BUCKET} does not exist (HTTP {response.status_code})", _PUSH)
    if bucket.public:
        remedy = "make it private in the dashboard: anyone who knows its path can download a recording"
        return CheckResult(check, "fail", f"{AUDIO_BUCKET} is public", remedy)
    if bucket.file_size_limit is not None and bucket.file_size_limit < health.max_file_bytes:
        observed = (
            f"{AUDIO_BUCKET} accepts {bucket.file_size_limit} bytes per file, smelt.limits {health.max_file_bytes}"
        )
        return CheckResult(
            check, "warn", observed, "raise the limit of the bucket, or lower max_file_bytes in smelt.limits"
        )
    return CheckResult(check, "ok", f"{AUDIO_BUCKET} exists and is private")
