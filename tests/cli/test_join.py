"""`inferwire join`: what it says before anything starts, and where it is refused."""

import asyncio
import re
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
import yaml

from service.engines.roll_call import RollCall
from service.settings.layout import layout_of
from tests.cli.conftest import Inferwire
from tests.serving import free_port

ARGS = {"data_parallel_size": 2, "data_parallel_size_local": 1, "data_parallel_address": "127.0.0.1"}


def settings(folder: Path, **model: Any) -> str:
    file = folder / "settings.yaml"
    file.write_text(yaml.safe_dump({"models": [{"path": "a/model", **model}]}))
    return str(file)


@pytest.mark.parametrize(
    ("engine_args", "machine", "told"),
    [
        ({}, "1", "one machine, and that one is served with `inferwire serve`"),
        (ARGS, "2", "There is nothing to run on machine 2: the settings are for machines 0 to 1."),
        (ARGS, "0", "0 is not in the range"),
        (ARGS | {"data_parallel_address": ""}, "1", "has to be the first machine's address"),
    ],
)
def test_a_machine_without_a_part(
    inferwire: Inferwire, tmp_path: Path, engine_args: dict[str, Any], machine: str, told: str
) -> None:
    result = inferwire("join", "--config", settings(tmp_path, engine_args=engine_args), "--machine", machine)
    assert result.exit_code == 2
    assert told in re.sub(r"[\s│]+", " ", result.output)


def test_a_machine_with_other_settings_is_refused(inferwire: Inferwire, tmp_path: Path) -> None:
    port, done = free_port(), asyncio.Event()
    loop = asyncio.new_event_loop()

    async def first_machine() -> None:
        roll_call = RollCall("another", layout_of(ARGS), port)
        start = asyncio.create_task(roll_call.begin(60))
        await done.wait()
        start.cancel()
        await roll_call.end()

    thread = Thread(target=loop.run_until_complete, args=(first_machine(),))
    thread.start()
    try:
        config = settings(tmp_path, engine_args=ARGS, machines={"port": port})
        result = inferwire("join", "--config", config, "--machine", "1")
    finally:
        loop.call_soon_threadsafe(done.set)
        thread.join()
        loop.close()
    assert result.exit_code == 1
    assert "the first machine refuses this one: the model here is 'another', not 'model'" in result.stdout
