"""URLs of images elsewhere, read by one strict grammar.

Programs disagree about what a strange URL means, and what is checked has to be what is connected to. So only the plain
ones are read (RFC 3986, in ASCII), and what is connected to is made of the parts that were checked.
"""

import re
from dataclasses import dataclass
from urllib.parse import urljoin

from service.settings.images import LABEL, MOST_PORT

LONGEST = 8192
LONGEST_HOST = 253
CHARACTERS = re.compile(r"[A-Za-z0-9._~:/?#\[\]@!$&'()*+,;=%-]*")
ESCAPES = re.compile(r"(?:[^%]|%[0-9A-Fa-f]{2})*")
PARTS = re.compile(
    r"(?P<scheme>https?)://(?P<authority>[^/?#]*)(?P<path>/[^?#]*)?(?:\?(?P<query>[^#]*))?(?:#.*)?", re.I
)
HOST = re.compile(rf"(?P<host>{LABEL}(?:\.{LABEL})*)(?::(?P<port>[1-9][0-9]{{0,4}}))?", re.I)
# Programs read these as IPv4 addresses, in one or another of their many spellings.
NUMERIC = re.compile(r"(?:.*\.)?(?:[0-9]+|0x[0-9a-f]*)")
USUAL_PORTS = {"https": 443, "http": 80}


class UnusableUrl(ValueError):
    """The text is a sentence for the caller."""


@dataclass(frozen=True, slots=True)
class RemoteUrl:
    """`scheme` and `host` are in lower case; `path` and `query` are escaped as they came."""

    scheme: str
    host: str
    port: int
    path: str
    query: str

    @property
    def origin(self) -> str:
        return f"{self.scheme}://{self.host}:{self.port}"

    def redirected(self, location: str) -> "RemoteUrl":
        """Where an answer's Location leads to. Raises UnusableUrl."""
        _check_characters(location)
        query = f"?{self.query}" if self.query else ""
        return read_url(urljoin(f"{self.origin}{self.path}{query}", location))


def read_url(text: str) -> RemoteUrl:
    """Raises UnusableUrl."""
    _check_characters(text)
    parts = PARTS.fullmatch(text)
    if parts is None:
        raise UnusableUrl("An image's URL begins with `https://` or `data:`.")
    scheme = parts["scheme"].lower()
    host, port = _host_and_port(parts["authority"], scheme)
    return RemoteUrl(scheme, host, port, parts["path"] or "/", parts["query"] or "")


def _check_characters(text: str) -> None:
    if len(text) > LONGEST:
        raise UnusableUrl(f"The URL is longer than {LONGEST} characters.")
    if not CHARACTERS.fullmatch(text) or not ESCAPES.fullmatch(text):
        raise UnusableUrl(
            "A URL holds no spaces, control characters, backslashes and the like; escape them (RFC 3986)."
        )


def _host_and_port(authority: str, scheme: str) -> tuple[str, int]:
    if "@" in authority:
        raise UnusableUrl("The URL must hold no user name and no password.")
    if "[" in authority or NUMERIC.fullmatch(authority.partition(":")[0].rstrip(".").lower()):
        raise UnusableUrl("The URL has to name its host, not give its address.")
    found = HOST.fullmatch(authority)
    if found is None or len(found["host"]) > LONGEST_HOST or int(found["port"] or 0) > MOST_PORT:
        raise UnusableUrl("The URL's host is not written as host.example or host.example:port.")
    return found["host"].lower(), int(found["port"] or USUAL_PORTS[scheme])
