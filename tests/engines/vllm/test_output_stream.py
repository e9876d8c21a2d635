"""However tokens are joined, an answer has the same text, tokens and log probabilities; outputs are made when due."""

import asyncio
import random
from collections.abc import Sequence
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from transformers import AutoTokenizer
from vllm.sampling_params import RequestOutputKind, SamplingParams
from vllm.v1.engine import EngineCoreOutput, EngineCoreRequest, FinishReason
from vllm.v1.engine.output_processor import OutputProcessor, RequestOutputCollector, RequestState
from vllm.v1.outputs import LogprobsLists

from service.demo_models import default_cache_dir, prepare_language_model
from service.engines.vllm.output_stream import EACH_TOKEN, WHEN_ASKED, OutputStream

TEXT = "Once upon a time there was a fox 🦊 in the snow, and so on until the end of the tale."


@dataclass
class Engine:
    """The half of an AsyncLLM that turns an engine's tokens into outputs."""

    output_processor: OutputProcessor
    tokens: Sequence[int]
    step: int = 0

    def add(self, params: SamplingParams) -> RequestOutputCollector:
        request = EngineCoreRequest(
            request_id="one",
            external_req_id="one",
            prompt_token_ids=[1, 2],
            mm_features=None,
            sampling_params=params,
            pooling_params=None,
            arrival_time=0.0,
            lora_request=None,
            cache_salt=None,
            data_parallel_rank=None,
        )
        collector = RequestOutputCollector(RequestOutputKind.DELTA, "one")
        self.output_processor.add_request(request, None, None, 0, collector)
        return collector

    def write(self) -> None:
        """The next token."""
        token = self.tokens[self.step]
        self.step += 1
        columns = (np.array([[token]]), np.array([[-float(self.step)]]), np.array([1]))
        output = EngineCoreOutput(
            request_id="one",
            new_token_ids=[token],
            new_logprobs=LogprobsLists(*columns),
            finish_reason=FinishReason.LENGTH if self.step == len(self.tokens) else None,
        )
        self.output_processor.process_outputs([output])


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    return AutoTokenizer.from_pretrained(prepare_language_model(default_cache_dir()))


@pytest.fixture
def engine(tokenizer: Any) -> Engine:
    return Engine(OutputProcessor(tokenizer, log_stats=False), tokenizer.encode(TEXT))


def stream_of(engine: Engine, **params: Any) -> OutputStream:
    sampling = SamplingParams(
        max_tokens=500, logprobs=0, flat_logprobs=True, output_kind=RequestOutputKind.DELTA, **params
    )
    collector = engine.add(sampling)
    return OutputStream(SimpleNamespace(output_processor=engine.output_processor), collector)  # type: ignore[arg-type]


@pytest.mark.parametrize("seed", range(20))
async def test_joining_changes_nothing_that_is_told(engine: Engine, seed: int) -> None:
    chance = random.Random(seed)
    outputs, stream = [], stream_of(engine)
    engine.write()
    while True:
        telling = asyncio.create_task(stream.next())
        while not telling.done():
            await asyncio.sleep(0)
            if not telling.done():
                engine.write()
        outputs.append(await telling)
        if outputs[-1].finished:
            break
        # Some may come between the last one's delivery and what is said then.
        for said in (False, True):
            if said:
                stream.join(chance.choice([EACH_TOKEN, 2, 3, WHEN_ASKED]))
            for _ in range(min(chance.randrange(3), len(engine.tokens) - engine.step)):
                engine.write()
    told = [output.outputs[0] for output in outputs]
    assert "".join(each.text for each in told) == TEXT
    assert [token for each in told for token in each.token_ids] == list(engine.tokens)
    assert [p for each in told for p in each.logprobs.logprobs] == [-1.0 - i for i in range(len(engine.tokens))]


@pytest.fixture
def made(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What outputs are made of."""
    given: list[Any] = []
    new_output = RequestState._new_request_output

    def counted(state: RequestState, *details: Any) -> Any:
        given.append(details)
        return new_output(state, *details)

    monkeypatch.setattr(RequestState, "_new_request_output", counted)
    return given


async def test_until_the_next_is_asked_for_no_outputs_are_made(engine: Engine, made: list[Any]) -> None:
    stream = stream_of(engine)
    engine.write()
    await stream.next()
    stream.join(WHEN_ASKED)
    for _ in range(9):
        engine.write()
    assert len(made) == 1
    assert len((await stream.next()).outputs[0].token_ids) == 9
    assert len(made) == 2


async def test_two_joined_tokens_make_one_output_with_the_second(engine: Engine, made: list[Any]) -> None:
    stream = stream_of(engine)
    engine.write()
    await stream.next()
    stream.join(2)
    waiting = asyncio.create_task(stream.next())
    engine.write()
    await asyncio.sleep(0)
    assert not waiting.done()
    engine.write()
    assert (await waiting).outputs[0].token_ids == engine.tokens[1:3]
    for _ in range(4):
        engine.write()
    assert len(made) == 4


async def test_who_is_to_get_each_token_again_gets_what_was_kept_at_once(engine: Engine) -> None:
    stream = stream_of(engine)
    engine.write()
    await stream.next()
    stream.join(2)
    engine.write()
    stream.join(EACH_TOKEN)
    assert (await stream.next()).outputs[0].token_ids == [engine.tokens[1]]
    engine.write()
    assert (await stream.next()).outputs[0].token_ids == [engine.tokens[2]]


async def test_the_end_comes_at_once_with_all_that_was_held(engine: Engine) -> None:
    stream = stream_of(engine, stop=[" in the snow"])
    engine.write()
    first = await stream.next()
    stream.join(WHEN_ASKED)
    while engine.output_processor.has_unfinished_requests():
        engine.write()
    last = await stream.next()
    assert last.finished
    assert first.outputs[0].text + last.outputs[0].text == TEXT.partition(" in the snow")[0]


async def test_where_nothing_was_written_meanwhile_it_waits_for_the_next_token(engine: Engine) -> None:
    stream = stream_of(engine)
    engine.write()
    await stream.next()
    stream.join(WHEN_ASKED)
    waiting = asyncio.create_task(stream.next())
    await asyncio.sleep(0)
    assert not waiting.done()
    engine.write()
    assert (await waiting).outputs[0].token_ids == [engine.tokens[1]]
