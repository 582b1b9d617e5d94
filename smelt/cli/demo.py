"""`smelt demo`: process a recording with an embedded stack and a worker, and stop both at the end."""

import asyncio
import os
import shutil
import sys
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, get_args
from uuid import UUID, uuid4

import typer
from rich.markup import escape

from smelt.cli.local import map_local_errors
from smelt.cli.models import fetch
from smelt.cli.output import OUT, Exit, run, visible, visible_controls
from smelt.contract.vocabulary import TranscriptFormat
from smelt.errors import PermanentError, SmeltError

if TYPE_CHECKING:
    from smelt.local import LocalStack
    from smelt.settings import WorkerSettings
    from smelt.subscriber.client import Client
    from smelt.transcripts.captions import CaptionLayout

STANDUP = Path(__file__).parent / "recordings" / "standup.ogg"
DEMO_FOLDER = Path(".smelt") / "demo"
"""Folder for the transcripts, the notes and the worker's log of a demo, relative to the current folder."""
WORKER_LOG = DEMO_FOLDER / "worker.log"
DEFAULT_MODEL = "base"
"""The model for recordings of the user; the bundled one knows only the words of the bundled recording."""


def demo(
    files: Annotated[
        list[Path] | None,
        typer.Argument(help="Recordings to process. Default: a bundled one.", exists=True, dir_okay=False),
    ] = None,
    web: Annotated[
        bool, typer.Option("--web", help="Serve the page of the gateway instead, for recordings of the browser.")
    ] = False,
) -> None:
    """Process a recording with a temporary Supabase stack.

    The stack runs on this machine; it needs no account and no Docker.
    """
    if web and files:
        raise typer.BadParameter("The page takes recordings itself: pass --web or files.")
    run(map_local_errors(_demo_web if web else lambda: _demo(files or [STANDUP])))


async def _demo(files: Sequence[Path]) -> Exit:
    from smelt.local import LocalStack
    from smelt.settings import CaptionSettings, LocalSettings, WorkerSettings

    layout = CaptionSettings.read().layout()
    OUT.rule("[bold]smelt demo")
    settings = WorkerSettings.read()
    env = {} if files == [STANDUP] or "model" in settings.model_fields_set else _default_model()
    if STANDUP not in files and not env:
        _print_notice(settings)
    _make_folder()
    started_s = time.monotonic()
    async with LocalStack(postgrest=LocalSettings.read().postgrest) as stack:
        OUT.print(f"Postgres, PostgREST and Realtime run at {stack.api_url} ({time.monotonic() - started_s:.1f} s)")
        async with _worker(stack, env) as worker_ended, _signed_up(stack) as client:
            following = asyncio.create_task(_smelt(client, files, layout))
            try:
                await asyncio.wait({following, worker_ended}, return_when=asyncio.FIRST_COMPLETED)
                if not following.done():
                    raise SmeltError(f"The worker exited early: {_last_line(WORKER_LOG)} (log: {WORKER_LOG})")
                return following.result()
            finally:
                following.cancel()
                await asyncio.wait({following})  # It must end before its client is closed.


async def _demo_web() -> Exit:
    """Run a stack, a worker and a gateway until Ctrl-C."""
    from smelt.cli.serve import serve_until_signal
    from smelt.gateway.options import GatewayOptions
    from smelt.gateway.server import GatewayServer, listen
    from smelt.local import LocalStack
    from smelt.settings import CaptionSettings, GatewaySettings, LocalSettings, WorkerSettings

    OUT.rule("[bold]smelt demo")
    settings = GatewaySettings.read()
    layout = CaptionSettings.read().layout()
    _make_folder()
    listener = listen(settings.gateway_host, settings.gateway_port)
    async with LocalStack(postgrest=LocalSettings.read().postgrest) as stack:
        options = GatewayOptions(url=stack.api_url, key=stack.anon_key, caption_layout=layout, drain_s=settings.drain_s)
        server = GatewayServer(options, listener)
        async with _worker(stack, {}) as worker_ended:
            serving = asyncio.create_task(serve_until_signal(server))
            _print_notice(WorkerSettings.read())
            OUT.print(f"The page: [bold]{server.address}/[/] (Ctrl-C stops it, and removes what was transcribed)")
            try:
                await asyncio.wait({serving, worker_ended}, return_when=asyncio.FIRST_COMPLETED)
                if not serving.done():
                    raise SmeltError(f"The worker exited early: {_last_line(WORKER_LOG)} (log: {WORKER_LOG})")
                return serving.result()
            finally:
                server.stop()
                await asyncio.wait({serving})


def _print_notice(settings: "WorkerSettings") -> None:
    """Print what the model is not made for, if it is the bundled one."""
    from smelt.processor.speech.demo_model_card import notice_of

    if (notice := notice_of(settings.model)) is not None:
        OUT.print(f"[yellow]{notice} For real speech, set for example SMELT_MODEL=small.")


def _make_folder() -> None:
    try:
        DEMO_FOLDER.mkdir(parents=True, exist_ok=True)
    except OSError as exc:
        raise PermanentError(
            f"{DEMO_FOLDER} can't be created ({exc.strerror}): run the demo in a folder that you can write to"
        ) from exc


def _default_model() -> dict[str, str]:
    """Return the environment of a worker with the model for real speech; fetch it if it is not on this machine."""
    from smelt.processor.speech.local_models import find_model

    model = find_model(DEFAULT_MODEL)
    if model is None or model.fault is not None:
        OUT.print(f"Fetching the model {DEFAULT_MODEL} for your recordings; the next demo finds it on this machine.")
        fetch(DEFAULT_MODEL)
    return {"SMELT_MODEL": DEFAULT_MODEL, "HF_HUB_OFFLINE": "1"}


async def _smelt(client: "Client", files: Sequence[Path], layout: "CaptionLayout") -> Exit:
    from smelt.cli.view import follow

    created = await client.create(files=files, prompts=["summarize", "action_items"], submit=False)
    names = {file.id: file.filename for file in created.files}
    OUT.print(f"Created smelt {created.id}: {', '.join(names.values())}\n", markup=False)
    starting = "Waiting for the worker to start..."
    code = await follow(client, created.id, names, as_json=False, submit=True, continues=False, no_worker=starting)
    folder = await _save_files(client, created.id, layout)
    OUT.rule()
    OUT.print(f"Transcript, captions and notes are in [bold]{folder}[/]. The stack stops now.")
    program = escape(_program())
    OUT.print(f"Next:  [bold]SMELT_MODEL=small {program} demo YOUR_RECORDING[/]")
    OUT.print(f"       [bold]{program} local start[/], for a stack that keeps running")
    return code


@asynccontextmanager
async def _signed_up(stack: "LocalStack") -> AsyncIterator["Client"]:
    """Sign up a user for this demo and yield a client; signed-in users may submit several files."""
    from supabase import AsyncClientOptions, create_async_client

    import smelt

    options = AsyncClientOptions(auto_refresh_token=False, persist_session=False)
    supabase = await create_async_client(stack.api_url, stack.anon_key, options)
    response = await supabase.auth.sign_up({"email": f"{uuid4()}@example.com", "password": str(uuid4())})
    if response.session is None:
        raise SmeltError("The embedded stack did not sign in the user of the demo.")
    async with smelt.connect(stack.api_url, stack.anon_key, access_token=response.session.access_token) as client:
        yield client


@asynccontextmanager
async def _worker(stack: "LocalStack", env: Mapping[str, str]) -> AsyncIterator[asyncio.Task[int]]:
    """Run `smelt worker` in a separate process, as on a server; yield a task that ends with the process."""
    with WORKER_LOG.open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "smelt", "worker"),
            env={**os.environ, **stack.env(), **env},
            stdin=asyncio.subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )
    ended = asyncio.create_task(process.wait())
    try:
        yield ended
    finally:
        if process.returncode is None:
            process.terminate()
        await ended


def _program() -> str:
    """Return the command that runs smelt: `smelt`, or its path if it is not on PATH, as in a checkout."""
    program, here = Path(sys.argv[0]), Path.cwd()
    if shutil.which("smelt"):
        return "smelt"
    return str(program.relative_to(here) if program.is_relative_to(here) else program)


def _last_line(log: Path) -> str:
    lines = log.read_text(errors="replace").strip().splitlines()
    return lines[-1].removeprefix("smelt: ") if lines else "it printed nothing"


async def _save_files(client: "Client", smelt_id: UUID, layout: "CaptionLayout") -> Path:
    """Save the transcripts, captions and results of a smelt below the current folder; return the folder."""
    from smelt.transcripts.formats import format_transcript

    snapshot = await client.get(smelt_id, with_words=True)
    names = file_stems([file.filename for file in snapshot.files])
    for name, file in zip(names, snapshot.files, strict=True):
        for form in get_args(TranscriptFormat):
            text = format_transcript(form, snapshot.segments_of(file.id), file, layout)
            (DEMO_FOLDER / f"{name}.{form}").write_text(visible_controls(text), encoding="utf-8")
        for result in snapshot.results or ():
            if result.file_id == file.id:
                (DEMO_FOLDER / f"{name}.md").write_text(visible_controls(result.content) + "\n", encoding="utf-8")
    return DEMO_FOLDER


def file_stems(filenames: Sequence[str]) -> list[str]:
    """Return the names without extension, with control characters escaped; add numbers if two are equal."""
    stems = [visible(Path(filename).stem) for filename in filenames]
    if len({stem.casefold() for stem in stems}) == len(stems):
        return stems
    return [f"{number}-{stem}" for number, stem in enumerate(stems, start=1)]
