"""Images in requests, and the hosts that they may be fetched from."""

import re
from typing import Self

from pydantic import Field, field_validator, model_validator

from service.settings.section import Names, Section

LABEL = "[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?"
# Two labels below the wildcard, of which the last begins with a letter: neither all of .com nor addresses.
ALLOWED_HOST = re.compile(rf"(\*\.)?({LABEL}\.)+(?=[a-z]){LABEL}(:[1-9][0-9]{{0,4}})?")
MOST_PORT = 65535


class FetchSettings(Section):
    """Images that requests name by an `https:` URL. Whatever is set, no address is fetched from that isn't public."""

    allowed_hosts: Names = Field(
        (),
        description="The hosts that images are fetched from: images.example.com, *.example.com for all hosts below it, "
        "each with :port where it is not 443. Empty: nothing is fetched.",
    )
    allow_http: bool = Field(
        False, description="Whether images are fetched by `http:` as well, which nothing encrypts."
    )
    max_redirects: int = Field(
        3, ge=0, le=10, description="The most redirects that are followed for an image, all to allowed hosts."
    )
    timeout_s: float = Field(10.0, gt=0, description="The most seconds that an image may take, with its redirects.")
    max_concurrent: int = Field(16, ge=1, description="The most images that are fetched at a time.")
    max_concurrent_per_host: int = Field(8, ge=1, description="The most of them that are fetched from one host.")
    max_waiting_per_caller: int = Field(
        64, ge=1, description="The most images of one caller that wait for their turn to be fetched."
    )

    @field_validator("allowed_hosts")
    @classmethod
    def _are_hosts(cls, hosts: tuple[str, ...]) -> tuple[str, ...]:
        lowered = tuple(host.lower() for host in hosts)
        for host in lowered:
            if not ALLOWED_HOST.fullmatch(host) or _port(host) > MOST_PORT:
                raise ValueError(
                    "hosts by their full names, in ASCII and without a scheme, such as images.example.com, "
                    "*.example.com or images.example.com:8443"
                )
            if host.startswith("*.") and host.count(".") < 2:
                raise ValueError("a wildcard stands for the hosts below a domain of two names or more")
        return lowered

    @model_validator(mode="after")
    def _http_has_hosts(self) -> Self:
        if self.allow_http and not self.allowed_hosts:
            raise ValueError("`allow_http` allows nothing without `allowed_hosts`")
        return self

    def allows(self, scheme: str, host: str, port: int) -> bool:
        """`host` is a name in lower case."""
        if scheme not in ("https", "http") or (scheme == "http" and not self.allow_http):
            return False
        usual = port == (443 if scheme == "https" else 80)
        return any(_matches(allowed, host, port, usual=usual) for allowed in self.allowed_hosts)


class ImageSettings(Section):
    """Where images come from; how many and how large they may be is among the limits."""

    fetch: FetchSettings = FetchSettings()


def _port(allowed: str) -> int:
    return int(allowed.partition(":")[2] or 0)


def _matches(allowed: str, host: str, port: int, *, usual: bool) -> bool:
    name = allowed.partition(":")[0]
    if not (usual if name == allowed else port == _port(allowed)):
        return False
    return host.endswith(name[1:]) if name.startswith("*.") else host == name
