"""Commands escape the control characters of untrusted text wherever they print it."""

import asyncio
import io
import json
import logging
import re
from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID

import pytest
from rich.markdown import Markdown
from rich.progress import Progress as Bars
from rich.table import Table
from rich.text import Text

from smelt.backend.client_rpc import ListedSmelt
from smelt.cli import doctor, list, output
from smelt.cli.checks.result import CheckResult
from smelt.cli.connection_status import ConnectionStatus
from smelt.cli.demo import _save_files
from smelt.cli.logs import JsonFormatter, TextFormatter
from smelt.cli.output import VisibleConsole, print_document, print_error, print_json, visible, visible_controls
from smelt.cli.view import JsonView, LiveView, PlainView, View, print_notices
from smelt.contract.events import Result
from smelt.contract.state import FileSegment, FileState, Snapshot, Trust
from smelt.errors import PermanentError
from smelt.subscriber.updates import Completed, Failed, Progress, Segments
from smelt.transcripts.captions import CaptionLayout

ID, FILE_ID = UUID(int=1), UUID(int=2)
HOSTILE = "a\x1b]0;title\x07b\x1b]52;c;ZXZpbA==\x1b\\c\x1b[2Jd\x9b2Je\x9d52;c;Zg==\x9cf\rg\x08h\x7fi\u202ej\u2066k"
MARKUP = f"[/x] {HOSTILE}"
"""Text that is invalid markup, for which rich raises an error."""
CONTROLS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
RICH_OWN = re.compile(r"\x1b\[[0-9;]*[mAK]|\x1b\[\?25[lh]|\r(?=\n|\x1b\[2K)")
"""The sequences for colors and the cursor that rich writes for its bars."""


def assert_visible(printed: str) -> None:
    assert CONTROLS.findall(RICH_OWN.sub("", printed)) == []
    assert "\x1b[2J" not in printed
    assert r"\u001b]52;c;ZXZpbA==" in printed


def progress() -> Progress:
    return Progress(
        smelt_id=ID,
        status="transcribing",
        percentage=30,
        message=MARKUP,
        files=(),
        eta_seconds=None,
        queue_position=1,
        seq=1,
        run=1,
        attempt=1,
    )


def file_state() -> FileState:
    return FileState.model_construct(
        id=FILE_ID,
        filename=HOSTILE,
        trust=Trust.model_construct(notice=MARKUP),
        error_code="invalid_format",
        error_message=HOSTILE,
    )


def show_everything(view: View) -> None:
    """Show every update with text, and the ends."""
    segment = FileSegment(file_id=FILE_ID, index=0, start=0, end=1, text=HOSTILE)
    result = Result(file_id=FILE_ID, filename=HOSTILE, content=f"# {HOSTILE}\n\n- {HOSTILE}\n\n```\n{HOSTILE}\n```\n")
    view.show(progress())
    view.show(Segments.model_construct(smelt_id=ID, file_id=FILE_ID, segments=(segment,)))
    view.show(Completed.model_construct(smelt_id=ID, results=(result,)))
    view.show(Failed.model_construct(smelt_id=ID, error_code="[/x]", error_message=MARKUP))


NAMES = {FILE_ID: HOSTILE, UUID(int=3): HOSTILE}


@pytest.mark.parametrize("code", [*range(0x20), *range(0x7F, 0xA0), *range(0x202A, 0x202F), *range(0x2066, 0x206A)])
def test_visible_escapes_each_control_but_newline_and_tab(code: int) -> None:
    expected = chr(code) if chr(code) in "\n\t" else f"\\u{code:04x}"
    assert visible(f"a{chr(code)}b") == f"a{expected}b"


def test_visible_keeps_all_other_text() -> None:
    text = "Grüße, שלם, 你好 🎉\u00a0\u00ad\u200f\\u001b"
    assert visible(text) == text
    assert visible("two\r\nlines") == "two\nlines"


def test_visible_controls_keep_the_direction_marks_of_a_document() -> None:
    assert visible_controls("\u202bשלם\u202c\x1b") == "\u202bשלם\u202c\\u001b"


@pytest.mark.parametrize("is_terminal", [False, True])
def test_visible_console_escapes_all_kinds_of_renderables(is_terminal: bool) -> None:
    table = Table(title=HOSTILE)
    table.add_column(HOSTILE)
    table.add_row(HOSTILE)
    for renderable in (HOSTILE, Text(HOSTILE), table, Markdown(HOSTILE), Markdown(f"`{HOSTILE}`"), Markdown("&#13;x")):
        written = io.StringIO()
        console = VisibleConsole(file=written, width=400, force_terminal=is_terminal)
        console.print(renderable, Text(HOSTILE), markup=False, style="red")
        console.rule(Text(HOSTILE))
        assert_visible(written.getvalue())


def test_visible_console_keeps_the_controls_of_bars() -> None:
    written = io.StringIO()
    with Bars(console=VisibleConsole(file=written, width=400, force_terminal=True)) as bars:
        bars.add_task("one")
        bars.console.print(Text(HOSTILE))
    assert "\x1b[?25l" in written.getvalue()  # The cursor is hidden.
    assert_visible(written.getvalue())


def test_views_escape_control_characters() -> None:
    lines, bars = io.StringIO(), io.StringIO()
    note = ConnectionStatus(polling=True)
    show_everything(PlainView(VisibleConsole(file=lines, width=400), NAMES, note))
    with LiveView(VisibleConsole(file=bars, width=400, force_terminal=True), NAMES, note) as live:
        show_everything(live)
    for written in (lines, bars):
        assert_visible(written.getvalue())
        assert "Failed: [/x] a" in RICH_OWN.sub("", written.getvalue())


def test_json_lines_escape_control_characters_without_loss(capsys: pytest.CaptureFixture[str]) -> None:
    view = JsonView(ConnectionStatus(polling=True))
    view.show(progress())
    print_json({"name": HOSTILE})
    shown, named = capsys.readouterr().out.splitlines()
    for line in (shown, named):
        assert_visible(line)
    assert (json.loads(shown)["progress"]["message"], json.loads(named)["name"]) == (MARKUP, HOSTILE)


def test_hidden_links_are_not_printed() -> None:
    written = io.StringIO()
    view = PlainView(VisibleConsole(file=written, width=400, force_terminal=True), {}, ConnectionStatus(polling=True))
    result = Result(file_id=FILE_ID, filename="a", content="[here](https://example.com/other)")
    view.show(Completed.model_construct(smelt_id=ID, results=(result,)))
    assert "\x1b]8" not in written.getvalue()
    assert "https://example.com/other" in written.getvalue()


def test_list_doctor_notices_errors_and_documents_escape_control_characters(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(output.OUT, "_width", 400)
    monkeypatch.setattr(output.ERR, "_width", 400)
    file = FileState.model_construct(position=0, filename=HOSTILE)
    listed = ListedSmelt.model_construct(
        id=ID, status="completed", outcome=None, created_at=datetime.now(UTC), files=(file,)
    )
    for show in (
        lambda: list._print([listed]),
        lambda: doctor._print(CheckResult("project", "fail", HOSTILE, HOSTILE)),
        lambda: print_notices(output.ERR, Snapshot.model_construct(files=(file_state(),))),
        lambda: print_error(PermanentError(HOSTILE)),
        lambda: print_document(HOSTILE.translate({0x202E: None, 0x2066: None})),
    ):
        show()
        captured = capsys.readouterr()
        assert_visible(captured.out + captured.err)


def test_demo_files_escape_control_characters(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / ".smelt" / "demo").mkdir(parents=True)
    text = HOSTILE.translate({0x202E: None, 0x2066: None})
    segment = FileSegment(file_id=FILE_ID, index=0, start=0, end=1, text=text)
    file = FileState.model_construct(id=FILE_ID, filename="standup.ogg", language=None)
    result = Result(file_id=FILE_ID, filename="standup.ogg", content=text)
    snapshot = Snapshot.model_construct(files=(file,), segments=(segment,), results=(result,))

    class Client:
        async def get(self, smelt_id: UUID, *, with_words: bool) -> Snapshot:
            return snapshot

    folder = asyncio.run(_save_files(Client(), ID, CaptionLayout(line_chars=400)))
    written = {path.suffix: path.read_text() for path in folder.iterdir()}
    assert written.keys() == {".txt", ".srt", ".vtt", ".json", ".md"}
    for content in written.values():
        assert_visible(content)


@pytest.mark.parametrize("formatter", [TextFormatter("%(message)s"), JsonFormatter()])
def test_log_formatters_escape_control_characters(formatter: logging.Formatter) -> None:
    error = ValueError(HOSTILE)
    record = logging.LogRecord("smelt", logging.ERROR, "", 0, "%s", (HOSTILE,), (ValueError, error, None))
    assert_visible(formatter.format(record))
