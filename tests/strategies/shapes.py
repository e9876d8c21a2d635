"""Api objects of every shape, within the bounds of the contract.

Numbers are ones that protobuf can hold: 32-bit floats, integers of the field's width, times of whole nanoseconds
(spans) and microseconds (points). What a converter changes on purpose is left out here and has a test of its own.
"""

from dataclasses import replace
from datetime import timedelta
from typing import TypeVar

from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from service.api.chat import ChatCompletionRequest, ChatCompletionResponse, ReasoningConfig
from service.api.completion import CompletionRequest, CompletionResponse
from service.api.content import (
    ImageBytes,
    ImageContentItem,
    ImageDelta,
    ImageUrl,
    ReasoningDelta,
    TextContentItem,
    TextDelta,
    ToolCallDelta,
    ToolCallParseStatus,
)
from service.api.embeddings import (
    Embedding,
    EmbeddingEncoding,
    EmbeddingItem,
    EmbeddingOptions,
    EmbeddingsRequest,
    EmbeddingsResponse,
    EmbeddingTaskType,
    TextTruncation,
)
from service.api.events import Complete, Progress, Start
from service.api.load import ModelLoad, ServerLoad
from service.api.messages import (
    CompletionMessage,
    StopReason,
    SystemMessage,
    ToolResponse,
    ToolResponseMessage,
    UserMessage,
)
from service.api.models import (
    Bf16QuantizationConfig,
    Fp8QuantizationConfig,
    Int4QuantizationConfig,
    Int8QuantizationConfig,
    Model,
    ModelCapabilities,
    ModelLimits,
    ModelState,
    ModelType,
    OtherQuantizationConfig,
)
from service.api.preflight import PreflightReport
from service.api.response_format import (
    BnfGrammar,
    ChoiceResponseFormat,
    ConstraintOutcome,
    EbnfGrammar,
    GrammarResponseFormat,
    JsonObjectResponseFormat,
    JsonSchemaResponseFormat,
    RegexResponseFormat,
    ResponseFormatType,
)
from service.api.sampling import (
    GreedySamplingStrategy,
    LogProbConfig,
    SamplingParams,
    TokenLogProb,
    TokenLogProbs,
    TopKSamplingStrategy,
    TopPSamplingStrategy,
)
from service.api.score import (
    RerankDocument,
    RerankRequest,
    RerankResponse,
    RerankResult,
    ScorePair,
    ScoreRequest,
    ScoreResponse,
    ScoreResult,
    ScoreType,
)
from service.api.tokenize import (
    DetokenizeRequest,
    DetokenizeResponse,
    TokenizeConversation,
    TokenizeRequest,
    TokenizeResponse,
    TokenizeText,
    TokenSpan,
)
from service.api.tools import (
    BuiltinTool,
    NamedToolChoice,
    SystemMessageBehavior,
    ToolCall,
    ToolCallVerdict,
    ToolChoice,
    ToolConfig,
    ToolDefinition,
    ToolInputSchema,
    ToolParamDefinition,
    ToolParameters,
    ToolPromptFormat,
)
from service.api.usage import MetricEvent, Timings, Usage
from service.errors import FieldViolation

T = TypeVar("T")
# Protobuf's JSON reader refuses the largest 32-bit float of all, which its own writer rounds up.
FLOAT32_MOST = 2.0**127
INT32_MAX = 2**31 - 1
INT64_MAX = 2**63 - 1


def maybe(values: SearchStrategy[T]) -> SearchStrategy[T | None]:
    return st.none() | values


def some(values: SearchStrategy[T], *, least: int = 0) -> SearchStrategy[tuple[T, ...]]:
    return st.lists(values, min_size=least, max_size=3).map(tuple)


def float32(least: float = -FLOAT32_MOST, most: float = FLOAT32_MOST, *, above: bool = False) -> SearchStrategy[float]:
    return st.floats(least, most, exclude_min=above, allow_nan=False, width=32)


texts = st.text(max_size=20)
words = st.text(min_size=1, max_size=20)
counts = st.integers(0, INT32_MAX)
token_ids = st.integers(0, INT32_MAX)
temperatures = float32(0, 2, above=True)
shares = float32(0, 1, above=True)
penalties = float32(-2, 2)
biases = float32(-100, 100)
# Facts as JSON knows them. Struct holds every number as a double, and minus zero comes back as zero.
json_numbers = st.integers(-(2**53), 2**53) | st.floats(allow_nan=False, allow_infinity=False).map(lambda x: x + 0.0)
json_values = st.recursive(
    st.none() | st.booleans() | json_numbers | texts,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(texts, inner, max_size=2),
    max_leaves=4,
)
json_objects = st.dictionaries(texts, json_values, max_size=3)

builtin_names = {tool.value for tool in BuiltinTool}
custom_tool_names = st.from_regex(r"\A[A-Za-z0-9_.-]{1,64}\Z").filter(lambda name: name not in builtin_names)
tool_names = st.sampled_from(BuiltinTool) | custom_tool_names
tool_parameters = st.builds(
    ToolParamDefinition,
    name=words,
    param_type=words,
    description=maybe(texts),
    required=maybe(st.booleans()),
    default_json=maybe(texts),
)
tool_inputs = st.builds(ToolParameters, parameters=some(tool_parameters)) | st.builds(
    ToolInputSchema, input_schema_json=words
)
tool_definitions = st.builds(ToolDefinition, tool_name=tool_names, description=maybe(texts), input=maybe(tool_inputs))
tool_calls = st.builds(
    ToolCall,
    call_id=texts,
    tool_name=maybe(tool_names),
    arguments_json=texts,
    verdict=maybe(st.sampled_from(ToolCallVerdict)),
    problem=maybe(texts),
    raw_text=maybe(texts),
)
tool_configs = st.builds(
    ToolConfig,
    tool_choice=maybe(st.sampled_from(ToolChoice) | st.builds(NamedToolChoice, tool_name=tool_names)),
    tool_prompt_format=maybe(st.sampled_from(ToolPromptFormat)),
    system_message_behavior=maybe(st.sampled_from(SystemMessageBehavior)),
    parallel_tool_calls=maybe(st.booleans()),
)

images = st.builds(
    ImageContentItem,
    source=st.builds(ImageUrl, url=words)
    | st.builds(ImageBytes, data=st.binary(min_size=1, max_size=20), mime_type=words),
)
items = st.builds(TextContentItem, text=texts) | images
contents = texts | some(items, least=1)
text_deltas = st.builds(TextDelta, text=texts)
tool_call_deltas = st.builds(
    ToolCallDelta,
    tool_call=maybe(texts | tool_calls),
    parse_status=st.sampled_from(ToolCallParseStatus),
    call_index=counts,
    call_id=texts,
)
reasoning_deltas = st.builds(ReasoningDelta, text=texts)
deltas = text_deltas | st.builds(ImageDelta, image=st.binary(max_size=20)) | tool_call_deltas | reasoning_deltas

stop_reasons = st.sampled_from(StopReason)
user_messages = st.builds(UserMessage, content=contents, context=maybe(contents))
tool_response_messages = st.builds(ToolResponseMessage, call_id=texts, tool_name=maybe(tool_names), content=contents)
completion_messages = st.builds(
    CompletionMessage, content=contents, stop_reason=maybe(stop_reasons), tool_calls=some(tool_calls), reasoning=texts
)
tool_responses = st.builds(
    ToolResponse, call_id=texts, tool_name=tool_names, content=contents, metadata=maybe(json_objects)
)
messages = st.one_of(
    user_messages,
    st.builds(SystemMessage, content=contents),
    tool_response_messages,
    completion_messages,
    tool_responses,
)

sampling_strategies = st.one_of(
    st.builds(GreedySamplingStrategy),
    st.builds(TopPSamplingStrategy, temperature=maybe(temperatures), top_p=maybe(shares)),
    st.builds(
        TopKSamplingStrategy, top_k=st.integers(1, INT32_MAX), temperature=maybe(temperatures), top_p=maybe(shares)
    ),
)
sampling_params = st.builds(
    SamplingParams,
    strategy=maybe(sampling_strategies),
    max_tokens=maybe(counts),
    repetition_penalty=maybe(float32(0, 2, above=True)),
    stop=some(words),
    stop_token_ids=some(token_ids),
    seed=maybe(st.integers(-INT64_MAX - 1, INT64_MAX)),
    min_p=maybe(float32(0, 1)),
    presence_penalty=maybe(penalties),
    frequency_penalty=maybe(penalties),
    logit_bias=st.dictionaries(token_ids, biases, max_size=3),
    min_tokens=maybe(counts),
)
reasoning_configs = st.builds(
    ReasoningConfig, enabled=maybe(st.booleans()), max_tokens=maybe(counts), hidden=st.booleans()
)
log_prob_configs = st.builds(LogProbConfig, top_k=maybe(counts))
# A token that a constraint forbids has the logarithm of zero.
log_probabilities = float32(most=0) | st.just(float("-inf"))
token_log_probs = st.builds(
    TokenLogProb,
    token_id=token_ids,
    text=texts,
    token_bytes=st.binary(max_size=8),
    logprob=log_probabilities,
    rank=counts,
)
logprobs = some(
    st.builds(
        TokenLogProbs,
        logprobs_by_token=st.dictionaries(texts, log_probabilities, max_size=3),
        token=token_log_probs,
        top=some(token_log_probs),
    )
)

response_formats = st.one_of(
    st.builds(JsonSchemaResponseFormat, json_schema=words, describe_in_prompt=maybe(st.booleans())),
    st.builds(
        GrammarResponseFormat,
        grammar=st.builds(EbnfGrammar, ebnf=words)
        | st.builds(BnfGrammar, rules=st.dictionaries(texts, texts, min_size=1, max_size=3)),
    ),
    st.builds(RegexResponseFormat, pattern=words),
    st.builds(ChoiceResponseFormat, choices=some(words, least=1)),
    st.builds(JsonObjectResponseFormat),
)
constraint_outcomes = maybe(st.sampled_from(ConstraintOutcome))

model_loads = st.builds(
    ModelLoad,
    model_id=texts,
    running_requests=counts,
    waiting_requests=counts,
    cache_usage=st.floats(0, 1),
    waiting_tokens=st.integers(0, INT64_MAX),
    state=st.sampled_from(ModelState),
    prompt_tokens_total=st.integers(0, INT64_MAX),
    generated_tokens_total=st.integers(0, INT64_MAX),
)
server_loads = st.builds(ServerLoad, models=some(model_loads), in_flight_calls=counts, draining=st.booleans())
usages = st.builds(
    Usage,
    prompt_tokens=counts,
    cached_tokens=counts,
    completion_tokens=counts,
    neutralized_spans=counts,
    reasoning_tokens=counts,
)
spans_s = st.integers(0, 10**15).map(lambda nanos: nanos / 10**9)
points_s = st.integers(0, 4 * 10**15).map(lambda micros: micros / 10**6)
timings = st.builds(Timings, queued_s=spans_s, time_to_first_token_s=maybe(spans_s), total_s=spans_s)
metric_events = st.builds(
    MetricEvent,
    metric=texts,
    value=st.integers(-INT64_MAX - 1, INT64_MAX) | st.floats(allow_nan=False),
    unit=texts,
    trace_id=texts,
    span_id=texts,
    timestamp_s=points_s,
    attributes=st.dictionaries(texts, texts, max_size=3),
)
metrics = some(metric_events)

timeouts = st.timedeltas(timedelta(microseconds=1), timedelta(days=10))
chat_requests = st.builds(
    ChatCompletionRequest,
    model_id=words,
    messages=some(messages, least=1),
    sampling_params=maybe(sampling_params),
    tools=some(tool_definitions),
    tool_config=maybe(tool_configs),
    response_format=maybe(response_formats),
    logprobs=maybe(log_prob_configs),
    first_token_timeout=maybe(timeouts),
    reasoning=maybe(reasoning_configs),
)
chat_responses = st.builds(
    ChatCompletionResponse,
    completion_message=completion_messages,
    logprobs=logprobs,
    metrics=metrics,
    usage=usages,
    timings=timings,
    constraint_outcome=constraint_outcomes,
    stop_string=maybe(texts),
    model_id=texts,
    request_id=texts,
    reasoning_truncated=st.booleans(),
)
completion_requests = st.builds(
    CompletionRequest,
    model_id=words,
    content=contents,
    sampling_params=maybe(sampling_params),
    response_format=maybe(response_formats),
    logprobs=maybe(log_prob_configs),
    first_token_timeout=maybe(timeouts),
)
completion_responses = st.builds(
    CompletionResponse,
    content=texts,
    stop_reason=stop_reasons,
    logprobs=logprobs,
    metrics=metrics,
    usage=usages,
    timings=timings,
    constraint_outcome=constraint_outcomes,
    stop_string=maybe(texts),
    model_id=texts,
    request_id=texts,
)

sequences = st.integers(0, INT64_MAX)
starts = st.builds(Start, sequence=sequences, model_id=texts, request_id=texts)
completes = st.builds(
    Complete,
    sequence=sequences,
    stop_reason=stop_reasons,
    usage=usages,
    timings=timings,
    metrics=metrics,
    constraint_outcome=constraint_outcomes,
    stop_string=maybe(texts),
)
chat_events = st.one_of(
    starts,
    st.builds(Progress, sequence=sequences, delta=deltas, logprobs=logprobs, stop_reason=maybe(stop_reasons)),
    st.builds(replace, completes, reasoning_truncated=st.booleans()),
)
# A completion makes no calls, so its deltas are text and only the end has a stop reason.
completion_events = st.one_of(
    starts,
    st.builds(Progress, sequence=sequences, delta=text_deltas, logprobs=logprobs, stop_reason=st.none()),
    completes,
)

embeddings_requests = st.builds(
    EmbeddingsRequest,
    model_id=words,
    contents=some(items, least=1),
    text_truncation=maybe(st.sampled_from(TextTruncation)),
    output_dimension=maybe(st.integers(1, INT32_MAX)),
    task_type=maybe(st.sampled_from(EmbeddingTaskType)),
    encoding=maybe(st.sampled_from(EmbeddingEncoding)),
)
embedding_options = st.builds(
    EmbeddingOptions,
    model_id=words,
    text_truncation=maybe(st.sampled_from(TextTruncation)),
    output_dimension=maybe(st.integers(1, INT32_MAX)),
    task_type=maybe(st.sampled_from(EmbeddingTaskType)),
    encoding=maybe(st.sampled_from(EmbeddingEncoding)),
)
embedding_items = st.builds(EmbeddingItem, id=words, content=items)
embeddings = st.builds(
    Embedding,
    values=some(float32()),
    packed=st.binary(max_size=8),
    truncated=st.booleans(),
    original_tokens=counts,
    used_tokens=counts,
    scale=float32(),
)
embeddings_responses = st.builds(
    EmbeddingsResponse, embeddings=some(embeddings), usage=usages, timings=timings, model_id=texts, request_id=texts
)

capabilities = st.builds(
    ModelCapabilities,
    images=st.booleans(),
    chat=st.booleans(),
    response_formats=some(st.sampled_from(ResponseFormatType)),
    tool_prompt_formats=some(st.sampled_from(ToolPromptFormat)),
    output_dimension=st.booleans(),
    embedding_task_types=some(st.sampled_from(EmbeddingTaskType)),
    reasoning=st.booleans(),
    reasoning_switch=st.booleans(),
    score_types=some(st.sampled_from(ScoreType)),
)
limits = st.builds(
    ModelLimits,
    context_length=counts,
    max_request_bytes=st.integers(0, INT64_MAX),
    max_logprobs=counts,
    max_contents=counts,
    max_messages=counts,
    max_constraint_bytes=counts,
    max_elements=counts,
    max_tools=counts,
    max_stop_strings=counts,
    max_stop_token_ids=counts,
    max_logit_biases=counts,
    max_tokenized_tokens=counts,
    max_images=counts,
    max_image_bytes=st.integers(0, INT64_MAX),
    max_image_pixels=st.integers(0, INT64_MAX),
    max_documents=counts,
)
quantizations = st.one_of(
    st.builds(Bf16QuantizationConfig, method=maybe(texts)),
    st.builds(Fp8QuantizationConfig, method=maybe(texts)),
    st.builds(Int4QuantizationConfig, method=maybe(texts), scheme=maybe(texts)),
    st.builds(Int8QuantizationConfig, method=maybe(texts), scheme=maybe(texts)),
    st.builds(OtherQuantizationConfig, method=maybe(texts), scheme=texts),
)
models = st.builds(
    Model,
    identifier=texts,
    provider_resource_id=texts,
    provider_id=texts,
    model_type=st.sampled_from(ModelType),
    metadata=json_objects,
    capabilities=capabilities,
    limits=limits,
    quantization=maybe(quantizations),
    base_model_id=maybe(texts),
    state=st.sampled_from(ModelState),
    embedding_dimension=maybe(st.integers(0, INT32_MAX)),
)

violations = st.builds(
    FieldViolation,
    field=texts,
    description=texts,
    reason=st.sampled_from(["INVALID_FIELD", "UNSUPPORTED_BY_MODEL", "CONTEXT_LENGTH_EXCEEDED"]),
)
preflight_reports = st.builds(
    PreflightReport,
    accepted=st.booleans(),
    violations=some(violations),
    prompt=texts,
    prompt_tokens=counts,
    context_tokens_left=counts,
    tool_prompt_format=maybe(st.sampled_from(ToolPromptFormat)),
    constraint=texts,
    neutralized_spans=counts,
)

tokenize_texts = st.builds(
    TokenizeText, text=texts, add_special_tokens=maybe(st.booleans()), return_spans=st.booleans()
)
tokenize_conversations = st.builds(
    TokenizeConversation,
    messages=some(messages, least=1),
    tools=some(tool_definitions),
    tool_config=maybe(tool_configs),
    response_format=maybe(response_formats),
    reasoning=maybe(reasoning_configs),
)
tokenize_requests = st.builds(
    TokenizeRequest, model_id=words, input=tokenize_texts | tokenize_conversations, return_pieces=st.booleans()
)
tokenize_responses = st.builds(
    TokenizeResponse,
    token_ids=some(token_ids),
    pieces=some(st.binary(max_size=8)),
    spans=some(st.builds(TokenSpan, start=counts, end=counts)),
    count=counts,
    context_length=counts,
    usage=usages,
    timings=timings,
    model_id=texts,
    request_id=texts,
)
detokenize_requests = st.builds(
    DetokenizeRequest, model_id=words, token_ids=some(token_ids), skip_special_tokens=st.booleans()
)
detokenize_responses = st.builds(
    DetokenizeResponse,
    text=texts,
    data=st.binary(max_size=8),
    usage=usages,
    timings=timings,
    model_id=texts,
    request_id=texts,
)

truncations = st.sampled_from(TextTruncation)
score_pairs = st.builds(ScorePair, query=words, document=words)
score_requests = st.builds(
    ScoreRequest,
    model_id=words,
    pairs=some(score_pairs, least=1),
    text_truncation=maybe(truncations),
    raw_scores=st.booleans(),
)
score_results = st.builds(
    ScoreResult, score=float32(), truncated=st.booleans(), original_tokens=counts, used_tokens=counts
)
score_responses = st.builds(
    ScoreResponse,
    results=some(score_results),
    score_type=st.sampled_from(ScoreType),
    usage=usages,
    timings=timings,
    model_id=texts,
    request_id=texts,
)
rerank_documents = st.builds(RerankDocument, text=words, id=texts)
rerank_requests = st.builds(
    RerankRequest,
    model_id=words,
    query=words,
    documents=some(rerank_documents, least=1),
    top_n=maybe(st.integers(1, INT32_MAX)),
    return_documents=st.booleans(),
    text_truncation=maybe(truncations),
    raw_scores=st.booleans(),
)
rerank_results = st.builds(
    RerankResult,
    index=counts,
    relevance_score=float32(),
    id=texts,
    document=maybe(rerank_documents),
    truncated=st.booleans(),
    original_tokens=counts,
    used_tokens=counts,
)
rerank_responses = st.builds(
    RerankResponse,
    results=some(rerank_results),
    score_type=st.sampled_from(ScoreType),
    usage=usages,
    timings=timings,
    model_id=texts,
    request_id=texts,
)
