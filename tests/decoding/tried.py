"""Grammars tried in this process: quickly, and without the limits of a process of its own."""

from collections.abc import Sequence

from service.api.response_format import ResponseFormat
from service.decoding.compile_check import CompileCheck
from service.decoding.compile_worker import problem_of
from service.decoding.constraint import KINDS, AnswerFormat, answer_format_of
from service.decoding.grammars import GrammarKind
from service.errors import InvalidConstraint


class TriedHere(CompileCheck):
    """A check that starts no process, for tests that are about something else."""

    def start(self) -> None: ...

    async def problems(self, kind: GrammarKind, texts: Sequence[str], caller: str) -> list[str | None]:
        return [problem_of(kind, text) for text in texts]


def tried_format(response_format: ResponseFormat, max_bytes: int) -> AnswerFormat:
    """What `checked_format` makes."""
    made = answer_format_of(response_format, max_bytes)
    kind = KINDS.get(made.constraint.kind)
    if kind and (problem := problem_of(kind, made.constraint.text)):
        raise InvalidConstraint(made.field, problem)
    return made
