"""`inferwire top`: how busy a server is, and how fast, every second anew."""

import asyncio
import json
import os
import sys
import termios
import time
import tty
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import grpc
import rich_click as click
from rich.console import Console, Group
from rich.live import Live

from service.cli.connection import Connection, connection_options
from service.cli.failures import FAILURES, failure_lines, failures_shown
from service.cli.load_view import LoadView, Sample, head, model_table, speeds
from service.cli.waiting import waiting
from service.client import Client

# A server that is there answers at once, however busy it is.
PATIENCE_S = 5.0
ENDING_KEYS = {*b"qQ"}
KEYS_AT_ONCE = 64


@click.command()
@connection_options
@click.option(
    "--interval",
    "interval_s",
    metavar="SECONDS",
    type=click.FloatRange(0.1),
    default=1.0,
    show_default=True,
    help="How often to ask.",
)
@click.option("--once", is_flag=True, help="Measure for one interval, print it, and end: JSON where no terminal is.")
@click.option("--json", "as_json", is_flag=True, help="With --once, print JSON also on a terminal.")
def top(connection: Connection, interval_s: float, once: bool, as_json: bool) -> None:
    """Watch the load of a server.

    Requests, queues, caches and tokens a second of each model. Where callers have identities it needs one that may call
    AdminService/GetLoad. Ends with q or Ctrl-C.
    """
    if not once and not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise click.UsageError("Watching needs a terminal; --once prints the load and ends.")
    with failures_shown(connection.target):
        if once:
            asyncio.run(_print_once(connection, interval_s, as_json or not sys.stdout.isatty()))
        else:
            with suppress(KeyboardInterrupt):
                asyncio.run(_watch(connection, interval_s))


async def _print_once(connection: Connection, interval_s: float, as_json: bool) -> None:
    async with await connection.open() as client, waiting(f"Measuring for {interval_s:g} s"):
        before = await take_sample(client)
        await asyncio.sleep(interval_s)
        now = await take_sample(client)
    models = speeds(before, now)
    if as_json:
        told = {
            "target": connection.target,
            "serving": now.serving,
            "draining": now.load.draining,
            "in_flight_calls": now.load.in_flight_calls,
            "models": [model.as_json() for model in models],
        }
        click.echo(json.dumps(told, indent=2))
    else:
        Console().print(Group(head(connection.target, now), model_table(models, {})))


async def _watch(connection: Connection, interval_s: float) -> None:
    """A server that can't be asked at first ends it; one that goes away later may come back."""
    console = Console()
    view = LoadView(connection.target, console.width)
    async with await connection.open() as client:
        before = await take_sample(client)
        first = view.draw(before, speeds(before, before))
        with _q_pressed() as ended, Live(first, console=console, auto_refresh=False, screen=True) as live:
            while not await _within(interval_s, ended):
                try:
                    now = await take_sample(client)
                except FAILURES as failure:
                    live.update(view.draw_failure(failure_lines(failure, connection.target)[0]), refresh=True)
                else:
                    live.update(view.draw(now, speeds(before, now)), refresh=True)
                    before = now


async def take_sample(client: Client) -> Sample:
    load = await client.load(timeout_s=PATIENCE_S)
    return Sample(time.monotonic(), load, await _serving(client))


async def _serving(client: Client) -> bool | None:
    try:
        return await client.is_serving(timeout_s=PATIENCE_S)
    except grpc.aio.AioRpcError as failure:
        if failure.code() is grpc.StatusCode.UNIMPLEMENTED:
            return None  # the operator has turned health off
        raise


async def _within(interval_s: float, event: asyncio.Event) -> bool:
    """Whether it happens in that time."""
    with suppress(TimeoutError):
        async with asyncio.timeout(interval_s):
            await event.wait()
    return event.is_set()


@contextmanager
def _q_pressed() -> Iterator[asyncio.Event]:
    """Set when q is pressed inside, for which no Enter is needed there."""
    loop, pressed, terminal = asyncio.get_running_loop(), asyncio.Event(), sys.stdin.fileno()
    modes = termios.tcgetattr(terminal)
    tty.setcbreak(terminal)
    loop.add_reader(terminal, lambda: pressed.set() if {*os.read(terminal, KEYS_AT_ONCE)} & ENDING_KEYS else None)
    try:
        yield pressed
    finally:
        loop.remove_reader(terminal)
        termios.tcsetattr(terminal, termios.TCSADRAIN, modes)
