"""Chat and completion over a scripted engine: what is told to the model, what is refused, what is answered."""

from typing import Any

import pytest

from service.api.chat import ChatCompletionRequest
from service.api.completion import CompletionRequest
from service.api.content import ImageContentItem, ImageUrl, TextContentItem
from service.api.events import Complete, Start
from service.api.messages import CompletionMessage, StopReason, SystemMessage, UserMessage
from service.api.response_format import (
    ConstraintOutcome,
    JsonObjectResponseFormat,
    JsonSchemaResponseFormat,
    RegexResponseFormat,
)
from service.api.sampling import LogProbConfig, SamplingParams
from service.api.tools import ToolConfig, ToolDefinition
from service.engines.registry import Registry
from service.engines.scripted import CONTEXT_LENGTH, Reply, ScriptedLanguageEngine
from service.errors import (
    ContextLengthExceeded,
    InferwireError,
    InvalidConstraint,
    InvalidField,
    ModelNotFound,
    ModelNotReady,
    RequestError,
    UnsupportedByModel,
    WrongModelType,
)
from service.inference.chat import Chat
from service.inference.completion import Completion
from service.telemetry.calls import Call
from tests.decoding.tried import TriedHere
from tests.inference.conftest import EMBEDDER, LIMITS, LLM, NO_IMAGES, Language

PICTURE = ImageContentItem(source=ImageUrl(url="https://example.com/cat.png"))
HELLO = UserMessage(content="Hello?")
FRAME = len(
    "<|im_start|>user\n<|im_end|>\n<|im_start|>assistant\n".replace("<|im_start|>", "1").replace("<|im_end|>", "1")
)


def chat(**fields: Any) -> ChatCompletionRequest:
    return ChatCompletionRequest(**{"model_id": LLM, "messages": (HELLO,), **fields})


def completion(**fields: Any) -> CompletionRequest:
    return CompletionRequest(**{"model_id": LLM, "content": "Once", **fields})


async def answered(registry: Registry, request: Any, call: Call) -> Any:
    kind: Any = Chat if isinstance(request, ChatCompletionRequest) else Completion
    use_case = kind(registry, TriedHere(), NO_IMAGES)
    return await use_case.answer(request, call)


async def streamed(registry: Registry, request: Any, call: Call) -> list[Any]:
    kind: Any = Chat if isinstance(request, ChatCompletionRequest) else Completion
    use_case = kind(registry, TriedHere(), NO_IMAGES)
    return [event async for event in use_case.stream(request, call)]


async def test_a_chat_is_answered(registry: Registry, call: Call) -> None:
    answer = await Chat(registry, TriedHere(), NO_IMAGES).answer(chat(), call)
    assert answer.completion_message == CompletionMessage(content="Hi.", stop_reason=StopReason.END_OF_TURN)
    assert (answer.model_id, answer.request_id, answer.usage.completion_tokens) == (LLM, "r-1", 4)
    assert (answer.logprobs, answer.constraint_outcome, answer.stop_string) == ([], None, None)


@pytest.mark.parametrize(
    ("request_", "spelled"),
    [
        (chat(), 0),
        (completion(), 0),
        (chat(messages=(SystemMessage(content="<|im_end|>"), UserMessage(content="<|im_end|> <|im_start|>"))), 3),
        (completion(content=(TextContentItem(text="<|im_"), TextContentItem(text="end|>"))), 1),
    ],
)
async def test_usage_counts_control_tokens_that_the_caller_spelled(
    registry: Registry, call: Call, request_: Any, spelled: int
) -> None:
    answer = await answered(registry, request_, call)
    assert (answer.usage.neutralized_spans, call.neutralized_spans) == (spelled, spelled)


async def test_a_text_is_continued(registry: Registry, call: Call) -> None:
    answer = await Completion(registry, TriedHere(), NO_IMAGES).answer(
        completion(logprobs=LogProbConfig(top_k=2)), call
    )
    assert (answer.content, answer.stop_reason) == ("Hi.", StopReason.END_OF_TURN)
    assert [len(position.logprobs_by_token) for position in answer.logprobs] == [2, 2, 2]


@pytest.mark.parametrize("request_", [chat(), completion()], ids=["chat", "completion"])
async def test_both_stream_from_start_to_complete(registry: Registry, call: Call, request_: Any) -> None:
    first, *_, last = await streamed(registry, request_, call)
    assert isinstance(first, Start)
    assert isinstance(last, Complete)


async def prompt_told(language: Language, request: Any) -> str:
    told = []

    def script(prompt: str) -> Reply:
        told.append(prompt)
        return Reply()

    await answered(Registry([await language(script=script)]), request, Call("", ""))
    (prompt,) = told
    return prompt


async def test_a_chat_is_told_through_the_models_template(language: Language) -> None:
    request = chat(messages=(SystemMessage(content="Be brief."), UserMessage(content="Q", context="Facts.")))
    assert await prompt_told(language, request) == (
        "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nQ\n\nFacts.<|im_end|>\n<|im_start|>assistant\n"
    )


async def test_a_completion_is_told_as_it_is(language: Language) -> None:
    items = (TextContentItem(text="Once "), TextContentItem(text="upon\n"))
    assert await prompt_told(language, completion(content=items)) == "Once upon\n"


@pytest.mark.parametrize("describe", [None, True, False])
async def test_a_chat_is_told_of_its_schema_unless_that_is_switched_off(language: Language, describe: Any) -> None:
    shape = JsonSchemaResponseFormat(json_schema='{"type": "null"}', describe_in_prompt=describe)
    prompt = await prompt_told(language, chat(response_format=shape))
    assert ('{"type": "null"}' in prompt) is (describe is not False)


@pytest.mark.parametrize("describe", [None, False])
async def test_a_completion_is_never_told_of_it(language: Language, describe: Any) -> None:
    shape = JsonSchemaResponseFormat(json_schema='{"type": "null"}', describe_in_prompt=describe)
    assert await prompt_told(language, completion(response_format=shape)) == "Once"


@pytest.mark.parametrize("request_", [chat(), completion()], ids=["chat", "completion"])
async def test_a_long_text_is_told_as_well(language: Language, request_: Any) -> None:
    """Long enough to be tokenised off the event loop; two bytes of text are one here, to fit the context."""
    text = "x" * (CONTEXT_LENGTH - FRAME - 1)
    fields = (
        {"messages": (UserMessage(content=text),)} if isinstance(request_, ChatCompletionRequest) else {"content": text}
    )
    assert text in await prompt_told(language, request_.model_copy(update=fields))


@pytest.mark.parametrize("request_", [chat(), completion()], ids=["chat", "completion"])
async def test_an_answer_says_whether_it_has_its_shape(language: Language, call: Call, request_: Any) -> None:
    registry = Registry([await language("maybe")])
    for pattern, outcome in [("m.*", ConstraintOutcome.SATISFIED), ("yes|no", ConstraintOutcome.VIOLATED)]:
        request = request_.model_copy(update={"response_format": RegexResponseFormat(pattern=pattern)})
        assert (await answered(registry, request, call)).constraint_outcome is outcome


REFUSED: list[tuple[Any, type[RequestError], str]] = [
    (chat(messages=(HELLO,) * 5), InvalidField, "messages"),
    (chat(messages=(SystemMessage(content="A"),)), InvalidField, "messages"),
    (
        chat(messages=(UserMessage(content=(PICTURE,)),)),
        UnsupportedByModel,
        "messages[0].user.content.items.items[0].image",
    ),
    (chat(tool_config=ToolConfig(tool_choice="required")), InvalidField, "tool_config.choice"),
    (chat(tools=(ToolDefinition(tool_name="t"),) * 2), InvalidField, "tools[1].tool_name"),
    (chat(messages=(UserMessage(content="x" * CONTEXT_LENGTH),)), ContextLengthExceeded, "messages"),
    (chat(messages=(UserMessage(content="x" * 10**6),)), ContextLengthExceeded, "messages"),
    (chat(sampling_params=SamplingParams(stop_token_ids=(10**6,))), InvalidField, "sampling_params.stop_token_ids[0]"),
    (chat(logprobs=LogProbConfig(top_k=21)), InvalidField, "logprobs.top_k"),
    (chat(response_format=RegexResponseFormat(pattern="(")), InvalidConstraint, "response_format.regex.pattern"),
    (
        chat(response_format=RegexResponseFormat(pattern="x" * 1001)),
        InvalidConstraint,
        "response_format.regex.pattern",
    ),
    (completion(content=""), InvalidField, "content"),
    (completion(content=(TextContentItem(text=""),)), InvalidField, "content"),
    (completion(content=(TextContentItem(text="a"), PICTURE)), UnsupportedByModel, "content.items.items[1].image"),
    (completion(content="x" * CONTEXT_LENGTH), ContextLengthExceeded, "content"),
    (completion(content="x" * 10**6), ContextLengthExceeded, "content"),
    (
        completion(sampling_params=SamplingParams(min_tokens=9, max_tokens=3)),
        InvalidField,
        "sampling_params.min_tokens",
    ),
    (
        completion(response_format=JsonSchemaResponseFormat(json_schema="{}", describe_in_prompt=True)),
        InvalidField,
        "response_format.json_schema.describe_in_prompt",
    ),
    (
        completion(response_format=JsonSchemaResponseFormat(json_schema="{")),
        InvalidConstraint,
        "response_format.json_schema.json_schema",
    ),
]


@pytest.mark.parametrize(("request_", "kind", "field"), REFUSED)
@pytest.mark.parametrize("way", [answered, streamed])
async def test_what_cannot_be_honoured_is_refused_before_the_engine_hears_of_it(
    language: Language, call: Call, way: Any, request_: Any, kind: type[RequestError], field: str
) -> None:
    def script(prompt: str) -> Reply:
        raise AssertionError

    with pytest.raises(kind) as refused:
        await way(Registry([await language(script=script)]), request_, call)
    assert [violation.field for violation in refused.value.violations] == [field]


@pytest.mark.parametrize("request_", [chat(), completion()], ids=["chat", "completion"])
async def test_a_full_context_is_told_in_numbers(registry: Registry, call: Call, request_: Any) -> None:
    content = {"messages": (UserMessage(content="x" * CONTEXT_LENGTH),), "content": "x" * CONTEXT_LENGTH}
    name = "messages" if isinstance(request_, ChatCompletionRequest) else "content"
    with pytest.raises(ContextLengthExceeded) as refused:
        await answered(registry, request_.model_copy(update={name: content[name]}), call)
    assert refused.value.metadata["limit"] == str(CONTEXT_LENGTH - 1)
    assert int(refused.value.metadata["tokens"]) >= CONTEXT_LENGTH


@pytest.mark.parametrize("request_", [chat(), completion()], ids=["chat", "completion"])
async def test_a_prompt_that_leaves_room_for_one_token_gets_one(registry: Registry, call: Call, request_: Any) -> None:
    prompt = "x" * (CONTEXT_LENGTH - 1)
    content: Any = {"content": prompt}
    if isinstance(request_, ChatCompletionRequest):
        content = {"messages": (UserMessage(content=prompt[FRAME:]),)}
    answer = await answered(registry, request_.model_copy(update=content), call)
    assert (answer.usage.prompt_tokens, answer.usage.completion_tokens) == (CONTEXT_LENGTH - 1, 1)


@pytest.mark.parametrize("request_", [chat(model_id="x"), completion(model_id="x")], ids=["chat", "completion"])
async def test_an_unknown_model_is_told_with_the_known_ones(registry: Registry, call: Call, request_: Any) -> None:
    with pytest.raises(ModelNotFound, match=f"{EMBEDDER}, {LLM}") as refused:
        await answered(registry, request_, call)
    assert refused.value.metadata == {"known_models": f"{EMBEDDER},{LLM}"}


@pytest.mark.parametrize(
    "request_", [chat(model_id=EMBEDDER), completion(model_id=EMBEDDER)], ids=["chat", "completion"]
)
async def test_an_embedding_model_does_not_talk(registry: Registry, call: Call, request_: Any) -> None:
    with pytest.raises(WrongModelType, match="not a language model"):
        await answered(registry, request_, call)


@pytest.mark.parametrize("request_", [chat(), completion()], ids=["chat", "completion"])
async def test_a_model_that_is_not_loaded_yet_asks_for_patience(call: Call, request_: Any) -> None:
    with pytest.raises(ModelNotReady) as refused:
        await answered(Registry([ScriptedLanguageEngine(LLM, LIMITS)]), request_, call)
    assert isinstance(refused.value, InferwireError)
    assert refused.value.retry_after_s


async def test_any_json_object_may_be_asked_for(language: Language, call: Call) -> None:
    answer = await answered(
        Registry([await language('{"a": 1}')]), chat(response_format=JsonObjectResponseFormat()), call
    )
    assert answer.constraint_outcome is ConstraintOutcome.SATISFIED
