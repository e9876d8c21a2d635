"""Usage, timings and metrics."""

from collections.abc import Iterable
from datetime import timedelta

from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

from inferwire.v1 import usage_pb2 as pb
from service.api.usage import MetricEvent, Timings, Usage
from service.errors import InvalidField
from service.wire.fields import facts_from_proto, struct_of

COMPLETION_TOKENS_KEY = "inferwire-completion-tokens"
NANOS = 1_000_000_000
MICROS = 1_000_000
LONGEST_SPAN_S = 315_576_000_000
"""Ten thousand years: protobuf's own bound, which its libraries don't check when they read."""


def usage_from_proto(message: pb.Usage) -> Usage:
    return Usage(
        prompt_tokens=message.prompt_tokens,
        cached_tokens=message.cached_tokens,
        completion_tokens=message.completion_tokens,
        neutralized_spans=message.neutralized_spans,
        reasoning_tokens=message.reasoning_tokens,
    )


def usage_to_proto(usage: Usage) -> pb.Usage:
    return pb.Usage(
        prompt_tokens=usage.prompt_tokens,
        cached_tokens=usage.cached_tokens,
        completion_tokens=usage.completion_tokens,
        neutralized_spans=usage.neutralized_spans,
        reasoning_tokens=usage.reasoning_tokens,
    )


def usage_to_metadata(usage: Usage) -> list[tuple[str, str]]:
    """Usage as trailing metadata, which every exit of a call can carry."""
    return [
        ("inferwire-prompt-tokens", str(usage.prompt_tokens)),
        ("inferwire-cached-tokens", str(usage.cached_tokens)),
        (COMPLETION_TOKENS_KEY, str(usage.completion_tokens)),
        ("inferwire-neutralized-spans", str(usage.neutralized_spans)),
        ("inferwire-reasoning-tokens", str(usage.reasoning_tokens)),
    ]


def seconds_from_proto(message: Duration) -> float:
    return message.ToNanoseconds() / NANOS


def seconds_to_proto(seconds: float) -> Duration:
    whole, nanos = divmod(round(seconds * NANOS), NANOS)
    return Duration(seconds=whole, nanos=nanos)


def timeout_from_proto(message: Duration) -> timedelta:
    """Raises InvalidField."""
    check_span(message)
    return message.ToTimedelta()


def check_span(message: Duration) -> None:
    """Raises InvalidField for what is no span of time by protobuf's rules."""
    if abs(message.seconds) > LONGEST_SPAN_S or abs(message.nanos) >= NANOS:
        raise InvalidField("", "It is not a duration: at most 10,000 years, and nanoseconds of less than a second.")


def timedelta_to_proto(delta: timedelta) -> Duration:
    return seconds_to_proto(delta.total_seconds())


def timings_from_proto(message: pb.Timings) -> Timings:
    first = message.time_to_first_token if message.HasField("time_to_first_token") else None
    return Timings(
        queued_s=seconds_from_proto(message.queued),
        time_to_first_token_s=None if first is None else seconds_from_proto(first),
        total_s=seconds_from_proto(message.total),
    )


def timings_to_proto(timings: Timings) -> pb.Timings:
    first = timings.time_to_first_token_s
    return pb.Timings(
        queued=seconds_to_proto(timings.queued_s),
        time_to_first_token=None if first is None else seconds_to_proto(first),
        total=seconds_to_proto(timings.total_s),
    )


def metrics_from_proto(messages: Iterable[pb.MetricEvent]) -> tuple[MetricEvent, ...]:
    return tuple(map(metric_from_proto, messages))


def metric_from_proto(message: pb.MetricEvent) -> MetricEvent:
    return MetricEvent(
        metric=message.metric,
        value=message.int_value if message.WhichOneof("value") == "int_value" else message.double_value,
        unit=message.unit,
        trace_id=message.trace_id,
        span_id=message.span_id,
        timestamp_s=message.timestamp.ToMicroseconds() / MICROS,
        attributes=facts_from_proto(message.attributes, "attributes"),
    )


def metric_to_proto(metric: MetricEvent) -> pb.MetricEvent:
    # A float holds the time of our days to a microsecond, not to a nanosecond.
    timestamp = Timestamp()
    timestamp.FromMicroseconds(round(metric.timestamp_s * MICROS))
    message = pb.MetricEvent(
        metric=metric.metric,
        unit=metric.unit,
        trace_id=metric.trace_id,
        span_id=metric.span_id,
        timestamp=timestamp,
        attributes=struct_of(metric.attributes),
    )
    if isinstance(metric.value, int):
        message.int_value = metric.value
    else:
        message.double_value = metric.value
    return message
