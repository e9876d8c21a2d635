"""The README's table for those who come from the Llama Stack Inference API is complete, and true."""

import re
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.contract.descriptors import declared

README = Path(__file__).parents[2] / "README.md"
HEADING = "## From the Llama Stack Inference API"

# Everything that API has, with the fields, values or arguments of each. The fields that only tell the members of a
# union apart (`role`, `type`) are left out: the table says once for all that a oneof takes their place.
SEED = {
    "BuiltinTool": "brave_search wolfram_alpha photogen code_interpreter",
    "Bf16QuantizationConfig": "",
    "ChatCompletionRequest": "model messages sampling_params tools tool_config response_format stream logprobs",
    "ChatCompletionResponse": "completion_message logprobs",
    "ChatCompletionResponseEvent": "event_type delta logprobs stop_reason",
    "ChatCompletionResponseEventType": "start complete progress",
    "ChatCompletionResponseStreamChunk": "event",
    "CompletionMessage": "content stop_reason tool_calls",
    "CompletionRequest": "model content sampling_params response_format stream logprobs",
    "CompletionResponse": "content stop_reason logprobs",
    "CompletionResponseStreamChunk": "delta stop_reason logprobs",
    "ContentDelta": "",
    "EmbeddingTaskType": "query document",
    "EmbeddingsResponse": "embeddings",
    "Fp8QuantizationConfig": "",
    "GrammarResponseFormat": "bnf",
    "GreedySamplingStrategy": "",
    "ImageContentItem": "image.url image.data",
    "ImageDelta": "image",
    "Inference": "model_store",
    "Inference.chat_completion": (
        "model_id messages sampling_params tools tool_choice tool_prompt_format response_format stream logprobs"
        " tool_config"
    ),
    "Inference.completion": "model_id content sampling_params response_format stream logprobs",
    "Inference.embeddings": "model_id contents text_truncation output_dimension task_type",
    "Int4QuantizationConfig": "scheme",
    "InterleavedContent": "",
    "InterleavedContent(item)": "",
    "InterleavedContent(list)": "",
    "InterleavedContent(str)": "",
    "InterleavedContentItem": "",
    "JsonSchemaResponseFormat": "json_schema",
    "LogProbConfig": "top_k",
    "Message": "",
    "MetricEvent": "trace_id span_id timestamp attributes metric value unit",
    "MetricResponseMixin": "metrics",
    "Model": "identifier provider_resource_id provider_id metadata model_type",
    "ModelStore": "get_model",
    "ModelType": "llm embedding",
    "QuantizationConfig": "",
    "QuantizationType": "bf16 fp8 int4",
    "ResponseFormat": "",
    "ResponseFormatType": "json_schema grammar",
    "SamplingParams": "strategy max_tokens repetition_penalty",
    "SamplingStrategy": "",
    "StopReason": "end_of_turn end_of_message out_of_tokens",
    "SystemMessage": "content",
    "SystemMessageBehavior": "append replace",
    "TextContentItem": "text",
    "TextDelta": "text",
    "TextTruncation": "none start end",
    "TokenLogProbs": "logprobs_by_token",
    "ToolCall": "call_id tool_name arguments",
    "ToolCallDelta": "tool_call parse_status",
    "ToolCallParseStatus": "started in_progress failed succeeded",
    "ToolChoice": "auto required none",
    "ToolConfig": "tool_choice tool_prompt_format system_message_behavior",
    "ToolDefinition": "tool_name description parameters",
    "ToolParamDefinition": "param_type description required default",
    "ToolPromptFormat": "json function_tag python_list",
    "ToolResponse": "call_id tool_name content metadata",
    "ToolResponseMessage": "call_id tool_name content",
    "TopKSamplingStrategy": "top_k",
    "TopPSamplingStrategy": "temperature top_p",
    "UserMessage": "content context",
}
PARTS = [(owner, part) for owner, parts in SEED.items() for part in parts.split()]
CONTRACT = {item.name for item in declared()}


class Row(NamedTuple):
    ours: list[str]
    note: str


def quoted(cell: str) -> list[str]:
    return re.findall(r"`([^`]+)`", cell)


@pytest.fixture(scope="module")
def table() -> dict[str, Row]:
    """The rows by the seed's name."""
    section = README.read_text().partition(f"{HEADING}\n")[2].partition("\n## ")[0]
    cells = [re.split(r" ?(?<!\\)\| ?", line)[1:-1] for line in section.splitlines() if line.startswith("| `")]
    return {quoted(seed)[0]: Row(quoted(ours), note) for seed, ours, note in cells}


def keeps_name(row: Row, part: str) -> bool:
    """Whether one of the counterparts has the field, oneof or enum value under the name that it has there."""
    return any(name.endswith(f".{part}") or f"{name}.{part}" in CONTRACT or value_of(name, part) for name in row.ours)


def value_of(enum: str, member: str) -> bool:
    prefix = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", enum).upper()
    return f"{enum}.{prefix}_{member.upper()}" in CONTRACT


def test_everything_of_the_seed_has_a_row(table: dict[str, Row]) -> None:
    assert [name for name in SEED if name not in table] == []


def test_a_part_has_a_row_or_the_same_name_here(table: dict[str, Row]) -> None:
    without_row = [(owner, part) for owner, part in PARTS if f"{owner}.{part}" not in table]
    assert [(owner, part) for owner, part in without_row if not keeps_name(table[owner], part)] == []


def test_every_row_names_a_counterpart(table: dict[str, Row]) -> None:
    assert [seed for seed, row in table.items() if not row.ours] == []


def test_no_row_is_about_something_that_the_seed_lacks(table: dict[str, Row]) -> None:
    assert set(table) <= set(SEED) | {f"{owner}.{part}" for owner, part in PARTS}


def test_every_name_of_ours_is_in_the_contract(table: dict[str, Row]) -> None:
    assert [name for row in table.values() for name in row.ours if name not in CONTRACT] == []


def test_names_in_notes_are_in_the_contract(table: dict[str, Row]) -> None:
    dotted = [name for row in table.values() for name in quoted(row.note) if "." in name]
    assert dotted
    assert [name for name in dotted if name not in CONTRACT] == []
