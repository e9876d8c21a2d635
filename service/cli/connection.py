"""Where the server is, and how to show it who calls: the options of all commands that call one."""

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import wraps
from pathlib import Path
from typing import Any

import rich_click as click

from service.client import DEFAULT_TARGET, Client, Tls, bearer

Command = Callable[..., Any]

TOKEN_VARIABLE = "INFERWIRE_TOKEN"
FILE = click.Path(exists=True, dir_okay=False, path_type=Path)


@dataclass(frozen=True, slots=True)
class Connection:
    """Where the server is, and what it gets to know of the caller."""

    target: str
    tls: Tls | None
    token: str | None = field(repr=False)

    async def open(self) -> Client:
        """A coroutine, because a client is made inside a running event loop."""
        return Client(self.target, tls=self.tls, token=self.token)


def connection_options(command: Command) -> Command:
    """Adds --target, --tls and the like, and passes them on as `connection`."""

    @click.option(
        "--target",
        default=DEFAULT_TARGET,
        show_default=True,
        envvar="INFERWIRE_TARGET",
        show_envvar=True,
        metavar="HOST:PORT",
        help="The server to call.",
    )
    @click.option("--tls", is_flag=True, help="Encrypt, trusting the authorities that gRPC trusts.")
    @click.option("--tls-ca", type=FILE, metavar="FILE", help="Encrypt, trusting the authorities in this PEM file.")
    @click.option("--tls-certificate", type=FILE, metavar="FILE", help="Encrypt, showing this certificate (PEM).")
    @click.option("--tls-key", type=FILE, metavar="FILE", help="The private key of that certificate (PEM).")
    @click.option("--tls-server-name", metavar="NAME", help="Encrypt, expecting a certificate of this name.")
    @click.option(
        "--token-file",
        type=FILE,
        metavar="FILE",
        help=f"Send the bearer token in the first line of this file. [default: the one in ${TOKEN_VARIABLE}]",
    )
    @wraps(command)
    def with_connection(
        *args: Any,
        target: str,
        tls: bool,
        tls_ca: Path | None,
        tls_certificate: Path | None,
        tls_key: Path | None,
        tls_server_name: str | None,
        token_file: Path | None,
        **rest: Any,
    ) -> Any:
        if (tls_certificate is None) != (tls_key is None):
            raise click.UsageError("--tls-certificate and --tls-key are of use only together.")
        given = Tls(tls_ca, tls_certificate, tls_key, tls_server_name)
        connection = Connection(target, given if tls or given != Tls() else None, _token(token_file))
        return command(*args, connection=connection, **rest)

    return with_connection


def _token(file: Path | None) -> str | None:
    """Never from an option: every user of the machine can read the command lines of others."""
    if file is None:
        token, source = os.environ.get(TOKEN_VARIABLE, "").strip(), TOKEN_VARIABLE
    else:
        token, source = file.read_text(encoding="utf-8", errors="replace").strip().partition("\n")[0].strip(), str(file)
    if file and not token:
        raise click.UsageError(f"There is no token in {file}.")
    try:
        bearer(token)
    except ValueError as error:
        raise click.UsageError(f"{source}: {error}") from None
    return token or None
