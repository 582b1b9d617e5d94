"""The log of a worker."""

import io
import json
import logging
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from smelt.cli.logs import REPEAT_INTERVAL_S, DuplicateLogFilter, JsonFormatter, write_logs
from smelt.contract.work import Claim
from smelt.processor.logs import SmeltLog
from smelt.settings import LogSettings
from tests.harness.processes import run

ID = UUID("00000000-0000-4000-8000-000000000001")


@pytest.fixture
def log_stream() -> Iterator[io.StringIO]:
    """The stream to which the logger of a test writes JSON."""
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(JsonFormatter())
    logger = logging.getLogger("smelt.test")
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    logger.propagate = False
    yield stream
    logger.removeHandler(handler)


def lines(log_stream: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in log_stream.getvalue().splitlines()]


def test_log_json_line_has_smelt_id_and_attempt(log_stream: io.StringIO) -> None:
    claim = Claim.model_construct(id=ID, attempt=3)
    SmeltLog(logging.getLogger("smelt.test"), claim).info("claimed, run %s", 1)
    (line,) = lines(log_stream)
    assert (line["smelt_id"], line["attempt"]) == (str(ID), 3)
    assert line["message"].endswith("claimed, run 1")
    assert (line["level"], line["logger"]) == ("info", "smelt.test")
    assert line["time"].endswith("+00:00")


def test_log_json_message_of_several_lines_is_one_object(log_stream: io.StringIO) -> None:
    logging.getLogger("smelt.test").info('first\nsecond "quoted"')
    (line,) = lines(log_stream)
    assert line["message"] == 'first\nsecond "quoted"'
    assert not {"smelt_id", "attempt", "exception"} & line.keys()


def test_log_json_exception_is_a_field(log_stream: io.StringIO) -> None:
    try:
        int("why")
    except ValueError:
        logging.getLogger("smelt.test").exception("failed")
    (line,) = lines(log_stream)
    assert line["exception"].endswith("'why'")


def test_log_level_debug_keeps_libraries_at_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    """At lower levels libraries log keys and signed URLs."""
    root, smelt_logger = logging.RootLogger(logging.WARNING), logging.Logger("smelt")
    monkeypatch.setattr(logging, "root", root)
    monkeypatch.setattr(logging, "captureWarnings", lambda capture: None)
    found = {None: root, "smelt": smelt_logger}
    monkeypatch.setattr(logging, "getLogger", lambda name=None: found[name])
    write_logs(LogSettings(log_format="json", log_level="debug"))
    assert (root.level, smelt_logger.level) == (logging.WARNING, logging.DEBUG)
    (handler,) = root.handlers
    assert isinstance(handler.formatter, JsonFormatter)
    assert [type(log_filter) for log_filter in handler.filters] == [DuplicateLogFilter]


def test_log_dedup_writes_a_repeated_warning_once_per_interval(log_stream: io.StringIO) -> None:
    clock, logger = [0.0], logging.getLogger("smelt.test")
    [handler] = [handler for handler in logger.handlers if isinstance(handler.formatter, JsonFormatter)]
    handler.addFilter(DuplicateLogFilter(lambda: clock[0]))
    for second in range(2 * int(REPEAT_INTERVAL_S) + 1):
        clock[0] = float(second)
        logger.warning("claiming smelts: %s", "100 % gone")
        if second % 20 == 0:
            logger.warning("something else at %s s", second)
            logger.info("every time")
    clock[0] = 100 * REPEAT_INTERVAL_S
    logger.warning("claiming smelts: %s", "100 % gone")
    messages = [line["message"] for line in lines(log_stream)]
    assert [message for message in messages if "claiming" in message] == [
        "claiming smelts: 100 % gone",
        "claiming smelts: 100 % gone (repeated 29 times since the last line)",
        "claiming smelts: 100 % gone (repeated 29 times since the last line)",
        "claiming smelts: 100 % gone",
    ]
    assert messages.count("every time") == sum("something else" in message for message in messages) == 4


@pytest.mark.parametrize("log_format", ["text", "json"])
def test_log_escapes_control_characters(log_format: str) -> None:
    program = (
        "import logging; from smelt.cli.logs import write_logs; from smelt.settings import LogSettings;"
        f"write_logs(LogSettings(log_format='{log_format}'));"
        r"logging.getLogger('smelt.x').warning('%s', 'a\x1b]52;c;ZQ==\x07\x9b2J\rb')"
    )
    done = run([sys.executable, "-c", program], check=True)
    assert r"a\u001b]52;c;ZQ==\u0007\u009b2J" in done.stderr
    assert [char for char in done.stderr if not char.isprintable() and char != "\n"] == []


def test_log_json_contains_the_fatal_error_of_a_worker(tmp_path: Path) -> None:
    env = {name: value for name, value in os.environ.items() if not name.startswith(("SUPABASE_", "SMELT_"))}
    env |= {"SMELT_LOG_FORMAT": "json", "PYTHONPATH": os.pathsep.join(sys.path)}
    done = run([sys.executable, "-m", "smelt", "worker"], cwd=tmp_path, env=env)
    [line] = [json.loads(line) for line in done.stderr.splitlines()]
    assert (done.returncode, line["level"]) == (2, "critical")
    assert line["message"].startswith("SUPABASE_URL is not set")
