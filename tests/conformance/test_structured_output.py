"""Answers have the shape that was asked for: in chat and completion, streamed and not, on the real model."""

import asyncio
import json
import re
from collections.abc import Callable
from typing import Any

import jsonschema
import pytest
from pydantic import BaseModel

from service.api.messages import StopReason, SystemMessage
from service.api.response_format import (
    BnfGrammar,
    ChoiceResponseFormat,
    ConstraintOutcome,
    EbnfGrammar,
    GrammarResponseFormat,
    JsonObjectResponseFormat,
    JsonSchemaResponseFormat,
    RegexResponseFormat,
    ResponseFormat,
)
from service.client import Client
from service.errors import InvalidConstraint, InvalidField
from tests.conformance.calls import Answer, answer, chat, completion, streamed

pytestmark = pytest.mark.real_model

FACTS = (
    "Michael Jordan was born in 1963. He played basketball for the Chicago Bulls for 15 seasons and was drafted in 1984"
)


class Stats(BaseModel):
    year_for_draft: int
    num_seasons: int


class Player(BaseModel):
    first_name: str
    last_name: str
    year_of_birth: int
    stats: Stats


@pytest.fixture
def client(real_client: Client) -> Client:
    return real_client


def schema(shape: Any) -> JsonSchemaResponseFormat:
    return JsonSchemaResponseFormat(json_schema=json.dumps(shape))


def fits(shape: Any) -> Callable[[str], object]:
    return lambda text: jsonschema.validate(json.loads(text), shape, jsonschema.Draft202012Validator)


def matches(pattern: str) -> Callable[[str], object]:
    def check(text: str) -> None:
        assert re.fullmatch(pattern, text)

    return check


WORD = {"type": "string", "pattern": "^[a-z]{1,8}$"}
SCHEMAS: dict[str, Any] = {
    "an enum": {"enum": ["red", "green", 3, None, True]},
    "an integer in a range": {
        "type": "object",
        "properties": {"n": {"type": "integer", "minimum": -3, "maximum": 12}},
        "required": ["n"],
    },
    "an array with bounds": {"type": "array", "items": WORD, "minItems": 3, "maxItems": 4},
    "nesting": {
        "type": "object",
        "properties": {
            "a": {
                "type": "object",
                "properties": {"b": {"type": "array", "items": {"type": "boolean"}, "minItems": 2, "maxItems": 2}},
                "required": ["b"],
            }
        },
        "required": ["a"],
    },
    "definitions that recur": {
        "$defs": {
            "leaf": {
                "type": "object",
                "properties": {"name": WORD, "of": {"$ref": "#/$defs/kind"}},
                "required": ["of"],
            },
            "kind": {"enum": ["tree", "bush"]},
        },
        "type": "object",
        "properties": {"left": {"$ref": "#/$defs/leaf"}, "right": {"$ref": "#/$defs/leaf"}},
        "required": ["left", "right"],
    },
    "optional properties": {
        "type": "object",
        "properties": {"first": WORD, "maybe": WORD, "last": {"type": "boolean"}},
        "required": ["first", "last"],
    },
    "alternatives": {"anyOf": [{"const": "none"}, {"type": "object", "properties": {"x": WORD}, "required": ["x"]}]},
    "a format": {"type": "object", "properties": {"day": {"type": "string", "format": "date"}}, "required": ["day"]},
    "names beyond ASCII": {
        "type": "object",
        "properties": {"größe": {"enum": ["klein", "groß"]}, "色": {"enum": ["赤", "🦊"]}},
        "required": ["größe", "色"],
    },
}
SUM = 'root ::= number (" + " number){1,3}\nnumber ::= [0-9]{1,2} # not too large'
SHAPES: dict[str, tuple[ResponseFormat, Callable[[str], object]]] = {
    **{name: (schema(shape), fits(shape)) for name, shape in SCHEMAS.items()},
    "a grammar": (GrammarResponseFormat(grammar=EbnfGrammar(ebnf=SUM)), matches(r"\d\d?( \+ \d\d?){1,3}")),
    "a grammar by rules": (
        GrammarResponseFormat(
            grammar=BnfGrammar(rules={"root": '"(" list ")"', "list": 'item | item "," list', "item": '"x" | "y"'})
        ),
        matches(r"\(([xy],)*[xy]\)"),
    ),
    "a regular expression": (
        RegexResponseFormat(pattern=r"[A-Z]{2}-\d{3,4}(;ok)?"),
        matches(r"[A-Z]{2}-\d{3,4}(;ok)?"),
    ),
    "emoji and kana": (RegexResponseFormat(pattern="[🦊🐻🐼]{4}[あ-ん]{3}"), matches("[🦊🐻🐼]{4}[あ-ん]{3}")),
    "a choice": (ChoiceResponseFormat(choices=("yes", "no", "yes and no")), matches("yes|no|yes and no")),
    "a choice of characters that are several tokens": (
        ChoiceResponseFormat(choices=("🦊🐻", "👩‍👩‍👧", '日本語 & "quotes" \\ \n')),
        matches('🦊🐻|👩‍👩‍👧|日本語 & "quotes" \\\\ \n'),
    ),
}
LOW = {"max_tokens": 120, "top_logprobs": 0}


async def four_ways(client: Client, shape: ResponseFormat, **options: Any) -> list[Answer]:
    options = {**LOW, "response_format": shape, **options}
    requests = [completion("A small JSON value: ", **options), chat("Give me a small JSON value.", **options)]
    return await asyncio.gather(*(way(client, request) for request in requests for way in (answer, streamed)))


@pytest.mark.parametrize(("shape", "check"), SHAPES.values(), ids=SHAPES)
async def test_answers_have_the_shape(client: Client, shape: ResponseFormat, check: Callable[[str], object]) -> None:
    for found in await four_ways(client, shape):
        assert found.outcome is ConstraintOutcome.SATISFIED, found.text
        assert found.stop_reason is StopReason.END_OF_TURN
        check(found.text)


async def test_any_object_is_an_object(client: Client) -> None:
    options = {**LOW, "response_format": JsonObjectResponseFormat()}
    example = '{"name": "Ann"}'
    for request in (completion(f"{example} {example} ", **options), chat(f"Repeat: {example}", **options)):
        for found in (await answer(client, request), await streamed(client, request)):
            assert found.outcome is ConstraintOutcome.SATISFIED, found.text
            assert isinstance(json.loads(found.text), dict)


@pytest.mark.parametrize("name", ["emoji and kana", "a choice of characters that are several tokens"])
async def test_characters_split_over_tokens_arrive_whole(client: Client, name: str) -> None:
    shape, _ = SHAPES[name]
    for ask in (completion, chat):
        request = ask("Write emoji.", **LOW, response_format=shape)
        # One after the other: in a batch of another size the last bit of a number may differ, and with it the answer.
        once, again = await answer(client, request), await streamed(client, request)
        assert (once.text, once.stop_reason, once.usage) == (again.text, again.stop_reason, again.usage)
        assert [p.token.token_id for p in once.logprobs] == [p.token.token_id for p in again.logprobs]
        spelled = b"".join(position.token.token_bytes for position in again.logprobs)
        assert spelled.decode() == again.text
        assert "\ufffd" not in again.text
        assert any(position.token.text.endswith("\ufffd") for position in again.logprobs)


async def test_a_pydantic_model_with_a_nested_one_comes_back(client: Client) -> None:
    conversation = (SystemMessage(content=FACTS), "Please give me information about Michael Jordan.")
    shape = schema(Player.model_json_schema())
    found = await answer(client, chat(*conversation, max_tokens=200, response_format=shape))
    player = Player.model_validate_json(found.text)
    assert (found.outcome, player.year_of_birth) == (ConstraintOutcome.SATISFIED, 1963)


async def test_properties_come_in_the_order_of_the_schema(client: Client) -> None:
    names = ["zebra", "apple", "mango"]
    shape = {"type": "object", "properties": {name: {"type": "boolean"} for name in names}, "required": names}
    for found in await four_ways(client, schema(shape)):
        assert list(json.loads(found.text)) == names


@pytest.mark.parametrize("name", ["definitions that recur", "a grammar", "a regular expression", "emoji and kana"])
async def test_too_small_a_budget_is_told_as_truncated(client: Client, name: str) -> None:
    shape, _ = SHAPES[name]
    for found in await four_ways(client, shape, max_tokens=2):
        assert found.outcome is ConstraintOutcome.TRUNCATED
        assert found.stop_reason is StopReason.OUT_OF_TOKENS


async def test_a_stop_string_within_the_shape_is_told_as_truncated(client: Client) -> None:
    for found in await four_ways(client, RegexResponseFormat(pattern="ab{3}c"), stop=("bb",)):
        assert (found.text, found.outcome) == ("a", ConstraintOutcome.TRUNCATED)


async def test_sampling_stays_within_the_shape(client: Client) -> None:
    shape, check = SHAPES["nesting"]
    options = {"seed": 1, "presence_penalty": 2.0, "logit_bias": {100: 100.0}}
    for found in await four_ways(client, shape, **options):
        check(found.text)


BAD: dict[str, tuple[ResponseFormat, str]] = {
    "not JSON": (JsonSchemaResponseFormat(json_schema="{"), "json_schema.json_schema"),
    "not a schema": (schema({"type": "nonsense"}), "json_schema.json_schema"),
    "a list": (schema([]), "json_schema.json_schema"),
    "a keyword that can't be enforced": (schema({"type": "array", "uniqueItems": True}), "json_schema.json_schema"),
    "a reference into nothing": (schema({"$ref": "#/$defs/none"}), "json_schema.json_schema"),
    "a reference into the web": (schema({"$ref": "https://example.com/x"}), "json_schema.json_schema"),
    "nothing fits": (schema({"type": "integer", "minimum": 3, "maximum": 2}), "json_schema.json_schema"),
    "no root": (GrammarResponseFormat(grammar=EbnfGrammar(ebnf='start ::= "x"')), "grammar.ebnf"),
    "an unknown rule": (GrammarResponseFormat(grammar=EbnfGrammar(ebnf="root ::= nowhere")), "grammar.ebnf"),
    "not a grammar": (GrammarResponseFormat(grammar=EbnfGrammar(ebnf="root = {")), "grammar.ebnf"),
    "no rule named root": (GrammarResponseFormat(grammar=BnfGrammar(rules={"a": '"x"'})), "grammar.bnf"),
    "an open parenthesis": (RegexResponseFormat(pattern="(a"), "regex.pattern"),
    "a look-ahead": (RegexResponseFormat(pattern="(?=a)b"), "regex.pattern"),
    "a back reference": (RegexResponseFormat(pattern=r"(a)\1"), "regex.pattern"),
    "too large": (RegexResponseFormat(pattern="a" * 70_000), "regex.pattern"),
    "a choice twice": (ChoiceResponseFormat(choices=("a", "a")), "choice.choices"),
}


@pytest.mark.parametrize(("shape", "field"), BAD.values(), ids=BAD)
async def test_a_bad_shape_is_refused_by_its_field_before_any_event(
    client: Client, shape: ResponseFormat, field: str
) -> None:
    options = {"max_tokens": 4, "response_format": shape}
    attempts = [
        client.complete(completion("x", **options)),
        client.chat(chat("x", **options)),
        anext(client.stream_completion(completion("x", **options))),
        anext(client.stream_chat(chat("x", **options))),
    ]
    for attempt in attempts:
        with pytest.raises(InvalidConstraint) as refusal:
            await attempt
        assert refusal.value.violations[0].field == f"response_format.{field}"


async def test_a_completion_s_prompt_never_tells_the_schema(client: Client) -> None:
    shape = JsonSchemaResponseFormat(json_schema='{"type": "boolean"}', describe_in_prompt=True)
    with pytest.raises(InvalidField, match=r"response_format\.json_schema\.describe_in_prompt"):
        await client.complete(completion("x", response_format=shape))


async def test_a_chat_s_prompt_tells_the_schema_unless_told_not_to(client: Client) -> None:
    text = '{"type": "boolean"}'
    told = await answer(client, chat("x", response_format=JsonSchemaResponseFormat(json_schema=text), max_tokens=4))
    silent = JsonSchemaResponseFormat(json_schema=text, describe_in_prompt=False)
    untold = await answer(client, chat("x", response_format=silent, max_tokens=4))
    plain = await answer(client, chat("x", max_tokens=4))
    assert told.usage.prompt_tokens > untold.usage.prompt_tokens == plain.usage.prompt_tokens
