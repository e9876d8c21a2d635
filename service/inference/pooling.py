"""What embedding and scoring have in common: a place for all texts of a call, and all of them at once."""

import asyncio
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import TypeVar

from service.api.usage import Timings, Usage
from service.engines.admission import Admission
from service.errors import InferwireError
from service.telemetry.calls import Call

Text = TypeVar("Text")
Result = TypeVar("Result")


@asynccontextmanager
async def placed(admission: Admission, tokens: int, neutralized_spans: int, call: Call) -> AsyncIterator[None]:
    """A place in the engine for so many tokens, which the call is charged for."""
    async with admission.place(call.identity, tokens, call.remaining_s()) as place:
        place.used = tokens
        call.count_prompt(tokens)
        call.neutralized_spans = neutralized_spans
        call.queued_s = call.elapsed_s()
        yield


async def each_of(texts: Sequence[Text], work: Callable[[str, Text], Awaitable[Result]]) -> list[Result]:
    """All at once, for the engine to batch; `work` gets a request id. When one fails, the others are given up."""
    request_id = uuid.uuid4().hex
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [
                group.create_task(_result(work(f"{request_id}-{index}", text))) for index, text in enumerate(texts)
            ]
    except* InferwireError as failures:
        raise failures.exceptions[0] from None
    return [task.result() for task in tasks]


async def _result(work: Awaitable[Result]) -> Result:
    return await work


def usage_of(call: Call) -> Usage:
    """Of a call that generates nothing."""
    return Usage(
        prompt_tokens=call.prompt_tokens,
        cached_tokens=0,
        completion_tokens=0,
        neutralized_spans=call.neutralized_spans,
    )


def timings_of(call: Call) -> Timings:
    return Timings(call.queued_s or 0.0, None, call.elapsed_s())
