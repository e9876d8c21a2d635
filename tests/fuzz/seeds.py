"""Valid requests of every method, rich enough for a mutation to reach each field of the contract.

Answers are short: a real engine has to give thousands of them.
"""

import json
from dataclasses import dataclass
from typing import Any

from google.protobuf.message import Message

from tests.fuzz.methods import METHODS, Method
from tests.serving import EMBEDDER, LLM

Fields = dict[str, Any]

BRIEF: Fields = {"max_tokens": 3}
SCHEMA = json.dumps(
    {
        "type": "object",
        "properties": {
            "city": {"type": "string", "minLength": 1, "maxLength": 20},
            "days": {"type": "integer", "minimum": 1, "maximum": 7},
            "unit": {"enum": ["celsius", "fahrenheit", None]},
            "tags": {"type": "array", "items": {"$ref": "#/$defs/tag"}, "maxItems": 3},
            "either": {"anyOf": [{"type": "number"}, {"type": "boolean"}, {"type": "null"}]},
        },
        "required": ["city", "unit"],
        "additionalProperties": False,
        "$defs": {"tag": {"type": "string", "pattern": "^[a-z]+$"}},
    }
)
SMALL_SCHEMA = '{"type": "object", "properties": {"a": {"enum": [1]}}, "required": ["a"]}'
EBNF = 'root ::= greeting " " name\ngreeting ::= "Hello" | "Hi"\nname ::= [A-Z] [a-z]+'

FLAT_TOOL: Fields = {
    "tool_name": {"custom": "get_weather"},
    "description": "The weather of a city",
    "parameters": {
        "parameters": [
            {"name": "city", "param_type": "string", "description": "Where", "required": True},
            {"name": "days", "param_type": "int", "required": False, "default_json": "1"},
            {"name": "tags", "param_type": "list[str]", "default_json": '["a", {"b": null}]'},
            {"name": "when", "param_type": "a date"},
        ]
    },
}
SCHEMA_TOOL: Fields = {"tool_name": {"custom": "plan.trip"}, "input_schema_json": SCHEMA}
BUILTIN_TOOL: Fields = {"tool_name": {"builtin": "BUILTIN_TOOL_BRAVE_SEARCH"}}
NO_INPUT_TOOL: Fields = {"tool_name": {"custom": "now"}, "description": "The time"}

IMAGE_URL: Fields = {"image": {"url": "https://example.com/a.png"}}
IMAGE_DATA: Fields = {"image": {"data": {"data": b"\x89PNG\r\n", "mime_type": "image/png"}}}

USER: Fields = {"user": {"content": {"text": "What is the weather in Paris?"}}}
HISTORY: list[Fields] = [
    {"system": {"content": {"text": "Be brief. {{function_definitions}}"}}},
    {
        "user": {
            "content": {"items": {"items": [{"text": "a"}, {"text": "b <|im_end|> é 🦊"}]}},
            "context": {"text": "c"},
        }
    },
    {
        "assistant": {
            "content": {"text": ""},
            "stop_reason": "STOP_REASON_END_OF_MESSAGE",
            "tool_calls": [
                {
                    "call_id": "1",
                    "tool_name": {"custom": "get_weather"},
                    "arguments_json": '{"city": "Paris", "days": 2, "tags": ["x", {"y": 1.5e3}]}',
                    "verdict": "TOOL_CALL_VERDICT_COMPLETE",
                },
                {
                    "call_id": "2",
                    "tool_name": {"builtin": "BUILTIN_TOOL_WOLFRAM_ALPHA"},
                    "arguments_json": '{"query": "1 + 1"}',
                    "problem": "none",
                    "raw_text": "[f()]",
                },
            ],
        }
    },
    {"tool": {"call_id": "1", "tool_name": {"custom": "get_weather"}, "content": {"text": "sunny"}}},
    {
        "tool_response": {
            "call_id": "2",
            "tool_name": {"builtin": "BUILTIN_TOOL_WOLFRAM_ALPHA"},
            "content": {"text": "2"},
            "metadata": {"score": 0.5, "ids": [1, {"b": None}], "deep": {"er": {"a": "b"}}},
        }
    },
    {"assistant": {"content": {"text": "It is sunny."}, "stop_reason": "STOP_REASON_END_OF_TURN"}},
    USER,
]

ALL_SAMPLING: Fields = {
    "top_p": {"temperature": 0.5, "top_p": 0.5},
    "max_tokens": 4,
    "repetition_penalty": 1.1,
    "stop": ["x", "é", "END"],
    "stop_token_ids": [1, 2],
    "seed": -1,
    "min_p": 0.1,
    "presence_penalty": 0.5,
    "frequency_penalty": -0.5,
    "logit_bias": {1: 2.0, 7: -100.0},
    "min_tokens": 1,
}
TOP_K_SAMPLING: Fields = {"top_k": {"top_k": 3, "temperature": 0.7, "top_p": 0.9}, "max_tokens": 3, "seed": 2**62}
GREEDY_SAMPLING: Fields = {"greedy": {}, "max_tokens": 2}

FORMATS: list[Fields] = [
    {"json_schema": {"json_schema": SCHEMA}},
    {"json_schema": {"json_schema": SMALL_SCHEMA, "describe_in_prompt": False}},
    {"grammar": {"ebnf": EBNF}},
    {"grammar": {"bnf": {"rules": {"root": '"a" | [b-c]+ | digit', "digit": "[0-9]{1,3}"}}}},
    {"regex": {"pattern": "(a|b){2}[0-9]+\\.x?"}},
    {"choice": {"choices": ["yes", "no", "é"]}},
    {"json_object": {}},
]
TOOL_CONFIGS: list[Fields] = [
    {"choice": "TOOL_CHOICE_AUTO", "tool_prompt_format": "TOOL_PROMPT_FORMAT_JSON"},
    {"choice": "TOOL_CHOICE_REQUIRED", "tool_prompt_format": "TOOL_PROMPT_FORMAT_FUNCTION_TAG"},
    {
        "named_tool": {"custom": "get_weather"},
        "tool_prompt_format": "TOOL_PROMPT_FORMAT_PYTHON_LIST",
        "system_message_behavior": "SYSTEM_MESSAGE_BEHAVIOR_REPLACE",
        "parallel_tool_calls": False,
    },
    {"choice": "TOOL_CHOICE_NONE", "system_message_behavior": "SYSTEM_MESSAGE_BEHAVIOR_APPEND"},
]


def _chat(**fields: Any) -> Fields:
    return {"model_id": LLM, "messages": [USER], "sampling_params": BRIEF, **fields}


def _completion(**fields: Any) -> Fields:
    return {"model_id": LLM, "content": {"text": "Once upon a time"}, "sampling_params": BRIEF, **fields}


def _embeddings(**fields: Any) -> Fields:
    return {"model_id": EMBEDDER, "contents": [{"text": "cat"}], **fields}


CHATS: list[Fields] = [
    _chat(first_token_timeout={"seconds": 60}),
    _chat(messages=HISTORY, sampling_params=ALL_SAMPLING, logprobs={"top_k": 2}),
    _chat(messages=[*HISTORY, {"user": {"content": {"items": {"items": [{"text": "a"}, IMAGE_URL, IMAGE_DATA]}}}}]),
    *(_chat(response_format=shape) for shape in FORMATS),
    *(_chat(tools=[FLAT_TOOL, SCHEMA_TOOL], tool_config=config) for config in TOOL_CONFIGS),
    _chat(messages=HISTORY, tools=[FLAT_TOOL, BUILTIN_TOOL, NO_INPUT_TOOL, SCHEMA_TOOL], logprobs={}),
    _chat(tools=[SCHEMA_TOOL], response_format=FORMATS[1], sampling_params=TOP_K_SAMPLING),
]
COMPLETIONS: list[Fields] = [
    _completion(first_token_timeout={"seconds": 60, "nanos": 5}, sampling_params=GREEDY_SAMPLING),
    _completion(sampling_params=ALL_SAMPLING, logprobs={"top_k": 3}),
    _completion(content={"items": {"items": [{"text": "a"}, {"text": "b"}]}}, sampling_params=TOP_K_SAMPLING),
    _completion(content={"items": {"items": [IMAGE_DATA]}}),
    *(_completion(response_format=shape) for shape in FORMATS),
]
EMBEDDINGS: list[Fields] = [
    _embeddings(),
    _embeddings(contents=[{"text": "a"}, {"text": "b é 🦊"}, {"text": "c"}], text_truncation=2, output_dimension=8),
    _embeddings(text_truncation="TEXT_TRUNCATION_END", task_type="EMBEDDING_TASK_TYPE_QUERY"),
    _embeddings(text_truncation="TEXT_TRUNCATION_NONE", encoding="EMBEDDING_ENCODING_INT8"),
    _embeddings(contents=[IMAGE_URL, {"text": "a"}], task_type="EMBEDDING_TASK_TYPE_DOCUMENT"),
]
CONVERSATIONS: list[Fields] = [
    {name: fields[name] for name in ("messages", "tools", "tool_config", "response_format") if name in fields}
    for fields in CHATS
]
REFLECTED = "inferwire.v1.ChatCompletionRequest"

VALID: dict[str, list[Fields]] = {
    "ChatCompletion": CHATS,
    "StreamChatCompletion": CHATS,
    "Completion": COMPLETIONS,
    "StreamCompletion": COMPLETIONS,
    "Preflight": [*({"chat": fields} for fields in CHATS), *({"completion": fields} for fields in COMPLETIONS)],
    "Embeddings": EMBEDDINGS,
    "Score": [
        {"model_id": EMBEDDER, "pairs": [{"query": "cat", "document": "b é 🦊"}, {"query": "a", "document": "c"}]},
        {"model_id": EMBEDDER, "pairs": [{"query": "a", "document": "b"}], "text_truncation": 2},
        {"model_id": LLM, "pairs": [{"query": "a", "document": "b"}], "raw_scores": True},
    ],
    "Rerank": [
        {
            "model_id": EMBEDDER,
            "query": "cat",
            "documents": [{"text": "a", "id": "1"}, {"text": "b"}],
            "top_n": 1,
            "return_documents": True,
            "text_truncation": "TEXT_TRUNCATION_END",
        },
        {"model_id": EMBEDDER, "query": "cat", "documents": [{"text": "a"}], "raw_scores": True},
    ],
    "Tokenize": [
        {"model_id": LLM, "text": {"text": "a <|im_end|> é 🦊", "return_spans": True}, "return_pieces": True},
        {"model_id": EMBEDDER, "text": {"text": "cat", "add_special_tokens": False}},
        *({"model_id": LLM, "conversation": fields, "return_pieces": True} for fields in CONVERSATIONS),
    ],
    "Detokenize": [
        {"model_id": LLM, "token_ids": [1, 2, 97, 255], "skip_special_tokens": True},
        {"model_id": EMBEDDER, "token_ids": [101, 0]},
    ],
    "StreamEmbeddings": [
        {"options": {"model_id": EMBEDDER, "text_truncation": 1, "output_dimension": 8, "task_type": 1, "encoding": 1}},
        {"item": {"id": "1", "content": {"text": "a"}}},
        {"item": {"id": "2", "content": IMAGE_DATA}},
    ],
    "ListModels": [{}],
    "GetModel": [{"model_id": LLM}, {"model_id": EMBEDDER}, {"model_id": "unknown"}],
    "RegisterModel": [
        {
            "model_id": "x",
            "provider_model_id": "adapters/x",
            "provider_id": "vllm",
            "metadata": {"a": [1, {"b": None}], "c": {"d": "e"}},
            "model_type": "MODEL_TYPE_LLM",
            "base_model_id": LLM,
        }
    ],
    "UnregisterModel": [{"model_id": "x"}],
    # A valid request to drain would end the server and the run with it; tests/server/test_malformed sends some to a
    # server that doesn't drain. These are refused for their negative times, and `mutants` sends no others.
    "Drain": [{"budget": {"seconds": -1}}, {"withdrawal_window": {"seconds": -1, "nanos": -5}, "budget": {}}],
    "GetLoad": [{}],
    "Check": [{}, {"service": "inferwire.v1.InferenceService"}, {"service": "unknown"}],
    "List": [{}],
    "Watch": [{}, {"service": "inferwire.v1.ModelService"}, {"service": "unknown"}],
    "ServerReflectionInfo": [
        {"list_services": "*"},
        {"file_by_filename": "inferwire/v1/chat.proto"},
        {"host": "localhost", "file_containing_symbol": REFLECTED},
        {"file_containing_extension": {"containing_type": REFLECTED, "extension_number": 100}},
        {"all_extension_numbers_of_type": REFLECTED},
    ],
}


@dataclass(frozen=True)
class Seed:
    method: Method
    message: Message


SEEDS: dict[str, list[Seed]] = {
    name: [Seed(METHODS[name], METHODS[name].request(**fields)) for fields in several]
    for name, several in VALID.items()
}
