"""Whether the server can listen where it is told to."""

import errno
import os
import socket
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import psutil

from service.cli.diagnosis.finding import Finding, ok, problem
from service.settings import Settings

UNIX, ABSTRACT = "unix:", "unix-abstract:"


def check_addresses(settings: Settings) -> Iterator[Finding]:
    wanted = {
        "server.address": settings.server.address,
        "server.health_address": settings.server.health_address,
        "metrics.address": settings.metrics.address,
    }
    with ExitStack() as held:  # all at once, as the server has them
        for setting, address in wanted.items():
            if address:
                yield _check(setting, address, held)


def _check(setting: str, address: str, held: ExitStack) -> Finding:
    if address.startswith(ABSTRACT):
        return ok(setting, address)
    if address.startswith(UNIX):
        return _socket_file(setting, address)
    host, _, port = address.rpartition(":")
    try:
        family, kind, protocol, _, where = socket.getaddrinfo(host.strip("[]"), int(port), type=socket.SOCK_STREAM)[0]
    except (OSError, ValueError, OverflowError) as error:
        return problem(setting, f"{address} is no address: {error}", "Give host:port, or unix:path.")
    try:
        listening = held.enter_context(socket.socket(family, kind, protocol))
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(where)
        listening.listen()
    except OSError as error:
        return _refused(setting, address, int(port), error)
    return ok(setting, f"{address} is free")


def _refused(setting: str, address: str, port: int, error: OSError) -> Finding:
    match error.errno:
        case errno.EADDRINUSE:
            return problem(setting, f"{address} is in use by {_user_of(port)}", f"End it, or set another {setting}.")
        case errno.EACCES:
            return problem(setting, f"{address} is not open to this user", "Take a port above 1023.")
        case errno.EADDRNOTAVAIL:
            return problem(setting, f"{address} is not an address of this machine", f"Set another {setting}.")
        case _:
            return problem(setting, f"{address} can't be listened at: {error.strerror}", f"Set another {setting}.")


def _user_of(port: int) -> str:
    """Who listens there, as far as this user may know."""
    try:
        listening = [
            connection.pid
            for connection in psutil.net_connections("tcp")
            if connection.status == psutil.CONN_LISTEN and connection.laddr.port == port
        ]
        pids = [pid for pid in listening if pid]
        if os.getpid() in pids:
            return "another address of these settings"
        return f"{psutil.Process(pids[0]).name()} (process {pids[0]})" if pids else "another user's program"
    except psutil.Error:
        return "another program"


def _socket_file(setting: str, address: str) -> Finding:
    path = Path(address.removeprefix(UNIX))
    if not os.access(path.parent, os.W_OK):
        return problem(setting, f"{path.parent} is not there, or not open to this user", f"Set another {setting}.")
    with socket.socket(socket.AF_UNIX) as client:
        if client.connect_ex(str(path)) == 0:
            return problem(setting, f"a program listens at {path}", f"End it, or set another {setting}.")
    return ok(setting, f"{address} is free")
