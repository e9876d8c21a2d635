"""Runs the bundled models under mixed traffic, lets a Prometheus watch, and draws the dashboard of it.

python -m tests.benchmarks.dashboard --minutes 6 --png deploy/monitoring/dashboard.png

Three callers with names and one without send in turn little, more than the model has places for, and something in
between. Needs `prometheus` (Debian has a package of that name).
"""

import argparse
import asyncio
import random
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import AsyncExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import grpc
import yaml

from deploy.monitoring.picture import Span, draw
from deploy.monitoring.prometheus import Prometheus
from service.client import Client
from tests.benchmarks.soak import SEED, Findings, traffic
from tests.benchmarks.soak_calls import KINDS, Sender
from tests.serving import bundled_models, free_port, server_process, settings_file, wait_until

SCRAPE_S = 5
START_S = 30
PLACES = 8
PHASES = (3, 16, 6)
"""How many send at once."""
CALLERS = {"shop": 2, "search": 1, "reports": 1}
"""Their weights."""


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.dashboard", description=__doc__)
    parser.add_argument("--minutes", type=float, default=6, help="of traffic (default: 6)")
    parser.add_argument("--png", type=Path, required=True, help="the picture to write")
    options = parser.parse_args()
    metrics = f"127.0.0.1:{free_port()}"
    with TemporaryDirectory() as name:
        folder = Path(name)
        with (
            server_process(folder, "--config", _settings(folder, metrics)) as server,
            _watching(folder, metrics) as seen,
        ):
            server.wait_until_serving()
            begun = time.time()
            asyncio.run(_phases(server.target, 60 * options.minutes))
            time.sleep(2 * SCRAPE_S)
            draw(seen, Span(begun, time.time(), step_s=SCRAPE_S), options.png)


def _settings(folder: Path, metrics: str) -> str:
    llm, embedder = bundled_models()
    llm["admission"] = {"max_running_requests": PLACES}
    identities = [{"name": name, "token": name, "weight": weight} for name, weight in CALLERS.items()]
    return settings_file(
        folder,
        [llm, embedder],
        metrics={"address": metrics},
        identities=identities,
        anonymous={"allowed": True},
    )


@contextmanager
def _watching(folder: Path, metrics: str) -> Iterator[Prometheus]:
    """A Prometheus that scrapes the server."""
    address, config = f"127.0.0.1:{free_port()}", folder / "prometheus.yaml"
    targets = {"job_name": "inferwire", "static_configs": [{"targets": [metrics]}]}
    config.write_text(yaml.safe_dump({"global": {"scrape_interval": f"{SCRAPE_S}s"}, "scrape_configs": [targets]}))
    options = {"config.file": config, "storage.tsdb.path": folder / "tsdb", "web.listen-address": address}
    command = ["prometheus", "--log.level=warn", *(f"--{name}={value}" for name, value in options.items())]
    prometheus = Prometheus(f"http://{address}")
    with subprocess.Popen(command) as process:
        try:
            if not wait_until(prometheus.answers, START_S):
                raise TimeoutError("Prometheus doesn't answer.")
            yield prometheus
        finally:
            process.terminate()


async def _phases(target: str, seconds: float) -> None:
    findings = Findings()
    for senders in PHASES:
        async with AsyncExitStack() as clients:
            await traffic(await _senders(target, senders, clients), KINDS, seconds / len(PHASES), findings)
    print(f"{findings.outcomes.total()} calls, {len(findings.unexplained)} unexplained")


async def _senders(target: str, count: int, clients: AsyncExitStack) -> Sequence[Sender]:
    """In turn those of each caller."""
    named = [await clients.enter_async_context(Client(target, token=name)) for name in (*CALLERS, None)]
    channel = await clients.enter_async_context(grpc.aio.insecure_channel(target))
    return [
        Sender(target, named[number % len(named)], channel, random.Random(SEED * 1000 + number))
        for number in range(count)
    ]


if __name__ == "__main__":
    main()
