"""Chat: a conversation in, the next message out. Start reading here.

resolve the model, render the conversation, plan the decoding, generate, and read the answer as events.
"""

from collections.abc import AsyncGenerator
from contextlib import aclosing

from service.api.chat import ChatCompletionRequest, ChatCompletionResponse
from service.api.events import Event
from service.api.messages import CompletionMessage, ToolResponse
from service.decoding.compile_check import CompileCheck
from service.engines.registry import Registry
from service.inference.generation import collect, generate, planned_in_time
from service.inference.images import Images
from service.inference.planning import draft_chat
from service.telemetry.calls import Call


class Chat:
    """Answers conversations."""

    def __init__(self, registry: Registry, compile_check: CompileCheck, images: Images) -> None:
        self._registry = registry
        self._compile_check = compile_check
        self._images = images

    def stream(self, request: ChatCompletionRequest, call: Call) -> AsyncGenerator[Event, None]:
        """The answer as it comes. Raises before the first event for a request that can't be honoured."""
        return self._events(request, call, incremental=True)

    async def answer(self, request: ChatCompletionRequest, call: Call) -> ChatCompletionResponse:
        """The same events, joined."""
        async with aclosing(self._events(request, call, incremental=False)) as events:
            whole = await collect(events)
        return ChatCompletionResponse(
            completion_message=CompletionMessage(
                content=whole.text,
                stop_reason=whole.complete.stop_reason,
                tool_calls=tuple(whole.calls),
                reasoning=whole.reasoning,
            ),
            reasoning_truncated=whole.complete.reasoning_truncated,
            **whole.common_fields(request.model_id, call),
        )

    async def _events(
        self, request: ChatCompletionRequest, call: Call, *, incremental: bool
    ) -> AsyncGenerator[Event, None]:
        _note_tool_metadata(request, call)
        engine = self._registry.language_engine(request.model_id, call)
        admission = self._registry.admission(engine)
        admission.check(call.identity)
        compile_check, images = self._compile_check.for_caller(call.identity), self._images.for_caller(call.identity)
        async with planned_in_time(request.first_token_timeout, call):
            plan = (await draft_chat(request, engine, compile_check, images)).plan()
        async with aclosing(generate(engine, admission, plan, call, incremental=incremental)) as events:
            async for event in events:
                yield event


def _note_tool_metadata(request: ChatCompletionRequest, call: Call) -> None:
    for message in request.messages:
        if isinstance(message, ToolResponse) and message.metadata is not None:
            call.note_tool_metadata(message.call_id, message.tool_name, message.metadata)
