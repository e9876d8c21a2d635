"""Whether images can be fetched from the hosts that the settings allow."""

import os
import ssl
from collections.abc import Iterator
from pathlib import Path

from service.cli.diagnosis.finding import Finding, ok, warning
from service.images.network import Network
from service.settings import Settings

PROXIES = ("HTTPS_PROXY", "HTTP_PROXY", "ALL_PROXY")


def check_images(settings: Settings, network: Network | None = None) -> Iterator[Finding]:
    rules = settings.images.fetch
    if not rules.allowed_hosts:
        yield ok("images", "taken from requests only: no host is allowed")
        return
    yield ok("images", f"fetched from {', '.join(rules.allowed_hosts)}")
    if rules.allow_http:
        yield warning("images", "may come unencrypted", "Leave out images.fetch.allow_http where hosts know https.")
    if not _authorities():
        yield warning("images", "no certificate of any host would be trusted", "Install ca-certificates.")
    if proxies := [name for name in PROXIES if os.environ.get(name) or os.environ.get(name.lower())]:
        told = f"{' and '.join(proxies)} {'is' if len(proxies) == 1 else 'are'} set, but images are fetched directly"
        yield warning("images", told, "Allow the server to reach the hosts itself.")
    for host in rules.allowed_hosts:
        if not host.startswith("*."):
            yield from _reached(host, network or Network())


def _reached(allowed: str, network: Network) -> Iterator[Finding]:
    host = allowed.partition(":")[0]
    try:
        found = {str(info[4][0]) for info in network.resolve(host, 443)}
    except OSError as error:
        yield warning("images", f"{host} is not found: {error.strerror}", "Correct it, or the machine's resolver.")
        return
    if refused := sorted(address for address in found if not network.allows(address)):
        told = f"{host} has the address {refused[0]}, which is not public: nothing would be fetched from it"
        yield warning("images", told, "Have callers send its images as bytes.")


def _authorities() -> bool:
    """Whether the system has any."""
    places = ssl.get_default_verify_paths()
    return bool(places.cafile) or bool(places.capath and any(Path(places.capath).iterdir()))
