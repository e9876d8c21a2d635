"""Planning: all that is decided, and all that is refused, before a request reaches an engine."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial

from service.api.chat import ChatCompletionRequest, ReasoningConfig
from service.api.completion import CompletionRequest
from service.api.response_format import JsonSchemaResponseFormat, ResponseFormat
from service.api.sampling import LogProbConfig, SamplingParams
from service.decoding.compile_check import CallersCheck
from service.decoding.constraint import AnswerFormat, Constraint, checked_format, tool_constraint
from service.decoding.plan import SamplingPlan, check_prompt_length, plan_sampling, prompt_too_long
from service.decoding.tools import tried_tools
from service.engines.base import LanguageEngine
from service.errors import Findings, InvalidField
from service.inference.images import CallersImages, check_images
from service.inference.reasoning import Thoughts, planned_thoughts
from service.prompts.conversation import PlacedImage, Turn, images_of, text_and_images, turns_of
from service.prompts.renderer import Switches
from service.prompts.tokenizer import Prompt
from service.tool_formats.use import NO_TOOLS, ToolUse, tool_use

# Shorter texts, and fewer tools, are tokenised faster than a thread is woken up.
LONG_TEXT = 8_000
MANY_TOOLS = 4


@dataclass(frozen=True, slots=True)
class GenerationPlan:
    """All that an engine has to know, and how its answer is to be read."""

    prompt: Prompt
    sampling: SamplingPlan
    constraint: Constraint | None = None
    """What the engine holds the answer to."""
    text_format: AnswerFormat | None = None
    """What the answer's text is judged by, unless it is calls instead."""
    tool_use: ToolUse = NO_TOOLS
    show_control_tokens: bool = False
    tokens: int = 0
    """What it takes of an engine's room: its prompt, and the most that may be generated where the request says so."""
    first_token_timeout: timedelta | None = None
    thoughts: Thoughts | None = None
    """What comes before the answer; None where that begins at once."""


@dataclass(slots=True)
class Draft:
    """A plan as far as it could be made, and all that is wrong with the request."""

    engine: LanguageEngine
    compile_check: CallersCheck
    findings: Findings = field(default_factory=Findings)
    prompt: Prompt | None = None
    sampling: SamplingPlan | None = None
    constraint: Constraint | None = None
    text_format: AnswerFormat | None = None
    tool_use: ToolUse = NO_TOOLS
    is_bounded: bool = False
    """Whether the request says how much may be generated at most."""
    first_token_timeout: timedelta | None = None
    thoughts: Thoughts | None = None

    def plan(self) -> GenerationPlan:
        """Raises what is wrong with the request."""
        self.findings.raise_all()
        assert self.prompt is not None
        assert self.sampling is not None
        tagged = self.engine.renderer.tags_calls(self.tool_use)
        return GenerationPlan(
            self.prompt,
            self.sampling,
            self.constraint,
            self.text_format,
            self.tool_use,
            tagged,
            tokens=len(self.prompt.token_ids) + (self.sampling.max_tokens if self.is_bounded else 0),
            first_token_timeout=self.first_token_timeout,
            thoughts=self.thoughts,
        )

    async def use_tools(self, request: ChatCompletionRequest) -> None:
        limits = self.engine.model.limits
        with self.findings.noting():
            tools = await tried_tools(request.tools, limits.max_constraint_bytes, self.compile_check)
            self.tool_use = tool_use(tools, request.tool_config, self.engine.renderer.dialects)

    async def render(
        self,
        blamed: str,
        text: str,
        render: Callable[[], Prompt],
        placed: Sequence[PlacedImage],
        images: CallersImages,
    ) -> None:
        """`render` makes the prompt, out of `text` and the tools; `blamed` is the field that holds the text."""
        with self.findings.noting():
            prompt = await self._rendered(blamed, text, render)
            self.prompt = await images.prepared(self.engine, prompt, placed) if placed else prompt
            check_prompt_length(blamed, len(self.prompt.token_ids), self.engine.bounds.context_length)

    def sample(self, params: SamplingParams | None, logprobs: LogProbConfig | None) -> None:
        with self.findings.noting():
            bounds = self.engine.bounds
            # Too long a prompt is told already; it is not to blame the budget too.
            prompt_tokens = min(len(self.prompt.token_ids), bounds.context_length - 1) if self.prompt else 0
            self.sampling = plan_sampling(params, logprobs, prompt_tokens, bounds)
            self.is_bounded = params is not None and bool(params.max_tokens)

    async def _rendered(self, blamed: str, text: str, render: Callable[[], Prompt]) -> Prompt:
        """Off the event loop where it takes a while. Refuses hopelessly long texts early."""
        if len(text) < LONG_TEXT and len(self.tool_use.tools) < MANY_TOOLS:
            return render()
        context_length = self.engine.bounds.context_length
        if await asyncio.to_thread(self.engine.renderer.tokenizer.surely_exceeds, text, context_length):
            raise prompt_too_long(blamed, None, context_length)
        return await asyncio.to_thread(render)

    def switches(self, config: ReasoningConfig | None) -> Switches:
        """What the chat template is told of the wish to have the model think or not."""
        reasoning = self.engine.renderer.reasoning
        return reasoning.switched(config.enabled) if reasoning and config else {}

    def think(self, request: ChatCompletionRequest) -> None:
        with self.findings.noting():
            token_ids = self.prompt.token_ids if self.prompt else ()
            self.thoughts = planned_thoughts(request, self.engine.renderer.reasoning, token_ids)

    async def constrain(self, response_format: ResponseFormat | None) -> None:
        with self.findings.noting():
            if response_format is not None:
                max_bytes = self.engine.model.limits.max_constraint_bytes
                self.text_format = await checked_format(response_format, max_bytes, self.compile_check)
            self.constraint = self.text_format.constraint if self.text_format else None
            if self.tool_use.tools:
                self.constraint = await asyncio.to_thread(tool_constraint, self.tool_use, self.text_format)


async def draft_chat(
    request: ChatCompletionRequest, engine: LanguageEngine, compile_check: CallersCheck, images: CallersImages
) -> Draft:
    """What is wrong with the request is in the draft. Raises Overloaded where there was no time to find it out."""
    draft = Draft(engine, compile_check, first_token_timeout=request.first_token_timeout)
    await draft.use_tools(request)
    with draft.findings.noting():
        turns = read_turns(request, engine)
        text, placed = "".join(turn.content + turn.reasoning for turn in turns), images_of(turns)
        check_images(engine, placed)
        # Without its tools it would be a prompt that no model ever reads.
        if not draft.findings.errors:
            render = partial(engine.renderer.chat, turns, draft.tool_use, draft.switches(request.reasoning))
            await draft.render("messages", text, render, placed, images)
    draft.sample(request.sampling_params, request.logprobs)
    draft.think(request)
    await draft.constrain(request.response_format)
    return draft


async def draft_completion(
    request: CompletionRequest, engine: LanguageEngine, compile_check: CallersCheck, images: CallersImages
) -> Draft:
    """What is wrong with the request is in the draft. Raises Overloaded where there was no time to find it out."""
    draft = Draft(engine, compile_check, first_token_timeout=request.first_token_timeout)
    with draft.findings.noting():
        text, placed = text_and_images(request.content, "content")
        if not text:
            raise InvalidField("content", "A text to continue is required.")
        check_images(engine, placed)
        await draft.render("content", text, partial(engine.renderer.text, text), placed, images)
    with draft.findings.noting():
        _refuse_schema_in_prompt(request)
    draft.sample(request.sampling_params, request.logprobs)
    await draft.constrain(request.response_format)
    return draft


def read_turns(request: ChatCompletionRequest, engine: LanguageEngine) -> list[Turn]:
    """Raises RequestErrors."""
    most = engine.model.limits.max_messages
    if len(request.messages) > most:
        raise InvalidField("messages", f"There are {len(request.messages)} messages; the limit is {most}.")
    return turns_of(request.messages, request.response_format)


def _refuse_schema_in_prompt(request: CompletionRequest) -> None:
    shape = request.response_format
    if isinstance(shape, JsonSchemaResponseFormat) and shape.describe_in_prompt:
        raise InvalidField(
            "response_format.json_schema.describe_in_prompt", "A completion's prompt is never changed; leave it unset."
        )
