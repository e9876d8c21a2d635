"""The dialect `{"type": "function", "name": ..., "parameters": {...}}`."""

import json
from collections.abc import Sequence

from service.api.tools import ToolCall


def write(calls: Sequence[ToolCall]) -> str:
    """Calls of the history as the model wrote them, one a line; the arguments stay as they are, byte for byte."""
    return "\n".join(
        f'{{"type": "function", "name": {json.dumps(call.tool_name)}, "parameters": {call.arguments_json or "{}"}}}'
        for call in calls
    )
