"""How the server is reached: where it listens, and TLS."""

from ipaddress import ip_address
from os import environ
from pathlib import Path
from typing import Self

from pydantic import Field, model_validator

from service.settings.section import Section


class ServerSettings(Section):
    address: str = Field("127.0.0.1:50051", description="Where to listen: host:port, or unix:path.")
    allow_insecure: bool = Field(
        False, description="Whether to listen beyond this machine without TLS, because something else encrypts."
    )
    drain_window_s: float = Field(
        5.0, ge=0, description="Seconds after SIGTERM in which new calls are still taken, for balancers to notice."
    )
    grace_s: float = Field(30.0, ge=0, description="Seconds that calls under way may still take after that.")
    health: bool = Field(True, description="Whether to serve grpc.health.v1, which needs no credentials.")
    health_address: str | None = Field(
        None,
        description="A second address, for grpc.health.v1 alone and never encrypted: for probes that speak no TLS, as "
        "those of Kubernetes. Unset: none.",
    )
    reflection: bool = Field(True, description="Whether clients may ask for the contract (gRPC reflection).")
    load_reports: bool = Field(
        False,
        description="Whether balancers are told of the server's load, with each answer and on request (ORCA).",
    )
    longest_hold_ms: float = Field(
        25.0,
        ge=0,
        description="Milliseconds that a token of a stream may wait for further ones to be sent in the same message, "
        "while many streams run. Where the engine takes longer than that for a token, one may wait for the next. "
        "0: none waits.",
    )
    keepalive_min_interval_s: float = Field(
        10.0, ge=0, description="The shortest interval at which clients may send keepalive pings."
    )

    @property
    def stays_on_this_machine(self) -> bool:
        """Whether nobody else can reach the address. A name other than localhost may stand for any."""
        if self.address.startswith(("unix:", "unix-abstract:")):
            return True
        host = self.address.rpartition(":")[0]
        try:
            return host == "localhost" or ip_address(host.removeprefix("[").removesuffix("]")).is_loopback
        except ValueError:
            return False


class MetricsSettings(Section):
    """What Prometheus can scrape."""

    address: str | None = Field(
        None,
        pattern=r"^.+:\d{1,5}$",
        description="Where to serve `/metrics` over HTTP, never encrypted and to whoever asks: host:port. Unset: "
        "nowhere.",
    )
    engine: bool = Field(True, description="Whether vLLM's own metrics (`vllm:`) are among them.")


class TracesSettings(Section):
    """OpenTelemetry. Sampling, headers and resource attributes are set by its own variables (`OTEL_...`)."""

    endpoint: str | None = Field(
        None,
        pattern="^https?://",
        description="An OTLP receiver, over gRPC, such as http://localhost:4317. Unset: what "
        "OTEL_EXPORTER_OTLP_ENDPOINT says, else traces go nowhere.",
    )
    texts: bool = Field(False, description="Whether traces hold what models read and write.")

    @property
    def receiver(self) -> str | None:
        """Where traces go."""
        usual = environ.get("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT") or environ.get("OTEL_EXPORTER_OTLP_ENDPOINT")
        return self.endpoint or usual or None


class TlsSettings(Section):
    """The files are read anew when they have changed."""

    certificate: Path | None = Field(
        None, description="A PEM file: the server's certificate, then those of intermediate authorities. Unset: no TLS."
    )
    key: Path | None = Field(None, description="A PEM file: the private key of the certificate, without a passphrase.")
    client_ca: Path | None = Field(
        None,
        description="A PEM file: the authorities that sign the certificates of clients (mutual TLS). Set, every client "
        "has to show one; unset, none is asked for.",
    )

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if (self.certificate is None) != (self.key is None):
            raise ValueError("`certificate` and `key` are of use only together")
        if self.client_ca and not self.certificate:
            raise ValueError("`client_ca` needs a `certificate` of the server, too")
        return self
