"""Who a call is: the caller's names for it where they are usable, else the server's."""

import asyncio
import contextvars
import re

import pytest

from service.telemetry.calls import Call, begin_call, current_call, current_ids

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"


def begun(**metadata: str) -> Call:
    """In a context of its own, as each call has."""
    given = {key.replace("_", "-"): value for key, value in metadata.items()}
    return contextvars.Context().run(begin_call, "/service/Method", given)


@pytest.mark.parametrize("request_id", ["a", "5f0c-11", "!~", "x" * 128])
def test_a_call_keeps_the_id_that_its_caller_gave_it(request_id: str) -> None:
    assert begun(x_request_id=request_id).request_id == request_id


@pytest.mark.parametrize("request_id", ["", " ", "two words", "new\nline", "x" * 129, "größe", "\x7f"])
def test_an_id_that_a_log_line_cannot_hold_is_replaced(request_id: str) -> None:
    assert re.fullmatch("[0-9a-f]{32}", begun(x_request_id=request_id).request_id)


def test_ids_that_are_made_differ() -> None:
    assert begun().request_id != begun().request_id


@pytest.mark.parametrize("flags", ["00", "01"])
def test_a_call_belongs_to_the_trace_of_its_caller(flags: str) -> None:
    call = begun(traceparent=f"00-{TRACE}-{SPAN}-{flags}")
    assert (call.trace_id, call.span_id) == (TRACE, SPAN)


@pytest.mark.parametrize(
    "traceparent", ["", "nonsense", f"00-{TRACE}-{SPAN}", f"00-{'0' * 32}-{SPAN}-01", f"00-{TRACE}-{'0' * 16}-01"]
)
def test_without_a_usable_trace_it_belongs_to_none(traceparent: str) -> None:
    call = begun(traceparent=traceparent)
    assert (call.trace_id, call.span_id) == ("", "")


def test_a_call_has_cost_nothing_at_first() -> None:
    call = begun()
    assert (call.method, call.prompt_tokens, call.cached_tokens, call.completion_tokens) == ("/service/Method", 0, 0, 0)
    assert call.neutralized_spans == 0


def test_time_runs_from_the_arrival_on() -> None:
    call = begun()
    first = call.elapsed_s()
    assert 0 <= first <= call.elapsed_s()


def test_outside_of_a_call_there_is_none() -> None:
    assert contextvars.Context().run(current_ids) == ("", "")
    with pytest.raises(LookupError):
        contextvars.Context().run(current_call)


async def test_calls_at_the_same_time_do_not_see_each_other() -> None:
    async def one(request_id: str) -> tuple[str, str]:
        begin_call("/service/Method", {"x-request-id": request_id})
        await asyncio.sleep(0)
        return current_call().request_id, current_ids()[0]

    assert await asyncio.gather(one("a"), one("b")) == [("a", "a"), ("b", "b")]
