"""The logs of a worker: text for people, or one JSON object per line for programs; without repeated warnings."""

import json
import logging
import math
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from smelt.cli.output import visible

if TYPE_CHECKING:
    from smelt.settings import LogSettings

TEXT: Final = "%(asctime)s %(levelname)s %(name)s: %(message)s"
_FIELDS: Final = ("smelt_id", "attempt")
"""Extra fields of a record about a smelt."""
REPEAT_INTERVAL_S: Final = 30.0


class TextFormatter(logging.Formatter):
    """Formats records as text; escapes control characters, which may come from users' data."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the record as a line, followed by its traceback."""
        return visible(super().format(record))


class JsonFormatter(logging.Formatter):
    """Formats records as JSON: `time, level, logger, message`, and if known `smelt_id, attempt, exception`."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the record as one line."""
        line: dict[str, object] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        line |= {name: getattr(record, name) for name in _FIELDS if hasattr(record, name)}
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return visible(json.dumps(line, ensure_ascii=False, default=str))


class DuplicateLogFilter(logging.Filter):
    """Drops a warning if the same logger wrote the same text less than `REPEAT_INTERVAL_S` before."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._clock = clock
        self._last_written: dict[tuple[str, str], tuple[float, int]] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Return True if the record is to be written; add the number of dropped repeats to its text."""
        if record.levelno != logging.WARNING:
            return True
        now_s, message = self._clock(), record.getMessage()
        key = (record.name, message)
        last_s, suppressed_count = self._last_written.get(key, (-math.inf, 0))
        if now_s - last_s < REPEAT_INTERVAL_S:
            self._last_written[key] = (last_s, suppressed_count + 1)
            return False
        oldest_s = now_s - 10 * REPEAT_INTERVAL_S
        self._last_written = {known: entry for known, entry in self._last_written.items() if entry[0] > oldest_s}
        self._last_written[key] = (now_s, 0)
        if suppressed_count:
            record.msg, record.args = f"{message} (repeated {suppressed_count} times since the last line)", ()
        return True


def write_logs(settings: "LogSettings") -> None:
    """Log to stderr: smelt at the level of the settings, libraries at WARNING.

    Below WARNING, libraries log keys, tokens and signed URLs.
    """
    handler = logging.StreamHandler()
    handler.setFormatter(JsonFormatter() if settings.log_format == "json" else TextFormatter(TEXT))
    handler.addFilter(DuplicateLogFilter())
    logging.basicConfig(level=logging.WARNING, handlers=[handler])
    logging.captureWarnings(capture=True)
    logging.getLogger("smelt").setLevel(settings.log_level.upper())
