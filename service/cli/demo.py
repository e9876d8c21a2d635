"""`inferwire demo`: prepares the two bundled models and serves them."""

import os
import shlex
import shutil
import sys
from pathlib import Path
from typing import Any

import rich_click as click

from service.api.models import ModelType
from service.cli.display import open_display
from service.cli.engine_output import OwnOutput, engine_output_to, last_lines, size_of
from service.cli.serving import EXIT_FAILED, print_line, serve_until_stopped
from service.cli.setting_flags import settings_or_usage_error
from service.demo_models import (
    EMBEDDING_MODEL,
    LANGUAGE_MODEL,
    MissingDemoPackage,
    default_cache_dir,
    prepare_embedding_model,
    prepare_language_model,
)
from service.settings.transport import ServerSettings

DEFAULT_ADDRESS = ServerSettings().address
LOG_LINES_SHOWN = 15


@click.command()
@click.option(
    "--address",
    default=DEFAULT_ADDRESS,
    show_default=True,
    envvar="INFERWIRE_SERVER__ADDRESS",
    show_envvar=True,
    metavar="HOST:PORT",
    help="Where to listen.",
)
@click.option(
    "--allow-insecure",
    is_flag=True,
    envvar="INFERWIRE_SERVER__ALLOW_INSECURE",
    show_envvar=True,
    help="Listen beyond this machine without TLS.",
)
@click.option("--verbose", is_flag=True, help="Show the engines' output instead of writing it to a file.")
@click.pass_context
def demo(ctx: click.RichContext, address: str, allow_insecure: bool, verbose: bool) -> None:
    """Serve the two bundled models.

    A language model (SmolLM2-135M-Instruct) and an embedding model (all-MiniLM-L6-v2), until Ctrl-C. The first start
    unpacks them into a cache folder: $INFERWIRE_CACHE, else inferwire/ in the user's cache folder.
    """
    cache = default_cache_dir()
    server = {"address": address, "allow_insecure": allow_insecure}
    engine_log = None if verbose else cache / "engine.log"
    with engine_output_to(engine_log) as output:
        code = _prepare_and_serve(cache, server, engine_log, output)
    ctx.exit(code)


def _prepare_and_serve(cache: Path, server: dict[str, Any], engine_log: Path | None, output: OwnOutput) -> int:
    """Returns the exit code."""
    already_logged = size_of(engine_log) if engine_log else 0
    served: list[str] = []

    def ready(served_address: str) -> None:
        served.append(served_address)
        print_line(output, _welcome(served_address, engine_log))

    try:
        models = _prepare(cache, output)
        code = serve_until_stopped(_settings(models, server, engine_log), output, ready)
    except MissingDemoPackage as missing:
        print_line(output, f"error: {missing}")
        return EXIT_FAILED
    if not served and code != 0:
        _explain_failed_start(output, engine_log, already_logged)
        return EXIT_FAILED
    return code


def _prepare(cache: Path, output: OwnOutput) -> list[dict[str, Any]]:
    """Makes both models ready and returns their settings."""
    step = f"prepare {LANGUAGE_MODEL} and {EMBEDDING_MODEL}"
    with open_display(output.stdout) as display:
        display.begin(step)
        try:
            llm, embedding = prepare_language_model(cache), prepare_embedding_model(cache)
        except BaseException:
            display.failed(step)
            raise
        display.done(step)
    return [
        {"id": LANGUAGE_MODEL.lower(), "path": str(llm), "type": ModelType.LLM},
        {"id": EMBEDDING_MODEL.lower(), "path": str(embedding), "type": ModelType.EMBEDDING},
    ]


def _settings(models: list[dict[str, Any]], server: dict[str, Any], engine_log: Path | None) -> Any:
    flags = {"server": server, "log": {"engine_log": engine_log}, "models": models}
    return settings_or_usage_error(None, flags)


def _welcome(address: str, engine_log: Path | None) -> str:
    target = [] if address == DEFAULT_ADDRESS else ["--target", reachable(address)]
    command = shlex.join([*called_as(), "chat", *target])
    lines = [
        f"Serving on {address}. Ctrl-C stops it.",
        f'Try this in another terminal:  {command} -m "What is the capital of France?"',
    ]
    if engine_log:
        lines.append(f"The engines' output goes to {engine_log}")
    return "\n".join(["", *lines])


def reachable(address: str) -> str:
    """The address to call a server at that listens on `address`: one that means every interface can't be called."""
    host, colon, port = address.rpartition(":")
    return f"127.0.0.1{colon}{port}" if host in ("0.0.0.0", "[::]") else address


def called_as() -> list[str]:
    """How the user called this program, as they can call it again from the same folder."""
    program = Path(sys.argv[0])
    if program.name != "inferwire":
        return [shown(Path(sys.executable)), "-m", "service"]
    found = shutil.which("inferwire")
    return ["inferwire"] if found and Path(found).resolve() == program.resolve() else [shown(program)]


def shown(program: Path) -> str:
    """The shorter one of the absolute path and the path from here."""
    absolute = os.path.abspath(program)
    return min(os.path.relpath(absolute), absolute, key=len)


def _explain_failed_start(output: OwnOutput, engine_log: Path | None, already_logged: int) -> None:
    print_line(output, "error: the server did not start")
    if engine_log and (lines := last_lines(engine_log, LOG_LINES_SHOWN, already_logged)):
        print_line(output, "\n  ".join([f"The last lines of {engine_log}:", *lines]))
