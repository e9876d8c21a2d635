"""What all groups of settings have in common."""

from typing import Annotated

from pydantic import BaseModel, BeforeValidator, ConfigDict
from pydantic_settings import NoDecode


class Section(BaseModel):
    """A group of settings."""

    # An error that shows what was given may show a secret.
    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=(), hide_input_in_errors=True)


def _split(value: object) -> object:
    return [part.strip() for part in value.split(",")] if isinstance(value, str) else value


# A list that may be given as one text with commas, which is all that a flag or a variable has room for.
FROM_ONE_TEXT = (NoDecode, BeforeValidator(_split))
Names = Annotated[tuple[str, ...], *FROM_ONE_TEXT]
