"""Pieces of the JSON in which tools are described to models."""

import json
from collections.abc import Sequence

from jinja2.utils import htmlsafe_json_dumps

from service.api.tools import ToolParamDefinition
from service.tool_formats.tools import required_names


def escaped(text: str) -> str:
    """A text as it stands between the quotes of a JSON string."""
    return json.dumps(text, ensure_ascii=False)[1:-1]


def required_list(parameters: Sequence[ToolParamDefinition]) -> str:
    return str(htmlsafe_json_dumps(required_names(parameters)))


def indented(text: str, by: str) -> str:
    """All lines but the first one, moved to the right."""
    return text.replace("\n", "\n" + by)
