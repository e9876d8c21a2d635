"""Twenty thousand mutants against a server in a process of its own: no defect, no leak, and it goes on as before."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fuzz.footprint import footprint, growth_of, observed
from tests.fuzz.mutants import mutants
from tests.fuzz.outcomes import Code, Outcomes
from tests.fuzz.run import ailments, channel_to, fuzz, warm_up
from tests.serving import ServerProcess, scripted_models

SEED, REQUESTS, AT_ONCE = 1, 20_000, 32
PREPARING = 1_000
"""So many, of another seed, go ahead of the first measurement, which starts what is started when it is needed."""
TIMEOUT_S = 60.0
"""Nothing takes so long that isn't stuck, on a machine however busy."""


@pytest.fixture
def server(tmp_path: Path) -> Iterator[ServerProcess]:
    with observed(tmp_path, scripted_models()) as served:
        yield served


@pytest.mark.timeout(900)
async def test_no_mutant_finds_a_defect_or_a_leak(server: ServerProcess) -> None:
    outcomes = Outcomes(SEED)
    async with channel_to(server.target) as channel:
        await warm_up(channel)
        await fuzz(channel, mutants(SEED + 1, PREPARING), Outcomes(SEED + 1), at_once=AT_ONCE, timeout_s=TIMEOUT_S)
        before = footprint(server)
        await fuzz(channel, mutants(SEED, REQUESTS), outcomes, at_once=AT_ONCE, timeout_s=TIMEOUT_S)
        print(outcomes.table(), before, footprint(server), sep="\n")
        assert not outcomes.violations, outcomes.report()
        assert outcomes.late == []
        assert await ailments(channel) == []
        assert growth_of(server, before) == []
    assert "Traceback" not in server.logged()
    assert {code for _, code in outcomes.counts} >= {Code.OK.name, Code.INVALID_ARGUMENT.name, Code.NOT_FOUND.name}
