"""Preflight: what would happen to a request."""

from collections.abc import Sequence
from dataclasses import dataclass

from service.api.tools import ToolPromptFormat
from service.errors import FieldViolation


@dataclass(frozen=True, slots=True)
class PreflightReport:
    """`prompt` is empty when it could not be made; `tool_prompt_format` None without tools and for the model's own."""

    accepted: bool
    violations: Sequence[FieldViolation] = ()
    prompt: str = ""
    prompt_tokens: int = 0
    context_tokens_left: int = 0
    tool_prompt_format: ToolPromptFormat | None = None
    constraint: str = ""
    neutralized_spans: int = 0

    @classmethod
    def refusal(cls, violations: Sequence[FieldViolation]) -> "PreflightReport":
        """Of a request that is too wrong to have a prompt."""
        return cls(accepted=False, violations=violations)
