"""Schemas and grammars made to hurt: each is refused, and nobody else's stream stands still meanwhile."""

import asyncio
import json
from contextlib import aclosing
from typing import Any

import pytest

from service.api.chat import ChatCompletionRequest
from service.api.events import Complete, Progress
from service.api.messages import UserMessage
from service.api.response_format import (
    ConstraintOutcome,
    EbnfGrammar,
    GrammarResponseFormat,
    JsonSchemaResponseFormat,
    RegexResponseFormat,
    ResponseFormat,
)
from service.client import Client
from service.errors import InvalidConstraint, Overloaded
from tests.e2e.calls import chat
from tests.serving import ServerProcess

pytestmark = pytest.mark.real_model

TOKENS = 300
PIECES_MEANWHILE = 10
STRING = {"type": "string"}


def regex(pattern: str) -> ResponseFormat:
    return RegexResponseFormat(pattern=pattern)


def grammar(text: str) -> ResponseFormat:
    return GrammarResponseFormat(grammar=EbnfGrammar(ebnf=text))


def schema(shape: Any) -> ResponseFormat:
    return JsonSchemaResponseFormat(json_schema=json.dumps(shape), describe_in_prompt=False)


def fan(levels: int) -> Any:
    links = {
        f"d{i}": {"type": "object", "properties": {name: {"$ref": f"#/$defs/d{i + 1}"} for name in "ab"}}
        for i in range(levels)
    }
    return {"$defs": {**links, f"d{levels}": STRING}, "$ref": "#/$defs/d0"}


def nested(levels: int) -> Any:
    return {"type": "array", "items": nested(levels - 1)} if levels else STRING


def record(count: int, **more: Any) -> Any:
    return {"type": "object", "properties": {f"p{i}": STRING for i in range(count)}, **more}


HOSTILE = [
    schema(fan(30)),
    schema(nested(60)),
    schema(record(900)),
    schema(record(200, maxProperties=100)),
    schema({"enum": [f"value {i}" for i in range(5000)]}),
    schema({"anyOf": [record(1)] * 300}),
    schema({"type": "string", "maxLength": 10**9}),
    schema({"type": "array", "items": STRING, "minItems": 10**6}),
    schema({"type": "string", "pattern": "^(a+)+$"}),
    schema({"type": "object", "patternProperties": {"((x{1,1000}){1,1000}){1,1000}": STRING}}),
    schema({f"x{i}": {} for i in range(3000)}),
    regex("((a{1,1000}){1,1000}){1,1000}"),
    regex(r"(\w+\s?)+"),
    regex("[a-z]?" * 1000),
    regex("(" * 500 + "a" + ")*" * 500),
    # The next ones are refused by nothing but a trial.
    regex("(" * 12 + "a" + "|b){2,3}" * 12),
    regex(".{1,1000}" * 9),
    grammar("root ::= root root | [a-z]"),
    grammar("\n".join(["root ::= r0", *(f"r{i} ::= r{i + 1} r{i + 1}" for i in range(25)), 'r25 ::= "a" | ""'])),
    grammar('root ::= (root | "a") (root | "b" | "")'),
]


def constrained(shape: ResponseFormat, tokens: int = 30) -> ChatCompletionRequest:
    return chat("Give me a small JSON value.", tokens=tokens).model_copy(
        update={"response_format": shape, "messages": (UserMessage(content="Go."),)}
    )


async def refused(client: Client, shape: ResponseFormat) -> None:
    with pytest.raises(InvalidConstraint):
        await in_the_end(client, shape)


async def in_the_end(client: Client, shape: ResponseFormat) -> None:
    """Comes again when told to: a machine that is busy with other things has no time for a trial."""
    while True:
        try:
            await client.chat(constrained(shape))
            return
        except Overloaded as overloaded:
            await asyncio.sleep(overloaded.retry_after_s or 1.0)


class Stream:
    """A stream that is read in the background."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self.pieces = 0
        self.begun = asyncio.Event()

    async def read(self) -> Complete:
        async with aclosing(self._client.stream_chat(chat(tokens=TOKENS))) as events:
            async for event in events:
                match event:
                    case Progress():
                        self.pieces += 1
                        self.begun.set()
                    case Complete():
                        return event
        raise AssertionError("the stream has no end")


async def test_twenty_at_once_are_refused_while_a_stream_goes_on(real_server: ServerProcess) -> None:
    assert len(HOSTILE) == 20
    usual = schema({"type": "object", "properties": {"ok": {"type": "boolean"}}, "required": ["ok"]})
    async with Client(real_server.target) as client:
        stream = Stream(client)
        under_way = asyncio.create_task(stream.read())
        await stream.begun.wait()
        before, waves = stream.pieces, 0
        while stream.pieces < before + PIECES_MEANWHILE:
            await asyncio.gather(*(refused(client, shape) for shape in HOSTILE))
            waves += 1
        assert waves > 0
        assert not under_way.done(), "the stream ended first: it is too short to show anything"
        assert (await under_way).usage.completion_tokens == TOKENS
        assert (await client.chat(constrained(usual))).constraint_outcome is ConstraintOutcome.SATISFIED
