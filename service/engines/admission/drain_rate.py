"""How fast work leaves an engine: what a time to retry is computed from."""

from collections import deque

REMEMBERED = 64
FEW = 4
"""So many departures tell too little about a rate."""
SMOOTHING = 0.1


class DrainRate:
    """Measures departures while there is a queue, as an engine that isn't full says nothing about what it can do."""

    def __init__(self) -> None:
        self._since_s: float | None = None
        """None while there is no queue."""
        self._departures: deque[float] = deque(maxlen=REMEMBERED)
        self._usual_duration_s: float | None = None

    def queue_began(self, now_s: float) -> None:
        self._since_s = now_s

    def queue_ended(self) -> None:
        self._since_s = None
        self._departures.clear()

    def departed(self, now_s: float, duration_s: float) -> None:
        if self._since_s is not None:
            if len(self._departures) == REMEMBERED:
                self._since_s = self._departures[0]
            self._departures.append(now_s)
        usual = self._usual_duration_s
        self._usual_duration_s = duration_s if usual is None else usual + SMOOTHING * (duration_s - usual)

    def wait_s(self, now_s: float, ahead: int, running: int) -> float | None:
        """How long a request will wait behind `ahead` others, while `running` are worked on; None if nobody knows."""
        if self._since_s is not None and len(self._departures) >= FEW:
            return (ahead + 1) * (now_s - self._since_s) / len(self._departures)
        if self._usual_duration_s is not None and running:
            return (ahead + 1) * self._usual_duration_s / running
        return None
