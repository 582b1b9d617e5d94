"""A watcher on a terminal sees when the connection is lost and when it is back; a program reads of it."""

import io
import json
from uuid import UUID

import pytest
from rich.console import Console

from smelt.cli.connection_note import LIVE_AGAIN, NO_ANSWER, POLLING, RECONNECTING, ConnectionNote
from smelt.cli.view import NO_WORKER, JsonView, LiveView, PlainView, print_notices
from smelt.contract.state import FileState, Snapshot
from smelt.errors import Unavailable
from smelt.subscriber.updates import Connected, Disconnected, Progress, Trouble

NO_READ = Trouble(Unavailable("no answer"))
NOT_LIVE = Trouble(Unavailable("closed"), live=True)


def progress(percentage: float, queue_position: int | None = None, *, worker_online: bool | None = None) -> Progress:
    return Progress(
        smelt_id=UUID(int=1),
        status="transcribing",
        percentage=percentage,
        message="Transcribing audio...",
        files=(),
        eta_seconds=30,
        queue_position=queue_position,
        worker_online=worker_online,
        seq=1,
        run=1,
        attempt=1,
    )


def test_the_note_is_empty_while_all_is_well() -> None:
    note = ConnectionNote(polling=True)
    assert not note.take_signal(Connected())
    assert not note.take_update()
    assert note.text == ""


def test_a_lost_connection_is_noted_until_it_is_back() -> None:
    note = ConnectionNote(polling=True)
    note.take_signal(Connected())
    assert note.take_signal(Disconnected())
    assert not note.take_signal(NOT_LIVE)
    assert not note.take_update()
    assert note.text == POLLING
    assert note.take_signal(Connected())
    assert note.text == ""


def test_it_speaks_of_polling_only_where_that_is_done() -> None:
    note = ConnectionNote(polling=False)
    note.take_signal(Disconnected())
    assert note.text == RECONNECTING


def test_a_connection_that_never_comes_about_is_noted() -> None:
    note = ConnectionNote(polling=True)
    assert note.take_signal(NOT_LIVE)
    assert note.text == POLLING


def test_reads_that_fail_are_noted_until_something_comes_in() -> None:
    note = ConnectionNote(polling=True)
    for before, after in ((Connected(), ""), (Disconnected(), POLLING)):
        note.take_signal(before)
        assert note.take_signal(NO_READ)
        assert note.text == NO_ANSWER
        assert note.take_update()
        assert note.text == after


def test_lines_tell_of_a_lost_connection_once() -> None:
    written = io.StringIO()
    view = PlainView(Console(file=written, width=100), {}, ConnectionNote(polling=True))
    for step in (Connected(), NOT_LIVE, Disconnected(), Connected()):
        view.signal(step)
        view.show(progress(30))
    lines = [line.strip() for line in written.getvalue().splitlines()]
    assert lines == ["30.0 %  Transcribing audio...", POLLING, LIVE_AGAIN]


def test_lines_tell_of_each_place_in_the_queue() -> None:
    written = io.StringIO()
    view = PlainView(Console(file=written, width=100), {}, ConnectionNote(polling=True))
    for queue_position in (3, 3, 2, 1, None):
        view.show(progress(0, queue_position))
    lines = [line.split("...")[1].strip() for line in written.getvalue().splitlines()]
    assert lines == ["(number 3 in the queue)", "(number 2 in the queue)", ""]


def test_worker_online_false_prints_the_sentence_instead_of_activity_until_a_worker_is_there() -> None:
    written = io.StringIO()
    view = PlainView(Console(file=written, width=100), {}, ConnectionNote(polling=True))
    for online in (True, False, False, True):
        view.show(progress(30, worker_online=online))
    activity, sentence = "30.0 %  Transcribing audio...", f"30.0 %  {NO_WORKER}"
    assert [line.strip() for line in written.getvalue().splitlines()] == [activity, sentence, activity]


def test_worker_online_false_prints_the_sentence_above_the_bars_and_no_activity() -> None:
    written = io.StringIO()
    console = Console(file=written, width=80, force_terminal=True, color_system=None)
    with LiveView(console, {}, ConnectionNote(polling=True)) as view:
        for _ in range(2):
            view.show(progress(30, worker_online=False))
    assert written.getvalue().count(NO_WORKER) == 1
    assert "Waiting for a worker " in written.getvalue()
    assert "Transcribing" not in written.getvalue()
    assert "s left" not in written.getvalue()


def test_the_bar_says_what_is_expected_and_that_the_connection_is_lost() -> None:
    written = io.StringIO()
    with LiveView(
        Console(file=written, width=160, force_terminal=True, color_system=None), {}, ConnectionNote(polling=True)
    ) as view:
        view.show(progress(30))
        view.signal(Connected())
        view.signal(Disconnected())
    assert f"30 s left, {POLLING}" in written.getvalue()


def test_a_long_name_gives_way_to_the_numbers() -> None:
    written = io.StringIO()
    console = Console(file=written, width=50, force_terminal=True, color_system=None)
    with LiveView(console, {UUID(int=2): "a [long] name " * 10}, ConnectionNote(polling=True)) as view:
        view.show(progress(30))
    assert "a [long]" in written.getvalue()
    assert "30.0 % 30 s left" in written.getvalue()


def test_a_program_reads_of_the_connection_only_when_it_changes(capsys: pytest.CaptureFixture[str]) -> None:
    view = JsonView(ConnectionNote(polling=True))
    for step in (Connected(), NOT_LIVE, Disconnected(), Connected()):
        view.signal(step)
        view.show(progress(30))
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    events = [line["event"] for line in lines]
    assert events == ["progress", "connection", "progress", "progress", "connection", "progress"]
    assert [line["message"] for line in lines if line["event"] == "connection"] == [POLLING, LIVE_AGAIN]


def test_each_file_that_failed_is_told_with_its_reason() -> None:
    failed = {"error_code": "invalid_format", "error_message": "The file is not a recording that can be read."}
    fine = {"error_code": None, "error_message": None}
    files = [
        FileState.model_construct(filename=name, trust=None, **why)
        for name, why in (("[a].mp3", failed), ("b.ogg", fine))
    ]
    written = io.StringIO()
    print_notices(Console(file=written, width=160), Snapshot.model_construct(files=tuple(files)))
    assert written.getvalue().strip() == f"[a].mp3 failed: {failed['error_message']} (invalid_format)"
