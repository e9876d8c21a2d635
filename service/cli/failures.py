"""How a command ends when a call fails: one red line, no traceback, exit code 1; after Ctrl-C, 130."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager

import grpc
import rich_click as click
from pydantic import ValidationError

from service.errors import InferwireError, RequestError

INTERRUPTED = 130  # what shells expect after Ctrl-C
FAILURES = (InferwireError, grpc.aio.AioRpcError)


@contextmanager
def failures_shown(target: str) -> Iterator[None]:
    """Ends the command when a call fails or is interrupted inside."""
    try:
        yield
    except ValidationError as error:
        # What the flags said doesn't even make a request.
        raise click.UsageError("\n".join(problem["msg"] for problem in error.errors(include_url=False))) from None
    except FAILURES as failure:
        show_failure(failure, target)
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)


def show_failure(failure: InferwireError | grpc.aio.AioRpcError, target: str) -> None:
    first, *more = failure_lines(failure, target)
    click.secho(first, fg="red", err=True)
    for line in more:
        click.echo(line, err=True)


def failure_lines(failure: InferwireError | grpc.aio.AioRpcError, target: str) -> list[str]:
    if isinstance(failure, RequestError) and len(failure.violations) > 1:
        violations = [f"  {v.field}: {v.description}" for v in failure.violations]
        return [f"error: {failure.reason}: {len(violations)} fields of the request are wrong", *violations]
    if isinstance(failure, InferwireError):
        return [f"error: {failure.reason}: {failure.message}"]
    if failure.code() is grpc.StatusCode.UNAVAILABLE:
        return [f"error: no server answers at {target} ({failure.details()})"]
    return [f"error: {failure.code().name}: {failure.details()}"]
