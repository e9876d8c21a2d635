"""`inferwire serve` with scripted engines that take time and answer as their models' `engine_args` say.

python scripted_process.py serve --config FILE

    step_s: 0.02                      seconds before each token, or for each text to embed
    text: The reply.
    replies: {"a question": "..."}    for prompts that hold the question
    failures: {"a question": 2}       how often the engine fails for them, before it answers
    fail_after: 3                     tokens of any reply, after which the engine fails
"""

import asyncio
from collections import Counter
from collections.abc import Sequence
from typing import Any

from service.api.models import ModelType
from service.cli.main import main
from service.engines.base import Engine
from service.engines.scripted import DEFAULT_REPLY, Reply, Script, ScriptedEmbeddingEngine, ScriptedLanguageEngine
from service.server import app
from service.settings import ModelSettings, Settings


class SlowEmbeddingEngine(ScriptedEmbeddingEngine):
    def __init__(self, *arguments: Any, step_s: float) -> None:
        super().__init__(*arguments)
        self.step_s = step_s

    async def embed(self, request_id: str, token_ids: Sequence[int], dimension: int | None) -> Sequence[float]:
        await asyncio.sleep(self.step_s)
        return await super().embed(request_id, token_ids, dimension)


def script(
    *,
    step_s: float = 0.0,
    text: str = DEFAULT_REPLY,
    replies: dict[str, str] | None = None,
    failures: dict[str, int] | None = None,
    fail_after: int | None = None,
) -> Script:
    left = Counter(failures)

    def reply(prompt: str) -> Reply:
        for question in (known for known in left if known in prompt and left[known]):
            left[question] -= 1
            return Reply(text, step_s, fail_after=0)
        found = (answer for question, answer in (replies or {}).items() if question in prompt)
        return Reply(next(found, text), step_s, fail_after)

    return reply


def build(model: ModelSettings, settings: Settings) -> Engine:
    limits = model.limits_within(settings.limits)
    if model.type is ModelType.LLM:
        return ScriptedLanguageEngine(model.id, limits, script(**model.engine_args))
    return SlowEmbeddingEngine(model.id, limits, **model.engine_args)


if __name__ == "__main__":
    app.build_engines = lambda settings: [build(model, settings) for model in settings.models]
    main()
