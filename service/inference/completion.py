"""Completion: text in, its continuation out; no chat template and no roles."""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from functools import partial

from service.api.completion import CompletionRequest, CompletionResponse
from service.api.events import Event
from service.api.response_format import JsonSchemaResponseFormat
from service.decoding.compile_check import CompileCheck
from service.engines.base import LanguageEngine
from service.engines.registry import Registry
from service.errors import InvalidField
from service.inference.generation import GenerationPlan, collect, generate
from service.inference.planning import plan_generation, rendered
from service.prompts.conversation import text_of
from service.telemetry.calls import Call


class Completion:
    """Continues texts."""

    def __init__(self, registry: Registry, compile_check: CompileCheck) -> None:
        self._registry = registry
        self._compile_check = compile_check

    def stream(self, request: CompletionRequest, call: Call) -> AsyncGenerator[Event, None]:
        """The continuation as it comes. Raises before the first event for a request that can't be honoured."""
        return self._events(request, call, incremental=True)

    async def answer(self, request: CompletionRequest, call: Call) -> CompletionResponse:
        """The same events, joined."""
        async with aclosing(self._events(request, call, incremental=False)) as events:
            whole = await collect(events)
        return CompletionResponse(
            content=whole.text,
            stop_reason=whole.complete.stop_reason,
            **whole.common_fields(request.model_id, call),
        )

    async def _events(
        self, request: CompletionRequest, call: Call, *, incremental: bool
    ) -> AsyncGenerator[Event, None]:
        engine = self._registry.language_engine(request.model_id)
        plan = await self._plan(request, engine)
        async with aclosing(generate(engine, plan, call, incremental=incremental)) as events:
            async for event in events:
                yield event

    async def _plan(self, request: CompletionRequest, engine: LanguageEngine) -> GenerationPlan:
        _refuse_schema_in_prompt(request)
        text = text_of(request.content, "content")
        if not text:
            raise InvalidField("content", "A text to continue is required.")
        prompt = await rendered(engine, "content", text, partial(engine.renderer.text, text))
        return await plan_generation(
            engine,
            prompt,
            "content",
            request.sampling_params,
            request.response_format,
            request.logprobs,
            self._compile_check,
        )


def _refuse_schema_in_prompt(request: CompletionRequest) -> None:
    shape = request.response_format
    if isinstance(shape, JsonSchemaResponseFormat) and shape.describe_in_prompt:
        raise InvalidField(
            "response_format.json_schema.describe_in_prompt", "A completion's prompt is never changed; leave it unset."
        )
