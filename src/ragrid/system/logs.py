"""Logs of our processes: one JSON object a line on standard error, for the supervisor to keep and rotate."""

import json
import logging
import sys
from datetime import UTC, datetime
from typing import Any

#: What every record carries by itself; whatever else stands on it came in through `extra=` and is a field.
_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName", "color_message"}


class JsonLines(logging.Formatter):
    """Renders a record as one line of JSON: time, level, part, logger, message, then the fields of `extra`."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self._part = name

    def format(self, record: logging.LogRecord) -> str:
        """Return one line without a line break in it, whatever the message or the fields hold."""
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "part": self._part,
            "logger": record.name,
            "message": record.getMessage(),
        }
        line.update({key: value for key, value in vars(record).items() if key not in _STANDARD and key not in line})
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        # ASCII only: a lone surrogate out of a hostile header must not make the line unwritable.
        return json.dumps(line, default=str)


def configure_logging(name: str, *, level: int = logging.INFO) -> None:
    """Send every log of this process to standard error as JSON lines; `name` is the part's name. Replaces handlers."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines(name))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    for talkative in ("httpx", "httpcore", "uvicorn.access", "asyncio"):
        logging.getLogger(talkative).setLevel(max(level, logging.WARNING))
