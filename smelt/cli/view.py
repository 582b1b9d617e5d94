"""Views of a running smelt: bars on a terminal, lines in files and pipes, JSON for programs."""

import asyncio
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, aclosing, contextmanager, nullcontext, suppress
from types import TracebackType
from typing import TYPE_CHECKING, Final, Protocol, Self, assert_never
from uuid import UUID

from rich.console import Console
from rich.markdown import Markdown
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    ProgressColumn,
    SpinnerColumn,
    Task,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)
from rich.table import Column
from rich.text import Text

from smelt.cli.connection_status import LIVE_AGAIN, ConnectionStatus
from smelt.cli.event_lines import EventLines
from smelt.cli.output import ERR, OUT, Exit, print_json
from smelt.cli.trust_summary import trust_summary
from smelt.contract.lines import ConnectionLine
from smelt.contract.state import MAX_QUEUE_POSITION
from smelt.contract.vocabulary import MISSING_MODEL, TERMINAL_STATUSES
from smelt.errors import SmeltError
from smelt.subscriber.updates import (
    Completed,
    Connected,
    ConnectionEvent,
    ConnectionIssue,
    Disconnected,
    Failed,
    Segments,
    Update,
)
from smelt.subscriber.updates import Progress as ProgressUpdate

if TYPE_CHECKING:
    from smelt.contract.state import Snapshot, Trust
    from smelt.subscriber.client import Client
    from smelt.subscriber.uploads import OnUpload, UploadProgress

NO_WORKER: Final = "Waiting for a worker: none is running. Start one with `smelt worker`."


class View(Protocol):
    """Shows the updates of a watch."""

    def show(self, update: Update) -> None:
        """Show one update."""

    def show_connection(self, event: ConnectionEvent) -> None:
        """Show a change of the connection."""


async def follow(
    client: "Client",
    smelt_id: UUID,
    names: Mapping[UUID, str],
    *,
    as_json: bool,
    submit: bool = False,
    continues: bool = True,
    no_worker: str = NO_WORKER,
) -> Exit:
    """Show a smelt until it ends; return `DONE` if it completed.

    Args:
        submit: submit the smelt after the first update, when the watch has begun.
        continues: the smelt outlives this command; on Ctrl-C, print how to watch it again.
        no_worker: the sentence to show while no worker is online.
    """
    code = Exit.FAILED
    try:
        with open_view(names, as_json=as_json, polling=client.polling, no_worker=no_worker) as view:
            async with aclosing(client.watch(smelt_id, connection_events=True)) as updates:
                async for update in updates:
                    if isinstance(update, Connected | Disconnected | ConnectionIssue):
                        view.show_connection(update)
                        continue
                    view.show(update)
                    if submit:
                        await client.submit(smelt_id)
                        submit = False
                    if isinstance(update, Completed):
                        code = Exit.DONE
    except asyncio.CancelledError:
        if continues and not submit and not as_json:
            OUT.print(f"The smelt continues. Watch it again with: smelt watch {smelt_id}", soft_wrap=True)
        raise
    if not as_json and (code is Exit.DONE or len(names) > 1):
        with suppress(SmeltError):  # The notices are optional: the exit code is known already.
            snapshot = await client.get(smelt_id)
            print_notices(OUT, snapshot)
            for file in snapshot.files:
                print_trust(file.filename, file.trust)
    return code


def open_view(
    names: Mapping[UUID, str], *, as_json: bool, polling: bool, no_worker: str
) -> AbstractContextManager[View]:
    """Return the view for JSON, a terminal, or a file or pipe."""
    note = ConnectionStatus(polling=polling)
    if as_json:
        return nullcontext(JsonView(note))
    if has_bars(OUT):
        return LiveView(OUT, names, note, no_worker)
    return nullcontext(PlainView(OUT, names, note, no_worker))


def has_bars(console: Console) -> bool:
    """Return True if the console shows progress bars: a terminal that can move its cursor."""
    return console.is_terminal and not console.is_dumb_terminal


@contextmanager
def upload_bars(console: Console) -> Iterator["OnUpload"]:
    """Show a bar for each file that is uploaded, until the end of the context; yield the function that moves them."""
    columns = (NameColumn(), BarColumn(), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn())
    tasks: dict[int, TaskID] = {}
    with Progress(*columns, console=console, transient=True) as bars:

        def move(upload: "UploadProgress") -> None:
            if upload.index not in tasks:
                tasks[upload.index] = bars.add_task(f"Uploading {upload.filename}", total=upload.size_bytes)
            bars.update(tasks[upload.index], completed=upload.sent_bytes)

        yield move


class JsonView:
    """Prints one JSON object per line: the events of the contract by name, and `connection`."""

    def __init__(self, note: ConnectionStatus) -> None:
        self._note = note
        self._lines = EventLines()

    def show(self, update: Update) -> None:
        """Print the update."""
        self._print_note(changed=self._note.record_update())
        print_json(self._lines.line(update))

    def show_connection(self, event: ConnectionEvent) -> None:
        """Print when the connection is lost and when it is back."""
        self._print_note(changed=self._note.apply_event(event))

    def _print_note(self, *, changed: bool) -> None:
        if changed:
            line = ConnectionLine(state=self._note.state, message=self._note.text or LIVE_AGAIN)
            print_json({"event": "connection", **line.model_dump()})


class PlainView:
    """Prints a line for each stage, queue position, segment and finished output, and the end: for logs and pipes."""

    def __init__(
        self, console: Console, names: Mapping[UUID, str], note: ConnectionStatus, no_worker: str = NO_WORKER
    ) -> None:
        self._console = console
        self._names = names
        self._shown: tuple[str, str] | None = None
        self._written: set[tuple[UUID, int]] = set()
        self._note = note
        self._no_worker = no_worker

    def show_connection(self, event: ConnectionEvent) -> None:
        """Print when the connection is lost and when it is back."""
        self._print_note(changed=self._note.apply_event(event))

    def show(self, update: Update) -> None:
        """Print what has changed."""
        self._print_note(changed=self._note.record_update())
        match update:
            case ProgressUpdate():
                waiting = queue_place(update.queue_position)
                message = f"{update.message} ({waiting})" if waiting else update.message
                if update.worker_online is False:
                    waiting = message = no_worker_notice(update.message, self._no_worker)
                if (update.status, waiting) != self._shown:
                    self._shown = (update.status, waiting)
                    self._console.print(f"{update.percentage:5.1f} %  {message}", markup=False)
                self._print_written(update)
            case Segments():
                print_segments(self._console, update, self._names)
            case Completed() | Failed():
                print_end(self._console, update)
            case _:
                assert_never(update)

    def _print_written(self, update: ProgressUpdate) -> None:
        for output in update.outputs:
            key = (output.file_id, output.position)
            if output.is_complete and key not in self._written:
                self._written.add(key)
                self._console.print(f"{update.percentage:5.1f} %  {output.title} is written", markup=False)

    def _print_note(self, *, changed: bool) -> None:
        if changed:
            self._console.print(f"         [dim]{self._note.text or LIVE_AGAIN}[/]")


class NameColumn(ProgressColumn):
    """The description of a bar on one line, shortened before the numbers if space is short."""

    def __init__(self) -> None:
        super().__init__(table_column=Column(no_wrap=False))  # rich does not shrink a no_wrap column.

    def render(self, task: Task) -> Text:
        """Return the description without parsing markup."""
        return Text(task.description, no_wrap=True, overflow="ellipsis")


class LiveView:
    """Shows a bar for the smelt and one for each file; the transcript scrolls above them."""

    def __init__(
        self, console: Console, names: Mapping[UUID, str], note: ConnectionStatus, no_worker: str = NO_WORKER
    ) -> None:
        self._console = console
        self._names = names
        self._note = note
        self._no_worker = no_worker
        self._worker_online: bool | None = None
        self._waiting_note = ""
        self._output_note = ""
        self._bars = Progress(
            SpinnerColumn(finished_text=" "),
            NameColumn(),
            BarColumn(),
            TextColumn("{task.percentage:5.1f} %"),
            TextColumn("[dim]{task.fields[note]}"),
            console=console,
        )
        self._whole = self._bars.add_task("Waiting to process...", total=100, note="")
        self._files: dict[UUID, TaskID] = {
            file_id: self._bars.add_task(f"  {name}", total=100, note="") for file_id, name in names.items()
        }

    def __enter__(self) -> Self:
        self._bars.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bars.stop()

    def show_connection(self, event: ConnectionEvent) -> None:
        """Show beside the bar whether the connection is lost."""
        if self._note.apply_event(event):
            self._annotate()

    def show(self, update: Update) -> None:
        """Update the bars, or print above them."""
        self._note.record_update()
        match update:
            case ProgressUpdate():
                self._move(update)
            case Segments():
                print_segments(self._bars.console, update, self._names)
            case Completed():
                for task in (self._whole, *self._files.values()):
                    self._bars.update(task, completed=100, note="")
                self._bars.update(self._whole, description="Complete")
                self._bars.stop()
                print_end(self._console, update)
            case Failed():
                self._bars.stop()
                print_end(self._console, update)
            case _:
                assert_never(update)

    def _move(self, update: ProgressUpdate) -> None:
        self._waiting_note = queue_place(update.queue_position) or time_left(update.eta_seconds)
        writing = next((output.title for output in update.outputs if not output.is_complete), None)
        self._output_note = f"writing {writing}" if writing else ""
        message = update.message
        if update.worker_online is False:
            self._waiting_note, message = "", "Waiting for a worker"
            if self._worker_online is not False:
                # Above the bars: the sentence does not fit beside them.
                self._bars.console.print(no_worker_notice(update.message, self._no_worker), markup=False)
        self._worker_online = update.worker_online
        self._bars.update(self._whole, completed=update.percentage, description=message)
        self._annotate()
        for file in update.files:
            if (task := self._files.get(file.id)) is not None:
                self._bars.update(task, completed=file.progress, note="failed" if file.status == "failed" else "")

    def _annotate(self) -> None:
        notes = [note for note in (self._output_note, self._waiting_note, self._note.text) if note]
        self._bars.update(self._whole, note=", ".join(notes))


def queue_place(queue_position: int | None) -> str:
    """Return `number 3 in the queue`; empty for the first position, or if not waiting."""
    if (queue_position or 0) > MAX_QUEUE_POSITION:
        return f"more than number {MAX_QUEUE_POSITION:,} in the queue"
    return f"number {queue_position} in the queue" if (queue_position or 0) > 1 else ""


def time_left(seconds: float | None) -> str:
    """Return the remaining time as `8 s left`, `3 min left` or `2 h 5 min left`; empty if unknown."""
    if seconds is None:
        return ""
    if seconds < 90:
        return f"{seconds:.0f} s left"
    minutes = round(seconds / 60)
    return f"{minutes} min left" if minutes < 90 else f"{minutes // 60} h {minutes % 60} min left"


def print_segments(console: Console, update: Segments, names: Mapping[UUID, str]) -> None:
    """Print segments: start time, the file's name if there are several files, and text."""
    name = f"{names.get(update.file_id, '')} " if len(names) > 1 else ""
    for segment in update.segments:
        minutes, seconds = divmod(int(segment.start), 60)
        clock = f"{minutes:02}:{seconds:02} "
        console.print(Text.assemble((clock, "cyan"), (name, "dim"), segment.text.strip()))


def print_notices(console: Console, snapshot: "Snapshot") -> None:
    """Print the files that failed, with the reason, and the notice of the model about its transcripts."""
    for file in snapshot.files:
        if file.error_code is not None:
            failed = (f"{file.filename} failed: ", "yellow")
            console.print(
                Text.assemble(failed, f"{file.error_message} ", (f"({file.error_code})", "dim")), soft_wrap=True
            )
    for notice in {file.trust.notice for file in snapshot.files if file.trust is not None and file.trust.notice}:
        console.print(Text(f"{notice} Set SMELT_MODEL to use another one.", style="yellow"))


def print_trust(name: str, trust: "Trust | None") -> None:
    """Print to stderr in one line what a reader of the transcript should know; nothing if all is well."""
    if summary := trust_summary(trust):
        ERR.print(Text.assemble((f"{name}: ", "yellow"), summary), soft_wrap=True)


def print_no_worker(console: Console, snapshot: "Snapshot") -> None:
    """Print that no worker is online that can process the smelt, if it has not ended."""
    if snapshot.status not in TERMINAL_STATUSES and not snapshot.worker_online:
        console.print(no_worker_notice(snapshot.progress.message, NO_WORKER), markup=False, soft_wrap=True)


def no_worker_notice(message: str, no_worker: str) -> str:
    """Return the sentence about a missing worker: the message if it names a model that none has, else `no_worker`."""
    return message if message.startswith(MISSING_MODEL) else no_worker


def print_end(console: Console, update: Completed | Failed) -> None:
    """Print the results, or the error of a failed smelt."""
    if isinstance(update, Failed):
        message = f" {update.error_message} "
        console.print(Text.assemble(("Failed:", "bold red"), message, (f"({update.error_code})", "dim")))
        return
    for result in update.results:
        console.rule(Text(result.filename, style="bold"))
        print_markdown(console, result.content)


def print_markdown(console: Console, text: str) -> None:
    """Print rendered Markdown; in a file or pipe, without trailing blanks."""
    document = Markdown(text, hyperlinks=False)  # Print the address of a link.
    if console.is_terminal:
        console.print(document)
        return
    with console.capture() as captured:
        console.print(document)
    for line in captured.get().splitlines():
        console.print(Text(line.rstrip()), soft_wrap=True)
