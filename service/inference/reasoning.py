"""Thinking before the answer: two generations in one call, the thoughts first and then the answer behind them.

What a caller demands of the answer (its shape, its calls, where it stops) binds the second generation alone, so that it
can be enforced from the first token on, whatever the model thinks. The second prompt is the first one with the thoughts
behind it, which the engine has in its prefix cache.
"""

import asyncio
import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace

from service.api.chat import ChatCompletionRequest, ReasoningConfig
from service.engines.base import Finish, FinishReason, GenerationRequest, GenerationStep, LanguageEngine
from service.errors import InternalError, InvalidField, UnsupportedByModel
from service.prompts.reasoning import Reasoning, Thinking
from service.prompts.tokenizer import Prompt
from service.telemetry.calls import Call

# Fewer are put behind a prompt faster than a thread is woken up.
MANY_TOKENS = 2_000


@dataclass(frozen=True, slots=True)
class Thoughts:
    """How an answer's thoughts are to be generated."""

    reasoning: Reasoning
    begun: bool
    """Whether the prompt ends in them; else the model begins them by itself, or doesn't."""
    max_tokens: int | None
    hidden: bool


@dataclass(frozen=True, slots=True)
class ThoughtStep:
    """A step of the thoughts; `text` is what of it is shown."""

    step: GenerationStep
    text: str

    @property
    def broken_off(self) -> bool:
        """Whether a limit ended the thoughts here."""
        return self.step.finish is not None and self.step.finish.reason is FinishReason.LENGTH

    @property
    def finish(self) -> None:
        """It is never the end of the answer."""


def planned_thoughts(
    request: ChatCompletionRequest, reasoning: Reasoning | None, prompt: Sequence[int]
) -> Thoughts | None:
    """None where the answer begins at once. Raises RequestErrors for what the model can't do."""
    config = request.reasoning or ReasoningConfig()
    if reasoning is None:
        if request.reasoning is not None:
            raise UnsupportedByModel("reasoning", "The model doesn't think before it answers. Leave it unset.")
        return None
    if config.enabled is not None and reasoning.switch is None:
        raise UnsupportedByModel("reasoning.enabled", "The model's chat template has no switch for thinking.")
    most = request.sampling_params.max_tokens if request.sampling_params else None
    if most and config.max_tokens and config.max_tokens >= most:
        raise InvalidField(
            "reasoning.max_tokens",
            f"It is {config.max_tokens}, which leaves nothing for the answer of the {most} tokens allowed at most.",
        )
    thinking = reasoning.after(prompt)
    if thinking is Thinking.ENDED:
        return None
    return Thoughts(reasoning, thinking is Thinking.BEGUN, config.max_tokens or None, config.hidden)


async def think_first(
    engine: LanguageEngine, request: GenerationRequest, thoughts: Thoughts, call: Call
) -> AsyncGenerator[GenerationStep | ThoughtStep, None]:
    """The steps of the thoughts and those of the answer, as if it were one generation.

    A model that begins with something else doesn't think: its answer is generated anew, as it is demanded.
    """
    begun_s = time.monotonic()
    thinker = Thinker(thoughts)
    async with aclosing(engine.generate(_of_thoughts(request, thinker, call))) as steps:
        async for step in steps:
            for thought in thinker.take(step):
                yield thought
            if thinker.thinks is False:
                break
    if thinker.thinks is not False and thinker.finish is None:
        raise InternalError("The engine broke the thoughts off.")
    answer = await _behind(engine, request, thinker) if thinker.thinks else request
    if answer is None:
        yield GenerationStep("", 0, finish=Finish(FinishReason.LENGTH))
        return
    is_first, waited_s = not thinker.thinks, time.monotonic() - begun_s
    async with aclosing(engine.generate(answer)) as steps:
        async for step in steps:
            yield thinker.in_place_of_thoughts(step, waited_s) if is_first else step
            is_first = False


class Thinker:
    """Reads the first generation: whether the model thinks, and what."""

    def __init__(self, thoughts: Thoughts) -> None:
        self.thoughts = thoughts
        self._waiting: list[GenerationStep] = []
        self.thinks: bool | None = True if thoughts.begun else None
        """None as long as that can't be told."""
        self.token_ids: list[int] = []
        """All that was generated."""
        self.finish: Finish | None = None

    def take(self, step: GenerationStep) -> list[ThoughtStep]:
        self.token_ids += step.token_ids
        self.finish = step.finish
        if self.thinks:
            return [self._thought(step, step.text)]
        self._waiting.append(step)
        self.thinks = self.thoughts.reasoning.begins(self.token_ids)
        if self.thinks is None and step.finish:
            # The limit may be so low that it fell into the blanks in front of the mark.
            self.thinks = step.finish.reason is FinishReason.LENGTH
        return self._first_thoughts() if self.thinks else []

    def in_place_of_thoughts(self, step: GenerationStep, waited_s: float) -> GenerationStep:
        """The first step of an answer without thoughts, as if it had been asked for at once."""
        first = self._waiting[0]
        return replace(
            step,
            cached_tokens=first.cached_tokens,
            queued_s=first.queued_s,
            first_token_s=waited_s + step.first_token_s,
        )

    def _first_thoughts(self) -> list[ThoughtStep]:
        *earlier, last = self._waiting
        text = "".join(step.text for step in self._waiting)
        shown = self.thoughts.reasoning.first_thoughts(self.token_ids, text)
        return [*(self._thought(step, "") for step in earlier), self._thought(last, shown)]

    def _thought(self, step: GenerationStep, text: str) -> ThoughtStep:
        return ThoughtStep(step, "" if self.thoughts.hidden else text)


def _of_thoughts(request: GenerationRequest, thinker: Thinker, call: Call) -> GenerationRequest:
    """The first generation."""

    def count_unseen(tokens: int) -> None:
        if thinker.thinks:
            call.count_reasoning(tokens)

    thoughts, most = thinker.thoughts, request.plan.max_tokens
    plan = replace(
        request.plan,
        max_tokens=min(most, thoughts.max_tokens or most),
        min_tokens=0,
        stop=(),
        stop_token_ids=(thoughts.reasoning.end_id,),
        logprobs=None,
    )
    return replace(
        request,
        request_id=f"{request.request_id}-thoughts",
        plan=plan,
        constraint=None,
        show_control_tokens=False,
        # Whether it thinks is told by the first tokens; the rest would be generated for nothing.
        incremental=request.incremental or not thoughts.begun,
        unseen=count_unseen,
    )


async def _behind(engine: LanguageEngine, request: GenerationRequest, thinker: Thinker) -> GenerationRequest | None:
    """Off the event loop where it takes a while."""
    if len(thinker.token_ids) < MANY_TOKENS:
        return _of_answer(engine, request, thinker)
    return await asyncio.to_thread(_of_answer, engine, request, thinker)


def _of_answer(engine: LanguageEngine, request: GenerationRequest, thinker: Thinker) -> GenerationRequest | None:
    """The second generation; None where nothing is left for it."""
    prompt = _behind_thoughts(request.prompt, thinker)
    left = min(request.plan.max_tokens - len(thinker.token_ids), engine.bounds.context_length - len(prompt.token_ids))
    if left < 1:
        return None
    return replace(
        request,
        prompt=prompt,
        plan=replace(request.plan, max_tokens=left, min_tokens=min(request.plan.min_tokens, left)),
    )


def _behind_thoughts(prompt: Prompt, thinker: Thinker) -> Prompt:
    """The second prompt: whatever else belongs to the first one stays with it."""
    finish, reasoning = thinker.finish, thinker.thoughts.reasoning
    stopped = finish is not None and finish.reason is FinishReason.STOP
    ended = stopped and finish is not None and finish.stop_token == reasoning.end_id
    # A model that ends its message in the middle of its thoughts is led on to its answer, too.
    bridge = reasoning.to_answer if ended else reasoning.to_answer_at_once
    thoughts = thinker.token_ids[:-1] if stopped else thinker.token_ids
    if not thinker.thoughts.begun and reasoning.begins(thoughts) is None:
        thoughts = [*thoughts, reasoning.start_id]
    return replace(
        prompt,
        text=prompt.text + reasoning.shown(thoughts) + bridge.text,
        token_ids=[*prompt.token_ids, *thoughts, *bridge.token_ids],
    )
