"""The dashboard: what it asks Prometheus, and how the answers are shown.

Expressions are PromQL with Grafana's variables: the servers and models that are chosen, and the interval of rates.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

JOB, INSTANCE, MODEL, INTERVAL = "$job", "$instance", "$model", "$__rate_interval"
# What another server might have done better.
FAULTS = "UNKNOWN|DEADLINE_EXCEEDED|INTERNAL|UNAVAILABLE|DATA_LOSS"


class Unit(StrEnum):
    """Grafana's names."""

    COUNT = "short"
    PER_SECOND = "cps"
    TOKENS_PER_SECOND = "tokens/s"
    SECONDS = "s"
    SHARE = "percentunit"
    BYTES = "decbytes"


class Shape(StrEnum):
    LINES = "lines"
    STACK = "stack"
    NUMBER = "number"
    """The latest value alone."""
    HEATMAP = "heatmap"
    """Of a histogram's buckets."""


@dataclass(frozen=True, slots=True)
class Panel:
    """`queries` are expressions by their legends, in which {{label}} stands for a label's value."""

    title: str
    text: str
    unit: Unit
    queries: Mapping[str, str]
    shape: Shape = Shape.LINES
    alarming: float | None = None
    """A number from this on is shown in red."""
    most: float | None = None
    """Where the axis ends."""


@dataclass(frozen=True, slots=True)
class Row:
    title: str
    panels: Sequence[Panel]


def chosen(metric: str, *matchers: str) -> str:
    """The series of the servers and models that are chosen."""
    return _selected(metric, f'model=~"{MODEL}"', *matchers)


def of_engines(metric: str) -> str:
    """Likewise, of vLLM's own."""
    return _selected(metric, f'model_name=~"{MODEL}"')


def of_servers(metric: str) -> str:
    """Series that tell of no model."""
    return _selected(metric)


def _selected(metric: str, *matchers: str) -> str:
    servers = f'job=~"{JOB}"', f'instance=~"{INSTANCE}"'
    return f"{metric}{{{', '.join((*servers, *matchers))}}}"


def total(series: str, *labels: str) -> str:
    return f"sum by ({', '.join(labels)}) ({series})" if labels else f"sum({series})"


def rate(series: str, *labels: str) -> str:
    """A second's, by these labels."""
    return total(f"rate({series}[{INTERVAL}])", *labels)


def quantile(share: float, buckets: str, *labels: str) -> str:
    return f"histogram_quantile({share}, {rate(buckets, 'le', *labels)})"


def quantiles(buckets: str) -> dict[str, str]:
    """By legend."""
    return {legend: quantile(share, buckets) for legend, share in {"half": 0.5, "95 %": 0.95, "99 %": 0.99}.items()}


CALLS = chosen("inferwire_calls_total")
FAILED = chosen("inferwire_calls_total", f'code=~"{FAULTS}"')
GENERATED = chosen("inferwire_generated_tokens_total")
FIRST_TOKEN = chosen("inferwire_time_to_first_token_seconds_bucket")

AT_A_GLANCE = Row(
    "At a glance",
    [
        Panel(
            "Engines down",
            "Engines that load, have died or are brought back.",
            Unit.COUNT,
            {"": f"count({chosen('inferwire_engine_up')} == 0) or vector(0)"},
            Shape.NUMBER,
            alarming=1,
        ),
        Panel("Calls", "Calls that end, a second.", Unit.PER_SECOND, {"": rate(CALLS)}, Shape.NUMBER),
        Panel(
            "Failed by the server",
            "The share of calls that fail and need not have: faults, and deadlines that passed.",
            Unit.SHARE,
            {"": f"({rate(FAILED)} or vector(0)) / {rate(CALLS)}"},
            Shape.NUMBER,
            alarming=0.01,
        ),
        Panel(
            "First token",
            "95 of 100 answers begin within this time.",
            Unit.SECONDS,
            {"": quantile(0.95, FIRST_TOKEN)},
            Shape.NUMBER,
            alarming=2.5,
        ),
        Panel("Generated", "Tokens a second.", Unit.TOKENS_PER_SECOND, {"": rate(GENERATED)}, Shape.NUMBER),
        Panel(
            "Waiting",
            "Requests that wait for an engine.",
            Unit.COUNT,
            {"": total(chosen("inferwire_queued_requests"))},
            Shape.NUMBER,
        ),
    ],
)

CALLS_ROW = Row(
    "Calls",
    [
        Panel(
            "Calls by method",
            "Calls that end, a second.",
            Unit.PER_SECOND,
            {"{{method}}": rate(CALLS, "method")},
            Shape.STACK,
        ),
        Panel(
            "Calls by caller",
            "By identity, as the settings name them.",
            Unit.PER_SECOND,
            {"{{identity}}": rate(CALLS, "identity")},
            Shape.STACK,
        ),
        Panel(
            "Calls that fail",
            "By the reason of ErrorInfo. README.md and errors.proto tell what each means.",
            Unit.PER_SECOND,
            {"{{reason}}": rate(of_servers("inferwire_failed_calls_total"), "reason")},
            Shape.STACK,
        ),
        Panel(
            "Calls by status",
            "All but OK. Cancelled calls were given up by their callers.",
            Unit.PER_SECOND,
            {"{{code}}": rate(chosen("inferwire_calls_total", 'code!="OK"'), "code")},
            Shape.STACK,
        ),
        Panel(
            "Duration of calls",
            "95 of 100 calls take no longer.",
            Unit.SECONDS,
            {"{{method}}": quantile(0.95, chosen("inferwire_call_duration_seconds_bucket"), "method")},
        ),
        Panel(
            "Calls under way",
            "Waiting ones included, by server.",
            Unit.COUNT,
            {"{{instance}}": of_servers("inferwire_calls_in_flight")},
        ),
        Panel(
            "Images fetched",
            "A second, by outcome. Refused ones broke a rule, or led to where nothing is fetched from.",
            Unit.PER_SECOND,
            {"{{outcome}}": rate(of_servers("inferwire_image_fetches_total"), "outcome")},
            Shape.STACK,
        ),
        Panel(
            "Duration of fetches",
            "95 of 100 images take no longer, the wait for a turn included.",
            Unit.SECONDS,
            {"": quantile(0.95, of_servers("inferwire_image_fetch_duration_seconds_bucket"))},
        ),
    ],
)

TOKENS = Row(
    "Tokens",
    [
        Panel(
            "Tokens",
            "Of prompts (those that the cache of prompts spared among them), and generated (thoughts among them).",
            Unit.TOKENS_PER_SECOND,
            {
                "read": rate(chosen("inferwire_prompt_tokens_total")),
                "of those from the cache": rate(chosen("inferwire_cached_tokens_total")),
                "generated": rate(GENERATED),
                "of those thoughts": rate(chosen("inferwire_reasoning_tokens_total")),
            },
        ),
        Panel(
            "Generated by model",
            "Tokens a second.",
            Unit.TOKENS_PER_SECOND,
            {"{{model}}": rate(GENERATED, "model")},
            Shape.STACK,
        ),
        Panel(
            "Generated by caller",
            "Tokens a second.",
            Unit.TOKENS_PER_SECOND,
            {"{{identity}}": rate(GENERATED, "identity")},
            Shape.STACK,
        ),
        Panel(
            "Only tokenised",
            "Tokens of Tokenize, Detokenize and Preflight, by caller: no engine reads them.",
            Unit.TOKENS_PER_SECOND,
            {"{{identity}}": rate(chosen("inferwire_tokenized_tokens_total"), "identity")},
            Shape.STACK,
        ),
    ],
)

TIMES = Row(
    "Times",
    [
        Panel("Time to first token", "From a call's arrival, its wait included.", Unit.SECONDS, quantiles(FIRST_TOKEN)),
        Panel(
            "Time to first token, spread",
            "How many answers began after how long.",
            Unit.SECONDS,
            {"{{le}}": total(f"increase({FIRST_TOKEN}[{INTERVAL}])", "le")},
            Shape.HEATMAP,
        ),
        Panel(
            "Time per further token",
            "The mean of each call, as its caller meets it.",
            Unit.SECONDS,
            quantiles(chosen("inferwire_time_per_output_token_seconds_bucket")),
        ),
        Panel(
            "Time between tokens in the engine",
            "Each pair of tokens, as vLLM counts them.",
            Unit.SECONDS,
            quantiles(of_engines("vllm:inter_token_latency_seconds_bucket")),
        ),
        Panel(
            "Wait for the engine",
            "From a call's arrival to its place.",
            Unit.SECONDS,
            quantiles(chosen("inferwire_queue_duration_seconds_bucket")),
        ),
        Panel(
            "Prompt in the engine",
            "From a place in the batch to the first token, as vLLM counts it.",
            Unit.SECONDS,
            quantiles(of_engines("vllm:request_prefill_time_seconds_bucket")),
        ),
    ],
)

ENGINES = Row(
    "Engines",
    [
        Panel(
            "Work under way",
            "Requests that engines work on, and that wait.",
            Unit.COUNT,
            {
                "{{model}}": total(chosen("inferwire_running_requests"), "model"),
                "{{model}}, waiting": total(chosen("inferwire_queued_requests"), "model"),
            },
        ),
        Panel(
            "Utilization",
            "The work as a share of what has a place; above 100 % some waits.",
            Unit.SHARE,
            {"{{model}}": f"avg by (model) ({chosen('inferwire_utilization_ratio')})"},
        ),
        Panel(
            "Tokens that wait",
            "Of prompts that wait, and of what they may generate.",
            Unit.COUNT,
            {"{{model}}": total(chosen("inferwire_queued_tokens"), "model")},
        ),
        Panel(
            "Cache in use",
            "The share of the engine's cache that requests hold.",
            Unit.SHARE,
            {"{{model}}": f"max by (model) ({chosen('inferwire_cache_usage_ratio')})"},
            most=1,
        ),
        Panel(
            "Prompts from the cache",
            "The share of prompts' tokens that vLLM finds in its cache.",
            Unit.SHARE,
            {
                "{{model_name}}": f"{rate(of_engines('vllm:prefix_cache_hits_total'), 'model_name')}"
                f" / {rate(of_engines('vllm:prefix_cache_queries_total'), 'model_name')}"
            },
            most=1,
        ),
        Panel(
            "Requests set back",
            "Requests a second that vLLM has taken out of its batch for want of cache.",
            Unit.PER_SECOND,
            {"{{model_name}}": rate(of_engines("vllm:num_preemptions_total"), "model_name")},
        ),
    ],
)

PROMISES = Row(
    "Promises",
    [
        Panel(
            "Answers of a demanded shape",
            "By outcome. A violated one is a defect.",
            Unit.PER_SECOND,
            {"{{outcome}}": rate(chosen("inferwire_constrained_answers_total"), "outcome")},
            Shape.STACK,
        ),
        Panel(
            "Tool calls",
            "By verdict.",
            Unit.PER_SECOND,
            {"{{verdict}}": rate(chosen("inferwire_tool_calls_total"), "verdict")},
            Shape.STACK,
        ),
        Panel(
            "Control tokens in callers' texts",
            "Read as plain text. Many are an attempt, or a text about such tokens.",
            Unit.PER_SECOND,
            {"{{identity}}": rate(chosen("inferwire_neutralized_spans_total"), "identity")},
        ),
    ],
)

PROCESS = Row(
    "Life of the servers",
    [
        Panel(
            "Engines that serve",
            "On how many servers each model's engine is up.",
            Unit.COUNT,
            {"{{model}}": total(chosen("inferwire_engine_up"), "model")},
        ),
        Panel(
            "Engines that failed",
            "Died, or stalled and ended, in the last quarter of an hour.",
            Unit.COUNT,
            {"{{model}}": total(f"increase({chosen('inferwire_engine_failures_total')}[15m])", "model")},
        ),
        Panel(
            "Drain",
            "1 while a server ends, and the seconds that it takes longer than it may.",
            Unit.COUNT,
            {
                "{{instance}}": of_servers("inferwire_draining"),
                "{{instance}}, seconds too long": of_servers("inferwire_drain_overdue_seconds"),
            },
        ),
        Panel(
            "Processor",
            "Cores that the server's own process uses. Engines are processes beside it.",
            Unit.COUNT,
            {"{{instance}}": rate(of_servers("process_cpu_seconds_total"), "instance")},
        ),
        Panel(
            "Memory",
            "Of the server's own process.",
            Unit.BYTES,
            {"{{instance}}": of_servers("process_resident_memory_bytes")},
        ),
        Panel(
            "Open files",
            "Of the server's own process; connections are among them.",
            Unit.COUNT,
            {"{{instance}}": of_servers("process_open_fds")},
        ),
    ],
)

ROWS = (AT_A_GLANCE, CALLS_ROW, TOKENS, TIMES, ENGINES, PROMISES, PROCESS)


def expressions() -> list[str]:
    return [expression for row in ROWS for panel in row.panels for expression in panel.queries.values()]
