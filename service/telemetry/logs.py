"""The server's own log: one line or one JSON object a record, with the ids of its request and of its trace."""

import json
import logging
import time
from typing import IO, Any

from service.telemetry.calls import current_ids

LOGGER = "service"
# Every record has these, or vLLM or Ray adds them to every record.
STANDARD_FIELDS = frozenset(logging.makeLogRecord({}).__dict__) | {
    "_ray_timestamp_ns",
    "asctime",
    "message",
    "request_id",
    "taskName",
    "trace_id",
    "vllm_process_name",
}


def configure_logs(level: str, json_lines: bool, stream: IO[str]) -> None:
    """Sends what this package logs to `stream`; other libraries keep their own handlers."""
    handler = logging.StreamHandler(stream)
    handler.setFormatter(JsonFormatter() if json_lines else PlainFormatter())
    handler.addFilter(_add_ids)
    logger = logging.getLogger(LOGGER)
    logger.handlers = [handler]
    logger.setLevel(level.upper())
    logger.propagate = False


def _add_ids(record: logging.LogRecord) -> bool:
    record.request_id, record.trace_id = current_ids()
    return True


def _ids(record: logging.LogRecord) -> dict[str, str]:
    return {name: getattr(record, name, "") for name in ("request_id", "trace_id")}


def _extras(record: logging.LogRecord) -> dict[str, Any]:
    return {name: value for name, value in record.__dict__.items() if name not in STANDARD_FIELDS}


class PlainFormatter(logging.Formatter):
    """`2026-01-31 12:00:00 INFO message key=value`."""

    def format(self, record: logging.LogRecord) -> str:
        when = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(record.created))
        fields = _ids(record) | _extras(record)
        pairs = [f"{name}={value}" for name, value in fields.items() if value != ""]
        line = " ".join([when, record.levelname, record.getMessage(), *pairs])
        return f"{line}\n{self.formatException(record.exc_info)}" if record.exc_info else line


class JsonFormatter(logging.Formatter):
    """One JSON object a line."""

    def format(self, record: logging.LogRecord) -> str:
        fields = {
            "time": time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created)) + f".{int(record.msecs):03d}Z",
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **_ids(record),
            **_extras(record),
        }
        if record.exc_info:
            fields["exception"] = self.formatException(record.exc_info)
        return json.dumps(fields, default=str, ensure_ascii=False)
