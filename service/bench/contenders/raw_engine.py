"""vLLM's AsyncLLM, called in its own process and with Inferwire's settings: the best that a front-end could do.

python -m service.bench.contenders.raw_engine MODEL     reads workloads and writes rounds (see child.py)
"""

import json
import sys
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

from service.api.models import ModelType
from service.bench.contenders.base import Contender, Running, measured_here
from service.bench.contenders.child import answer, child
from service.bench.contenders.openai_shapes import chat_messages, chat_tools
from service.bench.timing import Figures, Mark, Prepare, Send, streams_at_once
from service.bench.workloads import TOOL_NAME, Ask, Workload


class RawEngine(Contender[Workload, Figures]):
    name = "AsyncLLM in process"

    @asynccontextmanager
    async def running(self, model: Path, log: Path) -> AsyncIterator[Running[Workload, Figures]]:
        async with child(__name__, model, log, Figures) as running:
            yield running


async def raw_engine(model: str, model_type: ModelType) -> Any:
    """An AsyncLLM with Inferwire's settings."""
    # Imported here, as the parent, too, imports this module and has no need of an engine.
    from service.engines.vllm.core import EngineCore, EngineHost
    from service.settings import ModelSettings

    host = EngineHost(models=1, grace_s=1.0, stall_timeout_s=60.0, longest_hold_s=0.0)
    core = EngineCore(ModelSettings(path=model, type=model_type), host)
    await core.start()
    return core.engine


async def _serve(model: str) -> None:
    engine = await raw_engine(model, ModelType.LLM)
    await answer(measured_here(partial(streams_at_once, _preparer(engine))), Workload)


def _preparer(engine: Any) -> Prepare:
    """Nothing is made ready: to tokenise and to build parameters is what front-ends do."""
    tokenizer = engine.get_tokenizer()

    def prepare(ask: Ask) -> Send:
        async def send(mark: Mark) -> int:
            tokens = 0
            prompt = {"prompt_token_ids": _token_ids(tokenizer, ask)}
            async for output in engine.generate(prompt, _params(ask), uuid.uuid4().hex):
                tokens += len(output.outputs[0].token_ids)
                mark()
            return tokens

        return send

    return prepare


def _token_ids(tokenizer: Any, ask: Ask) -> list[int]:
    if not ask.tool_schema:
        return list(tokenizer.encode(ask.prompt))
    tools = chat_tools(ask.tool_schema)
    options = {"add_generation_prompt": True, "return_dict": False}
    return list(tokenizer.apply_chat_template(chat_messages(ask), tools=tools, **options))


def _params(ask: Ask) -> Any:
    from vllm.sampling_params import RequestOutputKind, SamplingParams, StructuredOutputsParams

    schema = _call_schema(ask.tool_schema) if ask.tool_schema else ask.json_schema
    return SamplingParams(
        temperature=0.0,
        max_tokens=ask.tokens,
        min_tokens=0 if schema else ask.tokens,
        structured_outputs=StructuredOutputsParams(json=schema) if schema else None,
        output_kind=RequestOutputKind.DELTA,
    )


def _call_schema(arguments: str) -> str:
    """Of a call as text: vLLM's engine knows of no tools."""
    properties = {"name": {"const": TOOL_NAME}, "parameters": json.loads(arguments)}
    return json.dumps({"type": "object", "properties": properties, "required": list(properties)})


if __name__ == "__main__":
    import uvloop

    uvloop.run(_serve(sys.argv[1]))
