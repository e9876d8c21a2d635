"""Every field of SamplingParams has its effect on the real model."""

from typing import Any

import pytest

from service.api.messages import StopReason
from service.api.sampling import GreedySamplingStrategy, TopKSamplingStrategy, TopPSamplingStrategy
from service.client import Client
from service.errors import ContextLengthExceeded, InvalidField
from tests.conformance.calls import Answer, answer, completion, joined, read, text_of
from tests.conformance.conftest import Served

pytestmark = pytest.mark.real_model

COUNTING = "1, 2, 3, 4,"  # goes on with 5, 6, 7, each digit a token
HOT = TopPSamplingStrategy(temperature=1.5, top_p=0.99)
CONTEXT = 8192


@pytest.fixture
def client(real_client: Client) -> Client:
    return real_client


async def counted(client: Client, **options: Any) -> Answer:
    return await answer(client, completion(COUNTING, **{"max_tokens": 18, **options}))


async def test_unset_is_greedy_and_repeatable(client: Client) -> None:
    unset, again = await counted(client), await counted(client)
    greedy = await counted(client, strategy=GreedySamplingStrategy())
    assert unset.text.startswith(" 5, 6, 7, 8,")
    assert unset == again == greedy


@pytest.mark.parametrize(
    "options",
    [
        {"strategy": TopKSamplingStrategy(top_k=1, temperature=1.5)},
        {"strategy": TopPSamplingStrategy(temperature=1.5, top_p=1e-6)},
        {"strategy": TopPSamplingStrategy(temperature=0.01)},
        {"strategy": TopKSamplingStrategy(top_k=50, temperature=0.01)},
        {"strategy": TopKSamplingStrategy(top_k=50, temperature=1.5, top_p=1e-6)},
        {"strategy": HOT, "min_p": 1.0},
    ],
    ids=["top_k 1", "top_p 0", "cold top_p", "cold top_k", "top_k with top_p 0", "min_p 1"],
)
async def test_sampling_that_leaves_one_token_is_greedy(client: Client, options: dict[str, Any]) -> None:
    assert (await counted(client, **options)).text == (await counted(client)).text


async def test_top_k_keeps_to_the_most_likely_tokens(client: Client) -> None:
    strategy = TopKSamplingStrategy(top_k=2, temperature=2.0)
    found = await answer(
        client, completion("Once upon a time", strategy=strategy, top_logprobs=0, max_tokens=20, seed=5)
    )
    assert {position.token.rank for position in found.logprobs} == {1, 2}


async def test_a_seed_makes_hot_sampling_repeatable_also_when_streamed(client: Client) -> None:
    once, again = await counted(client, strategy=HOT, seed=7), await counted(client, strategy=HOT, seed=7)
    request = completion(COUNTING, max_tokens=18, strategy=HOT, seed=7)
    streamed = joined(await read(client.stream_completion(request)))
    assert once.text == again.text == streamed.text


async def test_seeds_differ_from_each_other_and_from_greedy(client: Client) -> None:
    texts = {(await counted(client, strategy=HOT, seed=seed)).text for seed in (1, 2, -1, 2**63 - 2)}
    assert len(texts | {(await counted(client)).text}) == 5


async def test_without_a_seed_hot_sampling_is_not_repeatable(client: Client) -> None:
    texts = {(await counted(client, strategy=HOT)).text for _ in range(3)}
    assert len(texts) > 1


async def test_temperature_flattens(client: Client) -> None:
    async def ranks(temperature: float) -> int:
        strategy = TopPSamplingStrategy(temperature=temperature, top_p=1.0)
        found = await counted(client, strategy=strategy, seed=3, top_logprobs=0, min_tokens=18)
        return sum(position.token.rank for position in found.logprobs)

    assert await ranks(0.1) < await ranks(1.2) < await ranks(2.0)


@pytest.mark.parametrize("stop", ["9, 10", " 7,", "8", ", 9"])
async def test_a_stop_string_split_over_tokens_is_not_returned(client: Client, stop: str) -> None:
    found = await counted(client, stop=(stop,))
    full = (await counted(client, max_tokens=30)).text
    assert found.text == full[: full.index(stop)]
    assert found.stop_reason is StopReason.END_OF_TURN


async def test_stop_strings_never_flash_up_in_a_stream(client: Client) -> None:
    request = completion(COUNTING, max_tokens=30, stop=("9, 10",))
    events = await read(client.stream_completion(request))
    assert joined(events).text == " 5, 6, 7, 8, "


async def test_a_stop_token_ends_the_answer_and_is_not_returned(client: Client, real: Served) -> None:
    [seven] = real.tokenizer.encode("7", add_special_tokens=False)
    found = await counted(client, stop_token_ids=(seven,), top_logprobs=1)
    assert (found.text, found.stop_reason) == (" 5, 6, ", StopReason.END_OF_TURN)
    assert len(found.logprobs) == found.usage.completion_tokens - 1


async def test_min_tokens_outlasts_the_model_s_own_end(client: Client) -> None:
    early = await answer(client, completion("Roses are red,", max_tokens=40))
    late = await answer(client, completion("Roses are red,", max_tokens=40, min_tokens=40))
    assert (early.stop_reason, late.stop_reason) == (StopReason.END_OF_TURN, StopReason.OUT_OF_TOKENS)
    assert early.usage.completion_tokens < late.usage.completion_tokens == 40


async def test_min_tokens_outlasts_stop_strings_and_stop_tokens(client: Client, real: Served) -> None:
    [seven] = real.tokenizer.encode("7", add_special_tokens=False)
    by_string = await counted(client, stop=("7",), min_tokens=18)
    by_token = await counted(client, stop_token_ids=(seven,), min_tokens=18)
    assert by_string.usage.completion_tokens == by_token.usage.completion_tokens == 18


async def test_max_tokens_unset_goes_to_the_end_of_the_context(client: Client, real: Served) -> None:
    prompt = " 7" * (CONTEXT // 2 - 10)  # two tokens each
    ends = {real.tokenizer.eos_token_id: -100.0, 0: -100.0, 1: -100.0, 2: -100.0}
    found = await answer(client, completion(prompt, logit_bias=ends))
    assert found.stop_reason is StopReason.OUT_OF_TOKENS
    assert found.usage.prompt_tokens + found.usage.completion_tokens == CONTEXT


async def test_max_tokens_beyond_the_context_are_cut_to_it(client: Client, real: Served) -> None:
    prompt = " 7" * (CONTEXT // 2 - 10)
    found = await answer(client, completion(prompt, max_tokens=1000, min_tokens=1000))
    assert found.stop_reason is StopReason.OUT_OF_TOKENS
    assert found.usage.prompt_tokens + found.usage.completion_tokens == CONTEXT


async def test_a_prompt_that_fills_the_context_is_refused_with_both_numbers(client: Client) -> None:
    with pytest.raises(ContextLengthExceeded) as refusal:
        await answer(client, completion(" 7" * (CONTEXT // 2)))
    assert refusal.value.metadata == {"tokens": str(CONTEXT), "limit": str(CONTEXT - 1)}
    assert refusal.value.violations[0].field == "content"


@pytest.mark.parametrize(
    "options",
    [{"repetition_penalty": 1.5}, {"presence_penalty": 2.0}, {"frequency_penalty": 2.0}],
    ids=lambda options: next(iter(options)),
)
async def test_penalties_make_the_model_repeat_itself_less(client: Client, options: dict[str, Any]) -> None:
    plain, penalised = await counted(client, max_tokens=40), await counted(client, max_tokens=40, **options)
    assert penalised.text.count(",") < plain.text.count(",")


async def test_the_three_penalties_differ(client: Client) -> None:
    options: list[dict[str, float]] = [
        {"repetition_penalty": 1.5},
        {"presence_penalty": 2.0},
        {"frequency_penalty": 2.0},
        {"repetition_penalty": 1.0, "presence_penalty": 0.0, "frequency_penalty": 0.0},
    ]
    texts = [(await counted(client, max_tokens=30, **some)).text for some in options]
    assert len(set(texts)) == 4
    assert texts[3] == (await counted(client, max_tokens=30)).text


async def test_a_negative_frequency_penalty_makes_it_repeat_itself_more(client: Client) -> None:
    plain, eager = await counted(client, max_tokens=30), await counted(client, max_tokens=30, frequency_penalty=-2.0)
    assert plain.text != eager.text
    assert len(set(eager.text)) < len(set(plain.text)) or eager.text.count(" ") > plain.text.count(" ")


async def test_a_bias_of_100_forces_a_token(client: Client, real: Served) -> None:
    [fox] = real.tokenizer.encode(" fox", add_special_tokens=False)
    assert (await counted(client, logit_bias={fox: 100.0}, max_tokens=3)).text == " fox fox fox"


async def test_a_bias_of_minus_100_bans_a_token(client: Client, real: Served) -> None:
    [comma] = real.tokenizer.encode(",", add_special_tokens=False)
    found = await counted(client, logit_bias={comma: -100.0}, top_logprobs=0)
    assert comma not in {position.token.token_id for position in found.logprobs}
    assert found.text != (await counted(client)).text


@pytest.mark.parametrize(
    ("options", "field"),
    [
        ({"logit_bias": {49152: 1.0}}, "sampling_params.logit_bias"),
        ({"stop_token_ids": (1, 49152)}, "sampling_params.stop_token_ids"),
    ],
    ids=["logit_bias", "stop_token_ids"],
)
async def test_tokens_that_the_model_does_not_have_are_refused(
    client: Client, options: dict[str, Any], field: str
) -> None:
    with pytest.raises(InvalidField) as refusal:
        await counted(client, **options)
    assert refusal.value.violations[0].field.startswith(field)


async def test_the_reference_s_own_questions(client: Client) -> None:
    assert "Paris" in await text_of(client, "The capital of France is", max_tokens=5)
