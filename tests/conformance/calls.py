"""Short ways to write requests, and to read streams."""

from collections.abc import AsyncIterable, Sequence
from dataclasses import dataclass
from typing import Any

from service.api.chat import ChatCompletionRequest, ChatCompletionResponse
from service.api.completion import CompletionRequest, CompletionResponse
from service.api.content import InterleavedContent, TextContentItem, TextDelta
from service.api.embeddings import EmbeddingsRequest
from service.api.events import Complete, Event, Progress, Start
from service.api.messages import Message, StopReason, UserMessage
from service.api.response_format import ConstraintOutcome
from service.api.sampling import LogProbConfig, SamplingParams, TokenLogProbs
from service.api.usage import Usage
from service.client import Client
from tests.serving import EMBEDDER, LLM


def sampling(**options: Any) -> dict[str, Any]:
    """Sampling parameters among the options of a request; `top_logprobs` asks for log probabilities."""
    other = {name: options.pop(name) for name in ("response_format", "model_id") if name in options}
    top = options.pop("top_logprobs", None)
    logprobs = {} if top is None else {"logprobs": LogProbConfig(top_k=top)}
    return {"sampling_params": SamplingParams(**options), **logprobs, **other}


def completion(content: InterleavedContent, **options: Any) -> CompletionRequest:
    return CompletionRequest(**{"model_id": LLM, "content": content, **sampling(**options)})


def chat(*messages: Message | str, **options: Any) -> ChatCompletionRequest:
    """Strings are messages of the user."""
    turns = tuple(UserMessage(content=m) if isinstance(m, str) else m for m in messages)
    return ChatCompletionRequest(**{"model_id": LLM, "messages": turns, **sampling(**options)})


def embeddings(*texts: str, **options: Any) -> EmbeddingsRequest:
    contents = tuple(TextContentItem(text=text) for text in texts)
    return EmbeddingsRequest(**{"model_id": EMBEDDER, "contents": contents, **options})


@dataclass(frozen=True)
class Answer:
    """What chat and completion, streamed or not, have in common."""

    text: str
    stop_reason: StopReason
    logprobs: tuple[TokenLogProbs, ...]
    usage: Usage
    outcome: ConstraintOutcome | None


async def read(events: AsyncIterable[Event]) -> tuple[Event, ...]:
    return tuple([event async for event in events])


def joined(events: Sequence[Event]) -> Answer:
    """A whole stream as one answer, after a look at its order."""
    start, *progress, complete = events
    assert isinstance(start, Start)
    assert isinstance(complete, Complete)
    assert [event.sequence for event in events] == list(range(len(events)))
    deltas = [event.delta for event in progress if isinstance(event, Progress)]
    assert len(deltas) == len(progress)
    return Answer(
        text="".join(delta.text for delta in deltas if isinstance(delta, TextDelta)),
        stop_reason=complete.stop_reason,
        logprobs=tuple(p for event in progress if isinstance(event, Progress) for p in event.logprobs),
        usage=complete.usage,
        outcome=complete.constraint_outcome,
    )


def whole(response: ChatCompletionResponse | CompletionResponse) -> Answer:
    if isinstance(response, CompletionResponse):
        text, stop_reason = response.content, response.stop_reason
    else:
        message = response.completion_message
        assert isinstance(message.content, str)
        assert message.stop_reason
        text, stop_reason = message.content, message.stop_reason
    return Answer(text, stop_reason, tuple(response.logprobs), response.usage, response.constraint_outcome)


async def answer(client: Client, request: ChatCompletionRequest | CompletionRequest) -> Answer:
    if isinstance(request, CompletionRequest):
        return whole(await client.complete(request))
    return whole(await client.chat(request))


async def streamed(client: Client, request: ChatCompletionRequest | CompletionRequest) -> Answer:
    if isinstance(request, CompletionRequest):
        return joined(await read(client.stream_completion(request)))
    return joined(await read(client.stream_chat(request)))


async def text_of(client: Client, prompt: str, **options: Any) -> str:
    """The continuation of a prompt."""
    return (await client.complete(completion(prompt, **options))).content
