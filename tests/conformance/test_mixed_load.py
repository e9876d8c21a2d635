"""Both services at once, with calls of every kind in one batch."""

import asyncio
import json

import pytest

from service.api.response_format import ChoiceResponseFormat, JsonSchemaResponseFormat, RegexResponseFormat
from service.client import Client
from tests.conformance.calls import Answer, answer, chat, completion, embeddings, streamed
from tests.conformance.conftest import Served

pytestmark = pytest.mark.real_model

SCHEMA = '{"type": "object", "properties": {"ok": {"type": "boolean"}}, "required": ["ok"]}'
CALLS_OF_A_KIND = 4


async def test_16_calls_of_four_kinds_don_t_disturb_each_other(real_client: Client, real: Served) -> None:
    rounds = [_one_of_each(real_client, number) for number in range(CALLS_OF_A_KIND)]
    assert len(await asyncio.gather(*(call for calls in rounds for call in calls))) == 16


def _one_of_each(client: Client, number: int):  # type: ignore[no-untyped-def]
    return _numbered(client, number), _chosen(client, number), _filled_in(client), _embedded(client, number)


async def _numbered(client: Client, number: int) -> None:
    shape = RegexResponseFormat(pattern=f"no {number}: [a-z]{{5}}")
    found = await streamed(client, completion("Say", max_tokens=40, top_logprobs=2, response_format=shape))
    assert found.text.startswith(f"no {number}: ")
    _check_logprobs(found)


async def _chosen(client: Client, number: int) -> None:
    shape = ChoiceResponseFormat(choices=(f"left {number}", f"right {number}"))
    found = await streamed(client, chat("Left or right?", max_tokens=20, response_format=shape))
    assert found.text in (f"left {number}", f"right {number}")


async def _filled_in(client: Client) -> None:
    shape = JsonSchemaResponseFormat(json_schema=SCHEMA)
    found = await answer(client, chat("Is it fine?", max_tokens=40, top_logprobs=0, response_format=shape))
    assert set(json.loads(found.text)) == {"ok"}
    _check_logprobs(found)


async def _embedded(client: Client, number: int) -> None:
    response = await client.embed(embeddings(*(["one"] * (number + 1)), "two"))
    vectors = [embedding.values for embedding in response.embeddings]
    assert len(vectors) == number + 2
    assert vectors[0] == pytest.approx(vectors[number], abs=1e-4)
    assert vectors[0] != pytest.approx(vectors[-1], abs=1e-2)


def _check_logprobs(found: Answer) -> None:
    assert b"".join(position.token.token_bytes for position in found.logprobs).decode() == found.text
