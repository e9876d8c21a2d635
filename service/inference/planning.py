"""Planning: what chat and completion do alike before they generate."""

import asyncio
from collections.abc import Callable

from service.api.response_format import ResponseFormat
from service.api.sampling import LogProbConfig, SamplingParams
from service.decoding.compile_check import CompileCheck
from service.decoding.constraint import checked_constraint
from service.decoding.plan import check_prompt_length, plan_sampling, prompt_too_long
from service.engines.base import LanguageEngine
from service.inference.generation import GenerationPlan
from service.prompts.tokenizer import Prompt

# Shorter texts are tokenised faster than a thread is woken up.
LONG_TEXT = 8_000


async def rendered(engine: LanguageEngine, field: str, text: str, render: Callable[[], Prompt]) -> Prompt:
    """What `render` makes of `text`, off the event loop where it takes a while. Refuses hopelessly long texts early."""
    if len(text) < LONG_TEXT:
        return render()
    context_length = engine.bounds.context_length
    if await asyncio.to_thread(engine.renderer.tokenizer.surely_exceeds, text, context_length):
        raise prompt_too_long(field, None, context_length)
    return await asyncio.to_thread(render)


async def plan_generation(
    engine: LanguageEngine,
    prompt: Prompt,
    prompt_field: str,
    sampling_params: SamplingParams | None,
    response_format: ResponseFormat | None,
    logprobs: LogProbConfig | None,
    compile_check: CompileCheck,
) -> GenerationPlan:
    """Applies defaults and limits. Raises RequestErrors; `prompt_field` is blamed for too long a prompt."""
    bounds = engine.bounds
    check_prompt_length(prompt_field, len(prompt.token_ids), bounds.context_length)
    sampling = plan_sampling(sampling_params, logprobs, len(prompt.token_ids), bounds)
    constraint = None
    if response_format is not None:
        max_bytes = engine.model.limits.max_constraint_bytes
        constraint = await checked_constraint(response_format, max_bytes, compile_check)
    return GenerationPlan(prompt, sampling, constraint)
