"""Contenders without a server: a process of ours, which reads workloads, one JSON object a line, and writes rounds."""

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from subprocess import Popen
from typing import Any, Generic

from service.bench.accounting import Spent
from service.bench.contenders.base import Round, Running, Seen
from service.bench.contenders.processes import process, until_ready

READY = "ready"
# Standard output is for answers; vLLM would log there.
LOG_TO_STDERR = {"VLLM_LOGGING_STREAM": "ext://sys.stderr"}


@dataclass(frozen=True, slots=True)
class Child(Generic[Seen]):
    started: "Popen[str]"
    figures: Callable[..., Seen]

    async def is_ready(self) -> bool:
        return (await self._line()) == READY

    async def run(self, workload: Any, seed: int) -> Round[Seen]:
        assert self.started.stdin
        self.started.stdin.write(json.dumps({"workload": asdict(workload), "seed": seed}) + "\n")
        self.started.stdin.flush()
        answer = json.loads(await self._line())
        return Round(self.figures(**answer["figures"]), Spent(**answer["spent"]))

    async def _line(self) -> str:
        assert self.started.stdout
        return (await asyncio.to_thread(self.started.stdout.readline)).strip()


@asynccontextmanager
async def child(module: str, model: Path, log: Path, figures: Callable[..., Seen]) -> AsyncIterator[Child[Seen]]:
    """Runs `python -m module model`, which has to call `answer`."""
    async with process(["-m", module, str(model)], log, {**os.environ, **LOG_TO_STDERR}, piped=True) as started:
        own = Child(started, figures)
        await until_ready(started, log, own.is_ready)
        yield own


async def answer(running: Running[Any, Any], workload: Callable[..., Any]) -> None:
    """The child's side: runs workloads until its parent is gone."""
    print(READY, flush=True)
    while line := await asyncio.to_thread(sys.stdin.readline):
        asked = json.loads(line)
        done = await running.run(workload(**asked["workload"]), asked["seed"])
        print(json.dumps(asdict(done)), flush=True)
