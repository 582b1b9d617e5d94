"""The lines of a worker's log."""

import io
import json
import logging
from collections.abc import Iterator
from typing import Any
from uuid import UUID

import pytest

from smelt.cli.logs import JsonFormatter, write_logs
from smelt.contract.work import Claim
from smelt.processor.logs import SmeltLog
from smelt.settings import LogSettings

ID = UUID("00000000-0000-4000-8000-000000000001")


@pytest.fixture
def written() -> Iterator[io.StringIO]:
    """What a logger of this test writes as JSON."""
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(JsonFormatter())
    logger = logging.getLogger("smelt.test")
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    logger.propagate = False
    yield stream
    logger.removeHandler(handler)


def lines(written: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in written.getvalue().splitlines()]


def test_a_line_about_a_smelt_has_its_id_and_attempt_as_fields(written: io.StringIO) -> None:
    claim = Claim.model_construct(id=ID, attempt=3)
    SmeltLog(logging.getLogger("smelt.test"), claim).info("claimed, run %s", 1)
    (line,) = lines(written)
    assert (line["smelt_id"], line["attempt"]) == (str(ID), 3)
    assert line["message"].endswith("claimed, run 1")
    assert (line["level"], line["logger"]) == ("info", "smelt.test")
    assert line["time"].endswith("+00:00")


def test_a_message_of_several_lines_is_one_object(written: io.StringIO) -> None:
    logging.getLogger("smelt.test").info('first\nsecond "quoted"')
    (line,) = lines(written)
    assert line["message"] == 'first\nsecond "quoted"'
    assert not {"smelt_id", "attempt", "exception"} & line.keys()


def test_an_exception_is_a_field(written: io.StringIO) -> None:
    try:
        int("why")
    except ValueError:
        logging.getLogger("smelt.test").exception("failed")
    (line,) = lines(written)
    assert line["exception"].endswith("'why'")


def test_debugging_smelt_leaves_the_libraries_quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    """Below their warnings, they would log keys and signed links."""
    root, ours = logging.RootLogger(logging.WARNING), logging.Logger("smelt")
    monkeypatch.setattr(logging, "root", root)
    monkeypatch.setattr(logging, "captureWarnings", lambda capture: None)
    found = {None: root, "smelt": ours}
    monkeypatch.setattr(logging, "getLogger", lambda name=None: found[name])
    write_logs(LogSettings(log_format="json", log_level="debug"))
    assert (root.level, ours.level) == (logging.WARNING, logging.DEBUG)
    (handler,) = root.handlers
    assert isinstance(handler.formatter, JsonFormatter)
