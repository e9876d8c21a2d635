"""What was seen."""

from dataclasses import dataclass
from enum import StrEnum


class Level(StrEnum):
    OK = "ok"
    WARNING = "warning"
    """The server starts, but perhaps not as it should."""
    PROBLEM = "problem"
    """It would stop a start."""


@dataclass(frozen=True, slots=True)
class Finding:
    """What was seen of a subject, in a sentence or less; and what to change, unless it is fine."""

    level: Level
    subject: str
    told: str
    advice: str = ""


def ok(subject: str, told: str) -> Finding:
    return Finding(Level.OK, subject, told)


def warning(subject: str, told: str, advice: str) -> Finding:
    return Finding(Level.WARNING, subject, told, advice)


def problem(subject: str, told: str, advice: str) -> Finding:
    return Finding(Level.PROBLEM, subject, told, advice)
