"""Sends thousands of malformed requests of every method to a server: none may find a defect, a leak or a way to hurt.

python -m tests.fuzz --requests 20000 --seed 1

Prints the outcomes as a Markdown table, and each violation on standard error with what it takes to see it again. Exits
with 1 if there is one, or if the server is not well afterwards. Without --target it starts the bundled models.
"""

import argparse
import asyncio
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.fuzz.footprint import Footprint, footprint, growth_of, observed
from tests.fuzz.mutants import mutants
from tests.fuzz.outcomes import Outcomes
from tests.fuzz.run import ailments, channel_to, fuzz, warm_up
from tests.serving import ServerProcess, bundled_models


def main() -> None:
    options = _options()
    with _server(options.target) as server:
        sys.exit(bool(asyncio.run(_run(options, server))))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--requests", type=int, default=20_000, help="how many (default: 20000)")
    parser.add_argument("--seed", type=int, default=1, help="another number gives other requests (default: 1)")
    parser.add_argument("--first", type=int, default=0, help="the number of the first one (default: 0)")
    parser.add_argument("--at-once", type=int, default=32, help="requests under way at a time (default: 32)")
    parser.add_argument("--timeout", type=float, default=10, help="the deadline of most, in seconds (default: 10)")
    parser.add_argument(
        "--target", help="a running server, as host:port, with the demo's models and nothing else to do"
    )
    return parser.parse_args()


@contextmanager
def _server(target: str | None) -> Iterator[ServerProcess | None]:
    if target:
        yield None
        return
    with tempfile.TemporaryDirectory() as name, observed(Path(name), bundled_models()) as server:
        yield server


async def _run(options: argparse.Namespace, server: ServerProcess | None) -> list[str]:
    """Prints what came out, and returns what is wrong."""
    outcomes, begun_s = Outcomes(options.seed), time.monotonic()
    async with channel_to(server.target if server else options.target) as channel:
        await warm_up(channel)
        before = footprint(server) if server else None
        chosen = mutants(options.seed, options.requests, options.first)
        await fuzz(channel, chosen, outcomes, at_once=options.at_once, timeout_s=options.timeout)
        print(outcomes.table())
        print(f"\n{outcomes.counts.total()} requests in {time.monotonic() - begun_s:.0f} s, {len(outcomes.late)} late.")
        wrong = await ailments(channel)
        if server and before:
            wrong += _growth(server, before)
    print(*(violation.report(options.seed) for violation in outcomes.violations), *wrong, sep="\n", file=sys.stderr)
    return [*wrong, *(problem for violation in outcomes.violations for problem in violation.problems)]


def _growth(server: ServerProcess, before: Footprint) -> list[str]:
    grown = growth_of(server, before)
    print(f"{before} before, {footprint(server)} after.")
    return grown


if __name__ == "__main__":
    main()
