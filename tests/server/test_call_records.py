"""The one record that the log holds of each call: whose it was, how it went, and what it has cost."""

import io
import json
import logging
from collections.abc import Iterator
from typing import Any

import pytest

from service.engines.scripted import Reply
from service.telemetry.logs import LOGGER, configure_logs
from tests.server.serving import LLM, language, request, running

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"


@pytest.fixture
def log() -> Iterator[io.StringIO]:
    logger = logging.getLogger(LOGGER)
    before = logger.handlers, logger.level, logger.propagate
    stream = io.StringIO()
    configure_logs("info", True, stream)
    yield stream
    logger.handlers, logger.level, logger.propagate = before


def record(log: io.StringIO) -> dict[str, Any]:
    [found] = [line for line in map(json.loads, log.getvalue().splitlines()) if line["message"] == "Call"]
    return found


def chat(model: str = LLM, **fields: Any) -> Any:
    return request("ChatCompletion", model_id=model, messages=[{"user": {"content": {"text": "Hi"}}}], **fields)


async def test_the_record_of_an_answer_tells_of_its_trace_its_times_and_its_outcome(log: io.StringIO) -> None:
    shape = {"json_schema": {"json_schema": '{"type": "object"}'}}
    async with running(language(Reply('{"a": 1}'))) as server:
        await server.answers(
            "ChatCompletion", chat(response_format=shape), traceparent=f"00-{TRACE}-00f067aa0ba902b7-00"
        )
    told = record(log)
    assert (told["trace_id"], told["model"], told["code"]) == (TRACE, LLM, "OK")
    assert 0 <= told["queued_s"] <= told["first_token_s"] <= told["total_s"]
    assert (told["stop_reason"], told["constraint_outcome"]) == ("end_of_turn", "satisfied")
    assert "reason" not in told
    assert "tool_verdicts" not in told


async def test_the_record_of_a_refusal_tells_its_reason_and_names_no_model_that_there_is_not(log: io.StringIO) -> None:
    async with running(language()) as server:
        await server.failure("ChatCompletion", chat("of-mine"))
    told = record(log)
    assert (told["code"], told["reason"], told["model"]) == ("NOT_FOUND", "MODEL_NOT_FOUND", "")
    assert "first_token_s" not in told
