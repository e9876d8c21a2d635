"""Completion: text in, its continuation out; no chat template and no roles."""

from collections.abc import AsyncGenerator
from contextlib import aclosing

from service.api.completion import CompletionRequest, CompletionResponse
from service.api.events import Event
from service.decoding.compile_check import CompileCheck
from service.engines.registry import Registry
from service.inference.generation import collect, generate, planned_in_time
from service.inference.images import Images
from service.inference.planning import draft_completion
from service.telemetry.calls import Call


class Completion:
    """Continues texts."""

    def __init__(self, registry: Registry, compile_check: CompileCheck, images: Images) -> None:
        self._registry = registry
        self._compile_check = compile_check
        self._images = images

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
        engine = self._registry.language_engine(request.model_id, call)
        admission = self._registry.admission(engine)
        admission.check(call.identity)
        compile_check, images = self._compile_check.for_caller(call.identity), self._images.for_caller(call.identity)
        async with planned_in_time(request.first_token_timeout, call):
            plan = (await draft_completion(request, engine, compile_check, images)).plan()
        async with aclosing(generate(engine, admission, plan, call, incremental=incremental)) as events:
            async for event in events:
                yield event
