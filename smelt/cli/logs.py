"""The log formats of a worker: text for people, or one JSON object per line for programs."""

import json
import logging
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from smelt.cli.log_dedup import DuplicateLogFilter
from smelt.cli.output import visible

if TYPE_CHECKING:
    from smelt.settings import LogSettings

TEXT: Final = "%(asctime)s %(levelname)s %(name)s: %(message)s"
_FIELDS: Final = ("smelt_id", "attempt")
"""Extra fields of a record about a smelt."""


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
