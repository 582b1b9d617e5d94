"""A watcher on a terminal sees when the connection is lost and when it is back; a program reads on."""

import io
from uuid import UUID

import pytest
from rich.console import Console

from smelt.cli.connection_note import NO_ANSWER, POLLING, RECONNECTING, ConnectionNote
from smelt.cli.view import JsonView, LiveView, PlainView
from smelt.errors import Unavailable
from smelt.subscriber.updates import Connected, Disconnected, Progress, Trouble

TROUBLE = Trouble(Unavailable("no answer"))


def progress(percentage: float, queue_position: int | None = None) -> Progress:
    return Progress(
        smelt_id=UUID(int=1),
        status="transcribing",
        percentage=percentage,
        message="Transcribing audio...",
        files=(),
        eta_seconds=30,
        queue_position=queue_position,
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
    assert not note.take_signal(TROUBLE)
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
    assert note.take_signal(TROUBLE)
    assert note.text == POLLING


def test_reads_that_fail_are_noted_until_something_comes_in() -> None:
    note = ConnectionNote(polling=True)
    note.take_signal(Connected())
    assert note.take_signal(TROUBLE)
    assert note.text == NO_ANSWER
    assert note.take_update()
    assert note.text == ""


def test_lines_tell_of_a_lost_connection_once() -> None:
    written = io.StringIO()
    view = PlainView(Console(file=written, width=100), {}, ConnectionNote(polling=True))
    for step in (Connected(), Disconnected(), TROUBLE, Connected()):
        view.signal(step)
        view.show(progress(30))
    lines = [line.strip() for line in written.getvalue().splitlines()]
    assert lines == ["30.0 %  Transcribing audio...", POLLING, "live again"]


def test_lines_tell_of_each_place_in_the_queue() -> None:
    written = io.StringIO()
    view = PlainView(Console(file=written, width=100), {}, ConnectionNote(polling=True))
    for queue_position in (3, 3, 2, 1, None):
        view.show(progress(0, queue_position))
    lines = [line.split("...")[1].strip() for line in written.getvalue().splitlines()]
    assert lines == ["(number 3 in the queue)", "(number 2 in the queue)", ""]


def test_the_bar_says_what_is_expected_and_that_the_connection_is_lost() -> None:
    written = io.StringIO()
    with LiveView(
        Console(file=written, width=160, force_terminal=True, color_system=None), {}, ConnectionNote(polling=True)
    ) as view:
        view.show(progress(30))
        view.signal(Connected())
        view.signal(Disconnected())
    assert f"30 s left, {POLLING}" in written.getvalue()


def test_a_program_reads_only_updates(capsys: pytest.CaptureFixture[str]) -> None:
    view = JsonView()
    view.signal(Disconnected())
    view.show(progress(30))
    assert capsys.readouterr().out.startswith('{"event": "progress"')
