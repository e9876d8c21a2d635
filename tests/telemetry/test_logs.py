"""The log of the server: what a record says, in both formats."""

import contextvars
import io
import json
import logging
import re
from collections.abc import Iterator
from typing import Any

import pytest

from service.telemetry.calls import begin_call
from service.telemetry.logs import LOGGER, configure_logs

logger = logging.getLogger(f"{LOGGER}.somewhere")
TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"


@pytest.fixture
def stream() -> Iterator[io.StringIO]:
    """Where the log goes; afterwards all is as it was."""
    root = logging.getLogger(LOGGER)
    before = root.handlers, root.level, root.propagate
    yield io.StringIO()
    root.handlers, root.level, root.propagate = before


def in_a_call(action: Any, *arguments: Any, **options: Any) -> None:
    def run() -> None:
        begin_call("/service/Method", {"x-request-id": "r-1", "traceparent": f"00-{TRACE}-00f067aa0ba902b7-01"})
        action(*arguments, **options)

    contextvars.Context().run(run)


def fail() -> None:
    try:
        raise ValueError("what went wrong")
    except ValueError:
        logger.exception("It failed")


def test_a_line_tells_when_how_bad_what_and_of_which_request_and_trace(stream: io.StringIO) -> None:
    configure_logs("info", False, stream)
    in_a_call(logger.info, "Stopping %s", "now", extra={"in_flight": 3})
    line = r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d INFO Stopping now request_id=r-1 trace_id=" + TRACE + r" in_flight=3\n"
    assert re.fullmatch(line, stream.getvalue())


def test_outside_of_a_call_a_line_names_no_request(stream: io.StringIO) -> None:
    configure_logs("info", False, stream)
    contextvars.Context().run(logger.info, "Stopped")
    assert stream.getvalue().endswith(" INFO Stopped\n")


def test_a_line_with_an_exception_is_followed_by_it(stream: io.StringIO) -> None:
    configure_logs("info", False, stream)
    in_a_call(fail)
    first, second, *_, last = stream.getvalue().splitlines()
    assert first.endswith(f" ERROR It failed request_id=r-1 trace_id={TRACE}")
    assert (second, last) == ("Traceback (most recent call last):", "ValueError: what went wrong")


def test_as_json_each_record_is_one_object_on_one_line(stream: io.StringIO) -> None:
    configure_logs("info", True, stream)
    in_a_call(logger.warning, "Zwei\nZeilen: %s", "größer", extra={"in_flight": 3, "model": object})
    (line,) = stream.getvalue().splitlines()
    record = json.loads(line)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", record.pop("time"))
    assert record == {
        "level": "warning",
        "logger": logger.name,
        "message": "Zwei\nZeilen: größer",
        "request_id": "r-1",
        "trace_id": TRACE,
        "in_flight": 3,
        "model": "<class 'object'>",
    }


def test_as_json_an_exception_is_a_field(stream: io.StringIO) -> None:
    configure_logs("info", True, stream)
    in_a_call(fail)
    (line,) = stream.getvalue().splitlines()
    assert json.loads(line)["exception"].endswith("ValueError: what went wrong")


@pytest.mark.parametrize(
    ("level", "logged"),
    [("debug", 4), ("info", 3), ("warning", 2), ("error", 1)],
)
def test_what_is_less_severe_than_the_level_is_left_out(stream: io.StringIO, level: str, logged: int) -> None:
    configure_logs(level, False, stream)
    for log in (logger.debug, logger.info, logger.warning, logger.error):
        log("x")
    assert len(stream.getvalue().splitlines()) == logged


@pytest.mark.parametrize("json_lines", [True, False])
@pytest.mark.parametrize("name", ["vllm_process_name", "_ray_timestamp_ns"])
def test_what_libraries_add_to_every_record_is_left_out(stream: io.StringIO, json_lines: bool, name: str) -> None:
    configure_logs("info", json_lines, stream)
    logger.info("x", extra={name: "EngineCore"})
    assert "EngineCore" not in stream.getvalue()


def test_configuring_again_does_not_log_twice(stream: io.StringIO) -> None:
    configure_logs("info", False, stream)
    configure_logs("info", False, stream)
    logger.info("x")
    assert len(stream.getvalue().splitlines()) == 1


def test_other_libraries_keep_their_own_log(stream: io.StringIO) -> None:
    configure_logs("debug", False, stream)
    logging.getLogger("somebody.else").error("x")
    assert stream.getvalue() == ""
