"""What a worker logs: lines for people, or one JSON object a line for programs."""

import json
import logging
from datetime import UTC, datetime
from typing import Final

from smelt.cli.log_dedup import DuplicateLogFilter
from smelt.cli.output import visible
from smelt.settings import LogSettings

TEXT: Final = "%(asctime)s %(levelname)s %(name)s: %(message)s"
_FIELDS: Final = ("smelt_id", "attempt")
"""What a line about a smelt says beside its text."""


class TextFormatter(logging.Formatter):
    """Lines for people, with the control characters of strangers' text made visible."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the record as a line, with its traceback below it."""
        return visible(super().format(record))


class JsonFormatter(logging.Formatter):
    """One JSON object a line: `time, level, logger, message`, where they are known `smelt_id, attempt, exception`."""

    def format(self, record: logging.LogRecord) -> str:
        """The record as a line, whatever its message holds."""
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


def write_logs(settings: LogSettings) -> None:
    """Write smelt's log to stderr from its level on, and of the libraries below it warnings alone.

    They would write keys, tokens and signed URLs at their lower levels.
    """
    handler = logging.StreamHandler()
    handler.setFormatter(JsonFormatter() if settings.log_format == "json" else TextFormatter(TEXT))
    handler.addFilter(DuplicateLogFilter())
    logging.basicConfig(level=logging.WARNING, handlers=[handler])
    logging.captureWarnings(capture=True)
    # The model hub would write each of its lines again, with a handler of its own that is made by this import.
    import huggingface_hub.utils.logging  # noqa: F401

    logging.getLogger("huggingface_hub").handlers.clear()
    logging.getLogger("smelt").setLevel(settings.log_level.upper())
