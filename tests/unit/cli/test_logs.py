"""The lines of a worker's log."""

import io
import json
import logging
import subprocess
import sys
from collections.abc import Iterator
from typing import Any
from uuid import UUID

import huggingface_hub.utils.logging  # noqa: F401 - So that its loggers are not made by what a test puts in their place.
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
    found = {None: root, "smelt": ours, "huggingface_hub": logging.Logger("huggingface_hub")}
    monkeypatch.setattr(logging, "getLogger", lambda name=None: found[name])
    write_logs(LogSettings(log_format="json", log_level="debug"))
    assert (root.level, ours.level) == (logging.WARNING, logging.DEBUG)
    (handler,) = root.handlers
    assert isinstance(handler.formatter, JsonFormatter)


def test_nobody_writes_past_the_log() -> None:
    """The model hub has a handler of its own when it is first used."""
    program = (
        "from smelt.cli.logs import write_logs; from smelt.settings import LogSettings;"
        "write_logs(LogSettings(log_format='json'));"
        "from huggingface_hub.utils import logging; logging.get_logger('huggingface_hub.x').warning('trying again')"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert [json.loads(line)["message"] for line in done.stderr.splitlines()] == ["trying again"]
