"""The part of a model that runs on a machine other than the first, in a process of its own."""

import asyncio
import logging
import multiprocessing
from collections.abc import Sequence
from contextlib import suppress
from multiprocessing.process import BaseProcess

import psutil

from service.engines.processes import Family
from service.engines.roll_call import Place, ended, reported
from service.settings import ModelSettings

logger = logging.getLogger(__name__)

RETRY_S = 1.0
POLL_S = 0.5


async def join_all(models: Sequence[ModelSettings], node: int) -> None:
    """Runs the parts of a machine for as long as they are wanted. Never returns; raises Refused, in a group."""
    async with asyncio.TaskGroup() as group:
        for model in models:
            group.create_task(_join(model, node))


async def _join(model: ModelSettings, node: int) -> None:
    """Runs it for as long as the first machine wants it, as often as that one starts."""
    place = Place(model.id, model.layout, model.machines.port, node)
    part = model.layout.part(node)
    told = ""
    while True:
        try:
            async with reported(place) as connection:
                logger.info("Starting %s of %s", part, model.id)
                await _run_until(connection, model, node)
                logger.info("%s of %s has ended", part, model.id)
                told = ""
        except ConnectionError as error:
            if str(error) != told:
                logger.info("Waiting for the first machine of %s, %s: %s", model.id, model.layout.address, error)
                told = str(error)
        await asyncio.sleep(RETRY_S)


async def _run_until(connection: asyncio.StreamReader, model: ModelSettings, node: int) -> None:
    """Until the connection ends, or what runs does."""
    process = multiprocessing.get_context("spawn").Process(target=_run, args=(model, node), name="inferwire-part")
    process.start()
    unwanted = asyncio.create_task(ended(connection))
    try:
        while process.is_alive() and not unwanted.done():
            await asyncio.wait((unwanted,), timeout=POLL_S)
        if not process.is_alive():
            logger.error("A process of %s has ended with exit code %s", model.id, process.exitcode)
    finally:
        unwanted.cancel()
        await asyncio.to_thread(_end, process)


def _end(process: BaseProcess) -> None:
    with suppress(psutil.NoSuchProcess):
        Family([psutil.Process(process.pid)]).kill()
    process.join()


def _run(model: ModelSettings, node: int) -> None:
    # Imported in that process only: it takes seconds, and much memory.
    from service.engines.vllm.part import run

    run(model, node)
