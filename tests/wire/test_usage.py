"""Usage in trailing metadata, and the resolution of times."""

from datetime import timedelta

import pytest
from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

from inferwire.v1 import usage_pb2 as pb
from service.api.usage import Usage
from service.errors import InvalidField
from service.wire.usage import (
    LONGEST_SPAN_S,
    metric_from_proto,
    metric_to_proto,
    seconds_to_proto,
    timeout_from_proto,
    usage_to_metadata,
)


def test_usage_is_metadata_by_the_names_of_the_contract() -> None:
    usage = Usage(prompt_tokens=12, cached_tokens=8, completion_tokens=3, neutralized_spans=1, reasoning_tokens=2)
    assert usage_to_metadata(usage) == [
        ("inferwire-prompt-tokens", "12"),
        ("inferwire-cached-tokens", "8"),
        ("inferwire-completion-tokens", "3"),
        ("inferwire-neutralized-spans", "1"),
        ("inferwire-reasoning-tokens", "2"),
    ]


def test_spans_are_rounded_to_nanoseconds() -> None:
    assert seconds_to_proto(1.9999999999).ToNanoseconds() == 2_000_000_000


@pytest.mark.parametrize("sign", [1, -1])
def test_a_timeout_is_a_span_that_protobuf_allows(sign: int) -> None:
    assert timeout_from_proto(Duration(seconds=sign * LONGEST_SPAN_S)) == timedelta(seconds=sign * LONGEST_SPAN_S)
    for span in (Duration(seconds=sign * (2**63 - 1)), Duration(nanos=sign * 10**9)):
        with pytest.raises(InvalidField, match="not a duration"):
            timeout_from_proto(span)


def test_points_in_time_keep_microseconds() -> None:
    message = pb.MetricEvent(int_value=1, timestamp=Timestamp(seconds=1_764_000_000, nanos=123_457_000))
    assert metric_to_proto(metric_from_proto(message)) == pb.MetricEvent(
        int_value=1, timestamp=message.timestamp, attributes={}
    )


def test_counts_and_measures_stay_apart() -> None:
    one, whole = (
        metric_from_proto(message).value for message in (pb.MetricEvent(int_value=1), pb.MetricEvent(double_value=1))
    )
    assert (type(one), type(whole)) == (int, float)
