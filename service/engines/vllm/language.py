"""A language model on vLLM."""

import asyncio
from collections.abc import AsyncGenerator, Iterable, Iterator, Sequence
from contextlib import aclosing, nullcontext
from typing import Any

from prometheus_client.metrics_core import Metric
from vllm.inputs.engine import tokens_input
from vllm.sampling_params import SamplingParams

from service.api.models import Model, ModelCapabilities, ModelState, ModelType
from service.api.response_format import ResponseFormatType
from service.api.sampling import TokenLogProbs
from service.api.tools import ToolPromptFormat
from service.decoding.plan import ModelBounds
from service.engines.base import (
    NO_ADAPTERS,
    Adapter,
    Capacity,
    Finish,
    FinishReason,
    GenerationRequest,
    GenerationStep,
)
from service.engines.limits import language_limits
from service.engines.logprobs import Candidate, position
from service.engines.vllm import quantization
from service.engines.vllm.adapters import LoadedAdapters, adapter_host
from service.engines.vllm.core import RETRY_AFTER_FAILURE_S, EngineCore, EngineHost, loading, translated
from service.engines.vllm.images import VllmImageReader, engine_input
from service.engines.vllm.output_stream import OutputStream
from service.engines.vllm.pace import Pace
from service.engines.vllm.parameters import sampling_params
from service.engines.vllm.reasoning_parsers import marks_of
from service.errors import AbortedByServer, EngineFailed, InferwireError, InternalError
from service.images.decoding import Picture
from service.prompts.renderer import PromptStyle, Renderer
from service.prompts.tokenizer import Prompt, Tokenizer
from service.settings import NO_REASONING, LimitSettings, ModelSettings
from service.telemetry.traces import trace_headers

PROVIDER_ID = "vllm"
WARM_UP_TEXT = "Hello"


class VllmLanguageEngine:
    """Runs one language model. See engines.base.LanguageEngine."""

    def __init__(self, settings: ModelSettings, limits: LimitSettings, host: EngineHost) -> None:
        self.identifier = settings.id
        self.model_type = ModelType.LLM
        self._settings = settings
        self._limits = limits
        self.core = EngineCore(settings, host)
        self._pace = Pace(host.longest_hold_s)
        # All that is known before the model is loaded.
        self.model = Model(
            identifier=settings.id,
            provider_resource_id=settings.path.rstrip("/").rsplit("/", 1)[-1],
            provider_id=PROVIDER_ID,
            model_type=ModelType.LLM,
        )
        self.bounds: ModelBounds
        self.renderer: Renderer
        self._images: VllmImageReader
        self.adapter_host = NO_ADAPTERS
        self._adapters = LoadedAdapters(self.core)

    @property
    def ready(self) -> bool:
        return self.core.alive

    @property
    def waiting_for(self) -> Sequence[str]:
        return self.core.waiting_for

    def own_metrics(self) -> Iterable[Metric]:
        return self.core.gauge.own_metrics()

    @property
    def cache_usage(self) -> float:
        return self.core.gauge.cache_usage

    @property
    def capacity(self) -> Capacity:
        return self.core.capacity

    async def start(self) -> None:
        try:
            with loading(self.identifier):
                await self._start()
        except EngineFailed:
            self.model = self.model.model_copy(update={"state": ModelState.FAILED})
            raise

    async def _start(self) -> None:
        self.model = self.model.model_copy(update={"state": ModelState.LOADING})
        tokenizer = await asyncio.to_thread(Tokenizer.load, self._settings.path)
        # Before the model is loaded: it may have to be refused.
        style = _prompt_style(self._settings, tokenizer)
        self._adapters.forget()
        host = asyncio.create_task(asyncio.to_thread(adapter_host, self._settings))
        try:
            await self.core.start()
            self.adapter_host = await host
        finally:
            host.cancel()
        self._images = VllmImageReader(self.core.engine)
        if self._images.most_images and not tokenizer.pretrained.chat_template:
            tokenizer.pretrained.chat_template = self._images.chat_template
        self.renderer = Renderer(tokenizer, style, self._images.placeholder)
        config = self.core.engine.model_config
        self.bounds = ModelBounds(
            # Read after the start: the engine may have made it fit its memory.
            context_length=config.max_model_len,
            # The model's table may be larger than the tokenizer's; only tokens that exist can be asked for.
            vocabulary_size=min(config.get_vocab_size(), self.renderer.tokenizer.vocabulary_size),
            max_logprobs=config.max_logprobs,
        )
        self.model = self._loaded(config)

    async def warm_up(self) -> None:
        params = SamplingParams(max_tokens=2, temperature=0.0)
        prompt = tokens_input(self.renderer.text(WARM_UP_TEXT).token_ids)
        try:
            async with aclosing(self.core.engine.generate(prompt, params, "warm-up")) as outputs:
                async for _ in outputs:
                    pass
        except Exception as error:
            raise EngineFailed(f"The model {self.identifier} failed its first generation.") from error

    def has_adapter(self, adapter: Adapter) -> bool:
        return self.core.alive and self._adapters.request(adapter) is not None

    async def load_adapter(self, adapter: Adapter) -> None:
        await self._adapters.load(adapter)

    async def unload_adapter(self, adapter: Adapter) -> None:
        await self._adapters.unload(adapter)

    async def wait_for_failure(self) -> None:
        await self.core.wait_for_failure()

    async def stop(self) -> None:
        await self.core.stop()

    async def with_images(self, prompt: Prompt, pictures: Sequence[Picture], cache_owner: str) -> Prompt:
        try:
            return await self._images.prepared(prompt, pictures, cache_owner)
        except InferwireError:
            raise
        except Exception as error:
            if not self.core.alive:
                raise EngineFailed("The engine died.", retry_after_s=RETRY_AFTER_FAILURE_S) from error
            raise translated(error) from error

    async def generate(self, request: GenerationRequest) -> AsyncGenerator[GenerationStep, None]:
        engine = self.core.engine
        outputs: OutputStream | None = None
        seen, finished = 0, False
        try:
            # Not vLLM's generate(): broken off, that one forgets how far it was.
            added = await engine.add_request(
                request.request_id,
                engine_input(request),
                sampling_params(request),
                lora_request=self._adapters.required(request.adapter),
                trace_headers=trace_headers(),
            )
            outputs = OutputStream(engine, added)
            with self._pace.stream(outputs) if request.incremental else nullcontext(outputs) as told:
                while not finished:
                    output = await told.next()
                    finished = output.finished
                    step = self._step(request, output, first=not seen)
                    seen += step.tokens
                    yield step
        except InferwireError:
            raise
        except Exception as error:
            raise translated(error) from error
        finally:
            if not finished:
                if outputs is not None:
                    request.unseen(self.core.generated(outputs.request_id) - seen)
                # Also when the call was cancelled while it was being added to the engine, of which vLLM knows nothing.
                if self.core.alive:
                    await asyncio.shield(engine.abort(request.request_id))

    def _step(self, request: GenerationRequest, output: Any, first: bool) -> GenerationStep:
        completion = output.outputs[0]
        stats = output.metrics if first else None
        return GenerationStep(
            text=completion.text,
            tokens=len(completion.token_ids),
            logprobs=list(self._logprobs(request, completion)) if completion.logprobs else (),
            cached_tokens=(output.num_cached_tokens or 0) if first else 0,
            queued_s=max(0.0, stats.scheduled_ts - stats.queued_ts) if stats else 0.0,
            first_token_s=stats.first_token_latency if stats else 0.0,
            finish=_finish(request, completion) if output.finished else None,
            token_ids=completion.token_ids,
        )

    def _logprobs(self, request: GenerationRequest, completion: Any) -> Iterator[TokenLogProbs]:
        flat = completion.logprobs
        for sampled_id, start, end in zip(completion.token_ids, flat.start_indices, flat.end_indices, strict=True):
            columns = flat.token_ids[start:end], flat.logprobs[start:end], flat.ranks[start:end]
            candidates = map(Candidate, *columns)
            yield position(self.renderer.tokenizer, sampled_id, candidates, request.plan.logprobs or 0)

    def _loaded(self, config: Any) -> Model:
        """The model's description, with what is known once it is loaded."""
        reasoning = self.renderer.reasoning
        facts = {
            "state": ModelState.READY,
            "quantization": quantization.loaded(config),
            "metadata": {"context_length": self.bounds.context_length, "dtype": quantization.dtype_of(config)},
            "capabilities": ModelCapabilities(
                images=self._images.most_images > 0,
                chat=self.renderer.can_chat,
                response_formats=tuple(ResponseFormatType),
                tool_prompt_formats=tuple(ToolPromptFormat) if self.renderer.can_chat else (),
                reasoning=reasoning is not None,
                reasoning_switch=reasoning is not None and reasoning.switch is not None,
            ),
            "limits": language_limits(
                self._limits,
                self.bounds.context_length,
                self.bounds.max_logprobs,
                images=self._images.most_images,
                adapters=self.adapter_host,
            ),
        }
        return self.model.model_copy(update=facts)


def _prompt_style(settings: ModelSettings, tokenizer: Tokenizer) -> PromptStyle:
    parser = settings.reasoning_parser
    return PromptStyle(
        model_name=settings.path,
        tool_prompt_format=settings.tool_prompt_format,
        date=settings.prompt_date,
        knowledge_cutoff=settings.knowledge_cutoff,
        reasons=parser != NO_REASONING,
        reasoning_marks=marks_of(parser, tokenizer) if parser and parser != NO_REASONING else None,
    )


def _finish(request: GenerationRequest, completion: Any) -> Finish:
    match completion.finish_reason:
        case "stop":
            return _stopped_by(completion.stop_reason)
        case "length":
            return Finish(FinishReason.LENGTH)
        case "abort":
            raise AbortedByServer("The engine gave the request up.", retry_after_s=RETRY_AFTER_FAILURE_S)
        case _:
            raise InternalError("The engine failed on this request.")


def _stopped_by(stop: str | int | None) -> Finish:
    if isinstance(stop, str):
        return Finish(FinishReason.STOP, stop_string=stop)
    return Finish(FinishReason.STOP, stop_token=stop)
