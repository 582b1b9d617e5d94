"""Views show lost and restored connections, on a terminal, in plain text and as JSON."""

import io
import json
from contextlib import nullcontext
from datetime import UTC, datetime
from uuid import UUID

import pytest
from rich.console import Console

from smelt.cli.connection_status import LIVE_AGAIN, NO_RESPONSE, POLLING, RECONNECTING, ConnectionStatus
from smelt.cli.view import NO_WORKER, JsonView, LiveView, PlainView, print_notices
from smelt.contract.events import EVENT_MODELS, Output, Result, Segment, parse_event
from smelt.contract.state import FileState, Snapshot
from smelt.errors import Unavailable
from smelt.subscriber.updates import Completed, Connected, ConnectionIssue, Disconnected, Failed, Progress, Segments

NO_READ = ConnectionIssue(Unavailable("no response"))
NOT_LIVE = ConnectionIssue(Unavailable("closed"), live=True)


def progress(
    percentage: float,
    queue_position: int | None = None,
    *,
    worker_online: bool | None = None,
    outputs: tuple[Output, ...] = (),
) -> Progress:
    return Progress(
        smelt_id=UUID(int=1),
        status="transcribing",
        percentage=percentage,
        message="Transcribing audio...",
        files=(),
        eta_seconds=30,
        queue_position=queue_position,
        worker_online=worker_online,
        outputs=outputs,
        seq=1,
        run=1,
        attempt=1,
    )


def test_connection_status_is_empty_while_connected() -> None:
    status = ConnectionStatus(polling=True)
    assert not status.apply_event(Connected())
    assert not status.record_update()
    assert status.text == ""


def test_connection_status_shows_a_lost_connection_until_reconnect() -> None:
    status = ConnectionStatus(polling=True)
    status.apply_event(Connected())
    assert status.apply_event(Disconnected())
    assert not status.apply_event(NOT_LIVE)
    assert not status.record_update()
    assert status.text == POLLING
    assert status.apply_event(Connected())
    assert status.text == ""


def test_connection_status_mentions_polling_only_when_enabled() -> None:
    status = ConnectionStatus(polling=False)
    status.apply_event(Disconnected())
    assert (status.text, status.state) == (RECONNECTING, "reconnecting")


def test_connection_status_shows_a_connection_that_never_opens() -> None:
    status = ConnectionStatus(polling=True)
    assert status.apply_event(NOT_LIVE)
    assert status.text == POLLING


def test_connection_status_shows_failed_reads_until_an_update() -> None:
    status = ConnectionStatus(polling=True)
    for before, after in ((Connected(), ""), (Disconnected(), POLLING)):
        status.apply_event(before)
        assert status.apply_event(NO_READ)
        assert (status.text, status.state) == (NO_RESPONSE, "unreachable")
        assert status.record_update()
        assert status.text == after


def test_plain_view_prints_a_lost_connection_once() -> None:
    written = io.StringIO()
    view = PlainView(Console(file=written, width=100), {}, ConnectionStatus(polling=True))
    for step in (Connected(), NOT_LIVE, Disconnected(), Connected()):
        view.show_connection(step)
        view.show(progress(30))
    lines = [line.strip() for line in written.getvalue().splitlines()]
    assert lines == ["30.0 %  Transcribing audio...", POLLING, LIVE_AGAIN]


def test_plain_view_prints_each_queue_position() -> None:
    written = io.StringIO()
    view = PlainView(Console(file=written, width=100), {}, ConnectionStatus(polling=True))
    for queue_position in (1001, 1000, 3, 3, 2, 1, None):
        view.show(progress(0, queue_position))
    lines = [line.split("...")[1].strip() for line in written.getvalue().splitlines()]
    assert lines == [
        "(more than number 1,000 in the queue)",
        "(number 1000 in the queue)",
        "(number 3 in the queue)",
        "(number 2 in the queue)",
        "",
    ]


def test_worker_online_false_prints_a_notice_instead_of_the_activity() -> None:
    written = io.StringIO()
    view = PlainView(Console(file=written, width=100), {}, ConnectionStatus(polling=True))
    for online in (True, False, False, True):
        view.show(progress(30, worker_online=online))
    activity, notice = "30.0 %  Transcribing audio...", f"30.0 %  {NO_WORKER}"
    assert [line.strip() for line in written.getvalue().splitlines()] == [activity, notice, activity]


@pytest.mark.parametrize("view_type", [PlainView, LiveView])
def test_missing_model_is_named_instead_of_a_missing_worker(view_type: type[PlainView | LiveView]) -> None:
    written = io.StringIO()
    console = Console(file=written, width=100, force_terminal=view_type is LiveView, color_system=None)
    view = view_type(console, {}, ConnectionStatus(polling=True))
    update = progress(0, worker_online=False).model_copy(update={"message": "No worker has the model [b]x."})
    with view if isinstance(view, LiveView) else nullcontext():
        view.show(update)
    assert "No worker has the model [b]x." in written.getvalue()
    assert NO_WORKER not in written.getvalue()


def test_worker_online_false_prints_a_notice_above_the_bars() -> None:
    written = io.StringIO()
    console = Console(file=written, width=80, force_terminal=True, color_system=None)
    with LiveView(console, {}, ConnectionStatus(polling=True)) as view:
        for _ in range(2):
            view.show(progress(30, worker_online=False))
    assert written.getvalue().count(NO_WORKER) == 1
    assert "Waiting for a worker " in written.getvalue()
    assert "Transcribing" not in written.getvalue()
    assert "s left" not in written.getvalue()


def test_live_view_shows_eta_and_lost_connection() -> None:
    written = io.StringIO()
    with LiveView(
        Console(file=written, width=160, force_terminal=True, color_system=None), {}, ConnectionStatus(polling=True)
    ) as view:
        view.show(progress(30))
        view.show_connection(Connected())
        view.show_connection(Disconnected())
    assert f"30 s left, {POLLING}" in written.getvalue()


def test_live_view_shortens_a_long_name_before_the_numbers() -> None:
    written = io.StringIO()
    console = Console(file=written, width=50, force_terminal=True, color_system=None)
    with LiveView(console, {UUID(int=2): "a [long] name " * 10}, ConnectionStatus(polling=True)) as view:
        view.show(progress(30))
    assert "a [long]" in written.getvalue()
    assert "30.0 % 30 s left" in written.getvalue()


def test_json_view_prints_the_connection_only_when_it_changes(capsys: pytest.CaptureFixture[str]) -> None:
    view = JsonView(ConnectionStatus(polling=True))
    for step in (Connected(), NOT_LIVE, Disconnected(), Connected()):
        view.show_connection(step)
        view.show(progress(30))
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    events = [line["event"] for line in lines]
    assert events == ["progress", "connection", "progress", "progress", "connection", "progress"]
    connections = [(line["state"], line["message"]) for line in lines if line["event"] == "connection"]
    assert connections == [("polling", POLLING), ("live", LIVE_AGAIN)]


def test_json_lines_are_events_of_the_contract(capsys: pytest.CaptureFixture[str]) -> None:
    now, result = datetime.now(UTC), Result(file_id=UUID(int=2), filename="a.ogg", content="notes")
    segment = Segment(index=0, start=0, end=1, text="one")
    view = JsonView(ConnectionStatus(polling=True))
    for update in (
        progress(30, queue_position=2),
        Segments(smelt_id=UUID(int=1), file_id=UUID(int=2), segments=(segment,), run=1),
        Completed(smelt_id=UUID(int=1), outcome="complete", results=(result,), completed_at=now, seq=7, run=1),
        Failed(
            smelt_id=UUID(int=1), error_code="cancelled", error_message="Cancelled.", completed_at=now, seq=8, run=1
        ),
    ):
        view.show(update)
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line["event"] for line in lines] == list(EVENT_MODELS)
    events = [parse_event(line["event"], line) for line in lines]
    assert [type(event) for event in events] == list(EVENT_MODELS.values())
    assert lines[0]["progress"] == {"percentage": 30, "stage": "transcribing", "message": "Transcribing audio..."}
    assert (lines[0]["queue_position"], lines[0]["eta_seconds"]) == (2, 30)
    assert [line["seq"] for line in lines] == [1, 1, 7, 8]
    assert {line["attempt"] for line in lines} == {1}


def test_notices_print_each_failed_file_with_its_reason() -> None:
    failed = {"error_code": "invalid_format", "error_message": "The file is not a recording that can be read."}
    fine = {"error_code": None, "error_message": None}
    files = [
        FileState.model_construct(filename=name, trust=None, **error)
        for name, error in (("[a].mp3", failed), ("b.ogg", fine))
    ]
    written = io.StringIO()
    print_notices(Console(file=written, width=160), Snapshot.model_construct(files=tuple(files)))
    assert written.getvalue().strip() == f"[a].mp3 failed: {failed['error_message']} (invalid_format)"


def test_piped_markdown_is_not_padded_with_blanks() -> None:
    result = Result(file_id=UUID(int=2), filename="a.ogg", content="# Notes\n\nShip it.\n\n- one\n- two\n")
    written = io.StringIO()
    view = PlainView(Console(file=written, width=60), {}, ConnectionStatus(polling=True))
    view.show(
        Completed(
            smelt_id=UUID(int=1), outcome="complete", results=(result,), completed_at=datetime.now(UTC), seq=1, run=1
        )
    )
    lines = written.getvalue().splitlines()
    assert lines == [line.rstrip() for line in lines]
    assert "Ship it." in lines
    assert " • two" in lines


def output(position: int, title: str, *, is_complete: bool) -> Output:
    return Output(file_id=UUID(int=2), position=position, title=title, content="text", is_complete=is_complete)


def test_plain_view_prints_each_finished_output_once() -> None:
    written = io.StringIO()
    view = PlainView(Console(file=written), {}, ConnectionStatus(polling=True))
    summary, topics = output(0, "Summary", is_complete=True), output(1, "Topics [1]", is_complete=False)
    for outputs in ((summary, topics), (summary, topics), (summary, output(1, "Topics [1]", is_complete=True))):
        view.show(progress(80, outputs=outputs))
    assert [line for line in written.getvalue().splitlines() if "is written" in line] == [
        " 80.0 %  Summary is written",
        " 80.0 %  Topics [1] is written",
    ]


def test_live_view_names_the_output_that_is_being_written() -> None:
    written = io.StringIO()
    console = Console(file=written, force_terminal=True, width=100)
    with LiveView(console, {}, ConnectionStatus(polling=True)) as view:
        view.show(
            progress(80, outputs=(output(0, "Summary", is_complete=True), output(1, "Topics", is_complete=False)))
        )
    assert "writing Topics, 30 s left" in written.getvalue()
