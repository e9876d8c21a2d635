"""What Prometheus is told about calls and failures of engines. Each metric is named here and nowhere else.

Labels hold only what the operator has named, the contract lists, or the server makes up: callers can't add values.
"""

from collections.abc import Iterable
from enum import StrEnum

from prometheus_client import CollectorRegistry, Counter, Histogram

from service.telemetry.calls import Call

TIMES_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 25, 50, 100, 250)
TIMES_PER_TOKEN_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)


class CallMetrics:
    """Counts each call once, when it is over."""

    def __init__(self, registry: CollectorRegistry) -> None:
        def counter(name: str, text: str, *labels: str) -> Counter:
            return Counter(f"inferwire_{name}", text, labels, registry=registry)

        def histogram(name: str, text: str, *labels: str, buckets: tuple[float, ...] = TIMES_S) -> Histogram:
            return Histogram(f"inferwire_{name}", text, labels, registry=registry, buckets=buckets)

        whose = ("model", "identity")
        self._calls = counter("calls", "Calls that are over, by their gRPC status.", "method", "code", *whose)
        self._failures = counter("failed_calls", "Calls that failed, by the reason of ErrorInfo.", "method", "reason")
        self._prompt = counter("prompt_tokens", "Tokens of prompts and of embedded texts.", *whose)
        text = "Tokens that Tokenize and Preflight made of texts, and that Detokenize read."
        self._tokenized = counter("tokenized_tokens", text, *whose)
        self._cached = counter("cached_tokens", "Tokens of prompts that an earlier one has spared.", *whose)
        self._generated = counter("generated_tokens", "Tokens that were generated.", *whose)
        self._reasoning = counter("reasoning_tokens", "Tokens that were generated as thoughts.", *whose)
        self._neutralized = counter("neutralized_spans", "Control tokens that callers' texts spelled.", *whose)
        self._outcomes = counter("constrained_answers", "Answers of a demanded shape, by outcome.", "model", "outcome")
        self._tool_calls = counter("tool_calls", "Tool calls that models wrote, by verdict.", "model", "verdict")
        self._duration = histogram("call_duration_seconds", "From a call's arrival to its end.", "method", "model")
        self._queue = histogram("queue_duration_seconds", "From a call's arrival to its place in the engine.", "model")
        self._first = histogram("time_to_first_token_seconds", "From a call's arrival to its first token.", "model")
        self._per_token = histogram(
            "time_per_output_token_seconds",
            "Between two tokens of an answer, the first one left out: the mean of each call.",
            "model",
            buckets=TIMES_PER_TOKEN_S,
        )

    def expect(self, models: Iterable[str], outcomes: Iterable[str], verdicts: Iterable[str]) -> None:
        """Shows these as 0, so that the first time that something happens is seen as an increase."""
        for model in models:
            for outcome in outcomes:
                self._outcomes.labels(model, outcome)
            for verdict in verdicts:
                self._tool_calls.labels(model, verdict)

    def record(self, call: Call, code: str, reason: str) -> None:
        """`code` is the status; `reason` is empty for a call that didn't fail."""
        method = call.method.rpartition("/")[2]
        self._calls.labels(method, code, call.model, call.identity).inc()
        self._duration.labels(method, call.model).observe(call.elapsed_s())
        if reason:
            self._failures.labels(method, reason).inc()
        self._count_tokens(call)
        self._time_tokens(call)
        if call.constraint_outcome:
            self._outcomes.labels(call.model, call.constraint_outcome).inc()
        for verdict in call.tool_verdicts:
            self._tool_calls.labels(call.model, verdict).inc()

    def _count_tokens(self, call: Call) -> None:
        counts = {
            self._prompt: call.prompt_tokens - call.tokenized_tokens,
            self._tokenized: call.tokenized_tokens,
            self._cached: call.cached_tokens,
            self._generated: call.completion_tokens,
            self._reasoning: call.reasoning_tokens,
            self._neutralized: call.neutralized_spans,
        }
        for counter, count in counts.items():
            if count:
                counter.labels(call.model, call.identity).inc(count)

    def _time_tokens(self, call: Call) -> None:
        if call.queued_s is not None:
            self._queue.labels(call.model).observe(call.queued_s)
        if call.first_token_s is None:
            return
        self._first.labels(call.model).observe(call.first_token_s)
        if call.completion_tokens > 1:
            rest_s = call.elapsed_s() - call.first_token_s
            self._per_token.labels(call.model).observe(rest_s / (call.completion_tokens - 1))


class EngineMetrics:
    """Counts what happens to engines."""

    def __init__(self, registry: CollectorRegistry, models: Iterable[str]) -> None:
        text = "Times that the model's engine has died, or has stalled and was ended."
        self._failures = Counter("inferwire_engine_failures", text, ("model",), registry=registry)
        for model in models:
            self._failures.labels(model)

    def record_failure(self, model: str) -> None:
        self._failures.labels(model).inc()


class FetchOutcome(StrEnum):
    """How the fetching of an image ended."""

    FETCHED = "fetched"
    REFUSED = "refused"
    """It is not allowed, or breaks a rule."""
    FAILED = "failed"
    """The host can't be reached, or answers otherwise."""
    TIMED_OUT = "timed_out"
    OVERLOADED = "overloaded"
    """It never had its turn."""
    CANCELLED = "cancelled"


class ImageMetrics:
    """Counts the images that are fetched."""

    def __init__(self, registry: CollectorRegistry) -> None:
        text = "Images that requests named by URL, by how their fetching ended."
        self._fetches = Counter("inferwire_image_fetches", text, ("outcome",), registry=registry)
        text = "From a fetch's beginning to its end, the wait for a turn included."
        self._duration = Histogram("inferwire_image_fetch_duration_seconds", text, registry=registry, buckets=TIMES_S)
        for outcome in FetchOutcome:
            self._fetches.labels(outcome)

    def record_fetch(self, outcome: FetchOutcome, seconds: float) -> None:
        self._fetches.labels(outcome).inc()
        self._duration.observe(seconds)
