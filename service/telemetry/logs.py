"""The server's own log: one line or one JSON object a record, with the id of the request that it belongs to."""

import json
import logging
import time
from typing import IO, Any

from service.telemetry.calls import current_request_id

LOGGER = "service"
# Every record has these, or vLLM adds them to every record.
STANDARD_FIELDS = frozenset(logging.makeLogRecord({}).__dict__) | {
    "asctime",
    "message",
    "request_id",
    "taskName",
    "vllm_process_name",
}


def configure_logs(level: str, json_lines: bool, stream: IO[str]) -> None:
    """Sends what this package logs to `stream`; other libraries keep their own handlers."""
    handler = logging.StreamHandler(stream)
    handler.setFormatter(JsonFormatter() if json_lines else PlainFormatter())
    handler.addFilter(_add_request_id)
    logger = logging.getLogger(LOGGER)
    logger.handlers = [handler]
    logger.setLevel(level.upper())
    logger.propagate = False


def _add_request_id(record: logging.LogRecord) -> bool:
    record.request_id = current_request_id() or ""
    return True


def _extras(record: logging.LogRecord) -> dict[str, Any]:
    return {name: value for name, value in record.__dict__.items() if name not in STANDARD_FIELDS}


class PlainFormatter(logging.Formatter):
    """`2026-01-31 12:00:00 INFO message key=value`."""

    def format(self, record: logging.LogRecord) -> str:
        when = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(record.created))
        fields = {"request_id": getattr(record, "request_id", ""), **_extras(record)}
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
            "request_id": getattr(record, "request_id", ""),
            **_extras(record),
        }
        if record.exc_info:
            fields["exception"] = self.formatException(record.exc_info)
        return json.dumps(fields, default=str, ensure_ascii=False)
