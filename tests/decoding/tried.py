"""Constraints that were tried in this process: quickly, and without the limits of a process of its own."""

from service.api.response_format import ResponseFormat
from service.decoding.compile_worker import problem_of
from service.decoding.constraint import KINDS, Constraint, constraint_of
from service.errors import InvalidConstraint


def tried_constraint(response_format: ResponseFormat, max_bytes: int) -> Constraint:
    """What `checked_constraint` makes."""
    made = constraint_of(response_format, max_bytes)
    kind = KINDS.get(made.kind)
    if kind and (problem := problem_of(kind, made.text)):
        raise InvalidConstraint(made.field, problem)
    return made
