"""What operators and balancers may ask of the process: see rpc.admin."""

from service.api.load import ServerLoad
from service.engines.registry import Registry
from service.server.drain import Drain
from service.server.interceptors import InFlight


class Operations:
    """Ends the server, and tells how busy it is."""

    def __init__(self, drain: Drain, in_flight: InFlight, registry: Registry) -> None:
        self._drain = drain
        self._in_flight = in_flight
        self._registry = registry

    @property
    def in_flight(self) -> int:
        """Calls under way, the one that asks left out."""
        return self._in_flight.count - 1

    def drain(self, window_s: float | None, budget_s: float | None) -> None:
        self._drain.begin(window_s, budget_s)

    def load(self) -> ServerLoad:
        return ServerLoad(self._registry.loads(), self.in_flight, self._drain.asked)
