"""The limits that the contract's comments tell are those that hold."""

import pytest

from service.api import chat, sampling
from service.decoding import expressions, json_schema, schema_limits
from service.images import remote_urls
from tests.contract.descriptors import declared

COMMENTS = {item.name: item.comment for item in declared()}


@pytest.mark.parametrize(
    ("field", "limits"),
    [
        ("SamplingParams.stop", [sampling.MAX_STOP_STRINGS, sampling.MAX_STOP_STRING_LENGTH]),
        ("SamplingParams.stop_token_ids", [sampling.MAX_STOP_TOKEN_IDS]),
        ("SamplingParams.logit_bias", [sampling.MAX_LOGIT_BIASES]),
        ("ImageContentItem.url", [remote_urls.LONGEST]),
        ("ChatCompletionRequest.tools", [chat.MAX_TOOLS]),
        ("ChoiceResponseFormat.choices", [schema_limits.MAX_VALUES]),
        ("RegexResponseFormat.pattern", [expressions.MAX_SIGNS, expressions.MAX_NESTING, expressions.MAX_REPEATS]),
        (
            "JsonSchemaResponseFormat.json_schema",
            [
                schema_limits.MAX_PARTS,
                schema_limits.MAX_SCHEMAS,
                json_schema.MAX_DEPTH,
                schema_limits.MAX_PROPERTIES,
                schema_limits.MAX_VALUES,
                schema_limits.MAX_BRANCHES,
                schema_limits.MAX_LENGTH,
            ],
        ),
    ],
)
def test_a_limit_is_told_where_it_holds(field: str, limits: list[int]) -> None:
    assert [limit for limit in limits if f"{limit:,}" not in COMMENTS[field]] == []
