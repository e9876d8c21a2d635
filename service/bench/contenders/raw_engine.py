"""vLLM's AsyncLLM, called in its own process and with Inferwire's settings: the best that a front-end could do.

python -m service.bench.contenders.raw_engine MODEL     reads workloads, one JSON object a line, and writes rounds
"""

import asyncio
import json
import sys
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from subprocess import Popen
from typing import Any

import psutil

from service.bench.accounting import Spent
from service.bench.contenders.base import Round, RunningServer, process, until_ready
from service.bench.timing import Figures, Mark, Send
from service.bench.workloads import Ask, Workload

READY = "ready"
# Standard output is for answers; vLLM would log there.
LOG_TO_STDERR = {"VLLM_LOGGING_STREAM": "ext://sys.stderr"}


class RawEngine:
    name = "AsyncLLM in process"
    constrains = True

    @asynccontextmanager
    async def running(self, model: Path, log: Path) -> AsyncIterator["_Child"]:
        async with process(["-m", __name__, str(model)], log, LOG_TO_STDERR, piped=True) as started:
            child = _Child(started)
            await until_ready(started, log, child.is_ready)
            yield child


@dataclass(frozen=True, slots=True)
class _Child:
    started: "Popen[str]"

    async def is_ready(self) -> bool:
        return (await self._line()) == READY

    async def run(self, workload: Workload, seed: int) -> Round:
        assert self.started.stdin
        self.started.stdin.write(json.dumps({"workload": asdict(workload), "seed": seed}) + "\n")
        self.started.stdin.flush()
        answer = json.loads(await self._line())
        return Round(Figures(**answer["figures"]), Spent(**answer["spent"]))

    async def _line(self) -> str:
        assert self.started.stdout
        return (await asyncio.to_thread(self.started.stdout.readline)).strip()


async def _serve(model: str) -> None:
    engine = await _engine(model)
    here = RunningServer(psutil.Process(), _sender(engine))
    print(READY, flush=True)
    while line := await asyncio.to_thread(sys.stdin.readline):
        asked = json.loads(line)
        done = await here.run(Workload(**asked["workload"]), asked["seed"])
        print(json.dumps(asdict(done)), flush=True)


async def _engine(model: str) -> Any:
    # Imported here, as the parent, too, imports this module and has no need of an engine.
    from service.engines.vllm.core import EngineCore, EngineHost
    from service.settings import ModelSettings

    host = EngineHost(models=1, grace_s=1.0, stall_timeout_s=60.0, longest_hold_s=0.0)
    core = EngineCore(ModelSettings(path=model), host)
    await core.start()
    return core.engine


def _sender(engine: Any) -> Send:
    tokenizer = engine.get_tokenizer()

    async def send(ask: Ask, mark: Mark) -> int:
        tokens = 0
        prompt = {"prompt_token_ids": tokenizer.encode(ask.prompt)}
        async for output in engine.generate(prompt, _params(ask), uuid.uuid4().hex):
            tokens += len(output.outputs[0].token_ids)
            mark()
        return tokens

    return send


def _params(ask: Ask) -> Any:
    from vllm.sampling_params import RequestOutputKind, SamplingParams, StructuredOutputsParams

    constraint = StructuredOutputsParams(json=ask.json_schema) if ask.json_schema else None
    return SamplingParams(
        temperature=0.0,
        max_tokens=ask.tokens,
        min_tokens=0 if constraint else ask.tokens,
        structured_outputs=constraint,
        output_kind=RequestOutputKind.DELTA,
    )


if __name__ == "__main__":
    import uvloop

    uvloop.run(_serve(sys.argv[1]))
