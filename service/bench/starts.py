"""How long it takes until a language model and an embedding model are both served."""

import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

from service.api.models import ModelType
from service.bench.contenders import inferwire, openai_server
from service.bench.contenders.processes import FailedToStart
from service.bench.run import Outcome, Tell


@dataclass(frozen=True, slots=True)
class Starts:
    """Of both models. Logs go to `folder`."""

    llm: Path
    embedding: Path
    folder: Path
    rounds: int

    @property
    def steps(self) -> int:
        return self.rounds * len(self._ways)

    async def run(self, tell: Tell) -> Outcome:
        outcome = Outcome()
        for _ in range(self.rounds):
            for name, start in self._ways.items():
                tell(f"start {name}")
                try:
                    outcome.starts_s[name].append(await start())
                except FailedToStart as failure:
                    outcome.failures[name] = str(failure)
        return outcome

    @property
    def _ways(self) -> dict[str, Callable[[], Awaitable[float]]]:
        return {
            "Inferwire with both models": self._one_server,
            "vLLM's OpenAI servers of both, one after the other, their defaults": self._two_servers,
        }

    async def _one_server(self) -> float:
        models = [
            {"path": str(self.llm), "id": "llm"},
            {"path": str(self.embedding), "id": "embedding", "type": ModelType.EMBEDDING.value},
        ]
        begun_s = time.perf_counter()
        async with inferwire.serving(models, self.folder / "both.log"):
            return time.perf_counter() - begun_s

    async def _two_servers(self) -> float:
        """The first is ended before the second starts: by default each takes nearly all of the memory."""
        seconds = 0.0
        for number, model in enumerate((self.llm, self.embedding)):
            begun_s = time.perf_counter()
            async with openai_server.serving_by_default(model, self.folder / f"alone-{number}.log"):
                seconds += time.perf_counter() - begun_s
        return seconds
