"""Tokens of texts and conversations, and back, without an engine's work.

It waits for places of its own, which are few: however many ask, cores are left for those who generate.
"""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TypeVar

from service.api.chat import ChatCompletionRequest
from service.api.content import ImageContentItem, content_items
from service.api.messages import UserMessage
from service.api.models import ModelType
from service.api.tokenize import (
    DetokenizeRequest,
    DetokenizeResponse,
    TokenizeConversation,
    TokenizeRequest,
    TokenizeResponse,
    TokenizeText,
)
from service.api.usage import Timings
from service.decoding.compile_check import CompileCheck
from service.engines.base import Engine
from service.engines.registry import Registry, tokenizer_of
from service.errors import InvalidField, RequestError, UnsupportedByModel
from service.inference.planning import Draft, read_turns
from service.inference.pooling import usage_of
from service.inference.tokenizing import (
    SpecialTokens,
    Tokens,
    text_of_tokens,
    text_of_turns,
    tokens_of_conversation,
    tokens_of_text,
)
from service.telemetry.calls import Call

Result = TypeVar("Result")

CHARACTERS_A_TOKEN = 4


class Tokenize:
    """Tokenises and detokenises."""

    def __init__(self, registry: Registry, compile_check: CompileCheck) -> None:
        self._registry = registry
        self._compile_check = compile_check
        # Not those of everybody: a caller who gives up leaves one behind that still works.
        self._threads = ThreadPoolExecutor(registry.tokenizing.bounds.running_requests, "tokenize")

    async def tokenize(self, request: TokenizeRequest, call: Call) -> TokenizeResponse:
        engine = self._registry.engine(request.model_id, call)
        self._registry.tokenizing.check(call.identity)
        if isinstance(request.input, TokenizeText):
            length, read = len(request.input.text), _reading_of_text(engine, request.input)
        else:
            length, read = await self._reading_of_conversation(request.model_id, request.input, call)

        def work() -> tuple[Tokens, list[bytes]]:
            tokens = read()
            return tokens, list(map(tokenizer_of(engine).token_bytes, tokens.ids)) if request.return_pieces else []

        (tokens, pieces), queued_s = await self._in_turn(length // CHARACTERS_A_TOKEN, work, call)
        call.count_tokenized(len(tokens.ids))
        call.neutralized_spans = tokens.neutralized_spans
        return TokenizeResponse(
            token_ids=tokens.ids,
            pieces=pieces,
            spans=tokens.spans,
            count=len(tokens.ids),
            context_length=engine.model.limits.context_length,
            usage=usage_of(call),
            timings=Timings(queued_s, None, call.elapsed_s()),
            model_id=request.model_id,
            request_id=call.request_id,
        )

    async def detokenize(self, request: DetokenizeRequest, call: Call) -> DetokenizeResponse:
        engine = self._registry.engine(request.model_id, call)
        self._registry.tokenizing.check(call.identity)
        work = partial(text_of_tokens, tokenizer_of(engine), request)
        (text, data), queued_s = await self._in_turn(len(request.token_ids), work, call)
        call.count_tokenized(len(request.token_ids))
        return DetokenizeResponse(
            text=text,
            data=data,
            usage=usage_of(call),
            timings=Timings(queued_s, None, call.elapsed_s()),
            model_id=request.model_id,
            request_id=call.request_id,
        )

    async def _in_turn(self, tokens: int, work: Callable[[], Result], call: Call) -> tuple[Result, float]:
        """What the work returns, and for how long it had to wait. `tokens` says about how much it is."""
        async with self._registry.tokenizing.place(call.identity, tokens, call.remaining_s()) as place:
            place.used = tokens
            queued_s = call.elapsed_s()
            return await asyncio.get_running_loop().run_in_executor(self._threads, work), queued_s

    async def _reading_of_conversation(
        self, model_id: str, conversation: TokenizeConversation, call: Call
    ) -> tuple[int, Callable[[], Tokens]]:
        """Its length in characters, and what reads it."""
        engine = self._registry.language_engine(model_id, call)
        if not engine.renderer.can_chat:
            raise UnsupportedByModel("model_id", "The model has no chat template; it takes texts.")
        check = self._compile_check.for_caller(call.identity)
        try:
            _refuse_images(conversation)
            # One that says nothing of how it is answered: the fields have the same names.
            fields = {name: getattr(conversation, name) for name in TokenizeConversation.model_fields}
            chat = ChatCompletionRequest(model_id=model_id, **fields)
            draft = Draft(engine, check)
            await draft.use_tools(chat)
            draft.think(chat)
            draft.findings.raise_all()
            turns = read_turns(chat, engine)
        except RequestError as error:
            raise error.under("conversation") from None
        limit = engine.model.limits.max_tokenized_tokens
        switches = draft.switches(conversation.reasoning)
        read = partial(tokens_of_conversation, engine, turns, draft.tool_use, switches, limit)
        return len(text_of_turns(turns)), read


def _reading_of_text(engine: Engine, text: TokenizeText) -> Callable[[], Tokens]:
    tokenizer = tokenizer_of(engine)
    # A prompt is continued: whatever ends a text would end it.
    behind = () if engine.model_type is ModelType.LLM else tokenizer.suffix_ids
    special = SpecialTokens(tokenizer.prefix_ids, behind)
    return partial(tokens_of_text, tokenizer, text, special, engine.model.limits.max_tokenized_tokens)


def _refuse_images(conversation: TokenizeConversation) -> None:
    for index, message in enumerate(conversation.messages):
        context = message.context if isinstance(message, UserMessage) else None
        items = (*content_items(message.content), *content_items(context or ""))
        if any(isinstance(item, ImageContentItem) for item in items):
            raise InvalidField(f"messages[{index}]", "Tokenize takes texts only; Preflight tells the tokens of images.")
