"""What became of a mutant, and what is wrong with that."""

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import grpc
from google.protobuf.message import DecodeError
from google.rpc import error_details_pb2 as details_pb
from google.rpc import status_pb2

from inferwire.v1 import preflight_pb2
from tests.fuzz.mutants import Mutant

Code = grpc.StatusCode
# RESOURCE_EXHAUSTED is admission. Not among them is UNAVAILABLE: nothing here may end an engine, or the server.
EXPECTED = {
    Code.OK,
    Code.INVALID_ARGUMENT,
    Code.NOT_FOUND,
    Code.FAILED_PRECONDITION,
    Code.UNIMPLEMENTED,
    Code.RESOURCE_EXHAUSTED,
    Code.DEADLINE_EXCEEDED,
}
BARE = {Code.OK, Code.DEADLINE_EXCEEDED}
"""May come without details; the latter from gRPC's client, which doesn't wait for the server to say so."""
DETAILS = (details_pb.ErrorInfo, details_pb.BadRequest, details_pb.RetryInfo, details_pb.RequestInfo)
# What only somebody who knows the server from inside could say.
LEAKS = re.compile(
    "|".join(
        (
            r"Traceback",
            r"\bFile \"",
            r"\bline \d+, in\b",
            r"<(?:class|function|module|bound method|built-in|frozen) ",
            r"\bobject at 0x",
            r"\b0x[0-9a-f]{8,}",
            r"site-packages|dist-packages",
            r"(?:^|[\s'\"`(=,:])/(?:[\w.+-]+/)+[\w.+-]*",
            r"\b\w+\.(?:py|pyx|pxi|so|cc|cpp|h|rs|proto)\b(?::\d+)?",
            r"\b[A-Z]\w*(?:Error|Exception|Warning)\b",
            r"(?i:\b(?:vllm|torch|xgrammar|pydantic|jsonschema|referencing|transformers|tokenizers|jinja2?|numpy|uvloop"
            r"|asyncio|hypothesis|opentelemetry|msgspec|enginecore|google\.protobuf|_pb2|upb)\b)",
            r"https?://",
        )
    ),
    re.MULTILINE,
)


@dataclass(frozen=True, slots=True)
class Outcome:
    """`texts` is all that the server said in words of its own."""

    code: Code
    texts: Sequence[str] = ()
    reason: str = ""
    request_id: str = ""


def succeeded(mutant: Mutant, answers: Sequence[bytes]) -> Outcome:
    """Of the answers only Preflight's tell of errors."""
    if mutant.method.name != "Preflight":
        return Outcome(Code.OK)
    reports = [preflight_pb2.PreflightResponse.FromString(answer) for answer in answers]
    return Outcome(Code.OK, [f"{v.field}: {v.description}" for report in reports for v in report.violations])


def failed(error: grpc.aio.AioRpcError) -> Outcome:
    trailing = dict(error.trailing_metadata() or ())
    details = list(_details(trailing.get("grpc-status-details-bin", b"")))
    texts = [error.details() or "", *(f"{key}: {value}" for key, value in trailing.items() if isinstance(value, str))]
    return Outcome(
        error.code(),
        [*texts, *(text for detail in details for text in _texts(detail))],
        next((d.reason for d in details if isinstance(d, details_pb.ErrorInfo) and d.domain == "inferwire"), ""),
        next((d.request_id for d in details if isinstance(d, details_pb.RequestInfo)), ""),
    )


def _details(packed: Any) -> Iterator[Any]:
    try:
        status = status_pb2.Status.FromString(packed)
    except DecodeError:
        return
    for detail in status.details:
        for kind in DETAILS:
            message = kind()
            if detail.Unpack(message):
                yield message


def _texts(message: Any) -> Iterator[str]:
    """All texts in a message of details."""
    match message:
        case details_pb.ErrorInfo():
            yield from (message.reason, *(f"{key}: {value}" for key, value in message.metadata.items()))
        case details_pb.BadRequest():
            yield from (f"{v.field}: {v.description}" for v in message.field_violations)
        case details_pb.RequestInfo():
            yield from (message.request_id, message.serving_data)


def problems(mutant: Mutant, outcome: Outcome) -> list[str]:
    """What is wrong with an outcome; empty for a good one."""
    found = []
    if outcome.code not in EXPECTED:
        found.append(f"the status {outcome.code.name}")
    if mutant.method.ours and outcome.code not in BARE and not (outcome.reason and outcome.request_id):
        found.append("an error without its reason or request id")
    found += [f"a leak: {leak!r}" for text in outcome.texts for leak in leaks(text, _said_by(mutant))]
    return found


def leaks(text: str, said: str) -> list[str]:
    """What in a text of the server tells of its inside; what callers said themselves may be told to them."""
    found = (match.group().strip(" '\"`(=,:.\n\t") for match in LEAKS.finditer(text))
    return [leak for leak in found if leak not in said]


def _said_by(mutant: Mutant) -> str:
    """All that the caller said, as text."""
    texts = [data.decode(errors="ignore") for data in mutant.requests]
    return "\n".join([*texts, *(str(value) for _, value in mutant.metadata)])


@dataclass(frozen=True, slots=True)
class Violation:
    mutant: Mutant
    outcome: Outcome
    problems: Sequence[str]

    def report(self, seed: int) -> str:
        """With all that it takes to see it again."""
        mutant = self.mutant
        lines = [
            f"{mutant.method.name}, mutant {mutant.number} of seed {seed} ({mutant.way}): {'; '.join(self.problems)}",
            f"  again: --seed {seed} --first {mutant.number} --requests 1",
            *(f"  request: {data.hex()}" for data in mutant.requests),
            *(f"  metadata: {key}: {value!r}" for key, value in mutant.metadata),
            *(f"  said: {text[:1000]}" for text in self.outcome.texts if text),
        ]
        return "\n".join(lines)


@dataclass(slots=True)
class Outcomes:
    """Of a whole run."""

    seed: int
    counts: Counter[tuple[str, str]] = field(default_factory=Counter)
    violations: list[Violation] = field(default_factory=list)
    late: list[int] = field(default_factory=list)
    """The numbers of those that took all the time that they had."""

    def add(self, mutant: Mutant, outcome: Outcome, *, late: bool = False) -> None:
        self.counts[mutant.method.name, outcome.code.name] += 1
        if late:
            self.late.append(mutant.number)
        if found := problems(mutant, outcome):
            self.violations.append(Violation(mutant, outcome, found))

    def table(self) -> str:
        """Methods and statuses, in Markdown."""
        codes = [code.name for code in Code if any(name == code.name for _, name in self.counts)]
        methods = list(dict.fromkeys(method for method, _ in sorted(self.counts)))
        rows = [[method, *(self.counts[method, code] for code in codes)] for method in methods]
        total = ["all", *(sum(row[index + 1] for row in rows) for index in range(len(codes)))]
        lines = [["Method", *codes], ["---", *["---:"] * len(codes)], *rows, total]
        return "\n".join(f"| {' | '.join(map(str, line))} |" for line in lines)

    def report(self) -> str:
        return "\n".join(violation.report(self.seed) for violation in self.violations)
