"""Chat: a conversation in, the next message out. Start reading here.

resolve the model, render the conversation, plan the decoding, generate, and read the answer as events.
"""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from functools import partial

from service.api.chat import ChatCompletionRequest, ChatCompletionResponse
from service.api.events import Event
from service.api.messages import CompletionMessage
from service.decoding.compile_check import CompileCheck
from service.engines.base import LanguageEngine
from service.engines.registry import Registry
from service.errors import FeatureNotImplemented, InvalidField
from service.inference.generation import GenerationPlan, collect, generate
from service.inference.planning import plan_generation, rendered
from service.prompts.conversation import turns_of
from service.telemetry.calls import Call


class Chat:
    """Answers conversations."""

    def __init__(self, registry: Registry, compile_check: CompileCheck) -> None:
        self._registry = registry
        self._compile_check = compile_check

    def stream(self, request: ChatCompletionRequest, call: Call) -> AsyncGenerator[Event, None]:
        """The answer as it comes. Raises before the first event for a request that can't be honoured."""
        return self._events(request, call, incremental=True)

    async def answer(self, request: ChatCompletionRequest, call: Call) -> ChatCompletionResponse:
        """The same events, joined."""
        async with aclosing(self._events(request, call, incremental=False)) as events:
            whole = await collect(events)
        return ChatCompletionResponse(
            completion_message=CompletionMessage(content=whole.text, stop_reason=whole.complete.stop_reason),
            **whole.common_fields(request.model_id, call),
        )

    async def _events(
        self, request: ChatCompletionRequest, call: Call, *, incremental: bool
    ) -> AsyncGenerator[Event, None]:
        engine = self._registry.language_engine(request.model_id)
        plan = await self._plan(request, engine)
        async with aclosing(generate(engine, plan, call, incremental=incremental)) as events:
            async for event in events:
                yield event

    async def _plan(self, request: ChatCompletionRequest, engine: LanguageEngine) -> GenerationPlan:
        _refuse_unimplemented(request)
        _check_length(request, engine.model.limits.max_messages)
        turns = turns_of(request.messages, request.response_format)
        text = "".join(turn.content for turn in turns)
        prompt = await rendered(engine, "messages", text, partial(engine.renderer.chat, turns))
        return await plan_generation(
            engine,
            prompt,
            "messages",
            request.sampling_params,
            request.response_format,
            request.logprobs,
            self._compile_check,
        )


def _check_length(request: ChatCompletionRequest, most: int) -> None:
    if len(request.messages) > most:
        raise InvalidField("messages", f"There are {len(request.messages)} messages; the limit is {most}.")


def _refuse_unimplemented(request: ChatCompletionRequest) -> None:
    if request.tools:
        raise FeatureNotImplemented("tools", "This build doesn't call tools yet.")
    if request.tool_config is not None:
        raise FeatureNotImplemented("tool_config", "This build doesn't call tools yet.")
