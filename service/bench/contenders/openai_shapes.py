"""Chats and tools as OpenAI writes them, which chat templates take too."""

import json
from typing import Any

from service.bench.workloads import TOOL_DESCRIPTION, TOOL_NAME, Ask


def chat_messages(ask: Ask) -> list[dict[str, str]]:
    return [{"role": "user", "content": ask.prompt}]


def chat_tools(arguments: str) -> list[dict[str, Any]]:
    """The one tool, whose arguments fit this schema."""
    function = {"name": TOOL_NAME, "description": TOOL_DESCRIPTION, "parameters": json.loads(arguments)}
    return [{"type": "function", "function": function}]
