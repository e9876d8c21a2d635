"""`inferwire bench` runs what it is asked for."""

from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from service.bench.kinds import EMBEDDINGS, STREAMS, Kind
from service.cli.bench import Options, bench

UNSET: dict[str, Any] = {
    "model": None,
    "embedding_model": None,
    "tiny": False,
    "names": (),
    "chosen": (),
    "quick": False,
    "starts": False,
    "rounds": 3,
    "png": None,
    "target": None,
    "model_id": "model",
    "embedding_model_id": None,
}


@pytest.mark.parametrize("kind", [STREAMS, EMBEDDINGS], ids=lambda kind: kind.name)
def test_everything_runs_unless_something_is_chosen(kind: Kind) -> None:
    options = Options(**UNSET)
    assert options.workloads(kind) == list(kind.workloads)
    assert options.contenders(kind) == list(kind.contenders.values())
    assert options.rounds_each == 3


def test_a_choice_is_of_both_kinds() -> None:
    options = Options(**{**UNSET, "chosen": ("tool calls", "1 text a call"), "names": ("smg", "transformers")})
    assert [workload.name for workload in options.workloads(STREAMS)] == ["tool calls"]
    assert [workload.name for workload in options.workloads(EMBEDDINGS)] == ["1 text a call"]
    assert options.contenders(STREAMS) == [STREAMS.contenders["smg"]]
    assert options.contenders(EMBEDDINGS) == [EMBEDDINGS.contenders["transformers"]]


@pytest.mark.parametrize("kind", [STREAMS, EMBEDDINGS], ids=lambda kind: kind.name)
def test_quick_is_little(kind: Kind) -> None:
    options = Options(**{**UNSET, "quick": True})
    assert options.workloads(kind) == list(kind.quick)
    assert options.contenders(kind) == [kind.contenders["raw"], kind.contenders["inferwire"]]
    assert options.rounds_each == 1


def test_no_ratios_are_drawn_without_the_reference(tmp_path: Path) -> None:
    result = CliRunner().invoke(bench, ["--target", "127.0.0.1:1", "--png", str(tmp_path / "plot.png")])
    assert result.exit_code == 2
    assert "raw engine" in result.output
