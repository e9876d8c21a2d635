"""The load of a server as `inferwire top` shows it: what the server tells, and the speed between two answers of it."""

from collections import defaultdict, deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from service.api.load import ModelLoad, ServerLoad
from service.api.models import ModelState

BARS = " ▁▂▃▄▅▆▇█"
HISTORY = 20
WIDE = 110  # columns
STATE_STYLES = {ModelState.READY: "green", ModelState.LOADING: "yellow", ModelState.FAILED: "red"}


@dataclass(frozen=True, slots=True)
class Sample:
    """The load at a moment, in seconds on a clock that only moves forward. `serving` is None where nobody tells."""

    taken_s: float
    load: ServerLoad
    serving: bool | None


@dataclass(frozen=True, slots=True)
class ModelSpeed:
    """A model's load and its tokens a second; None where two answers can't be compared."""

    load: ModelLoad
    prompt_tokens_per_s: float | None
    generated_tokens_per_s: float | None

    def as_json(self) -> dict[str, Any]:
        return asdict(self.load) | {
            "prompt_tokens_per_s": self.prompt_tokens_per_s,
            "generated_tokens_per_s": self.generated_tokens_per_s,
        }


def speeds(before: Sample, now: Sample) -> Sequence[ModelSpeed]:
    earlier = {load.model_id: load for load in before.load.models}
    span_s = now.taken_s - before.taken_s
    return [_speed(earlier.get(load.model_id), load, span_s) for load in now.load.models]


def _speed(before: ModelLoad | None, now: ModelLoad, span_s: float) -> ModelSpeed:
    # Less than before: the server has started anew, and counts from 0.
    if before is None or span_s <= 0 or before.generated_tokens_total > now.generated_tokens_total:
        return ModelSpeed(now, None, None)
    prompt = now.prompt_tokens_total - before.prompt_tokens_total
    generated = now.generated_tokens_total - before.generated_tokens_total
    return ModelSpeed(now, prompt / span_s if prompt >= 0 else None, generated / span_s)


class LoadView:
    """Draws one sample after the other; where there is room, beside how fast the models were before."""

    def __init__(self, target: str, width: int) -> None:
        self._target = target
        self._has_room = width >= WIDE
        self._speeds: defaultdict[str, deque[float]] = defaultdict(lambda: deque(maxlen=HISTORY))
        self._drawn: RenderableType = ""

    def draw(self, now: Sample, models: Sequence[ModelSpeed]) -> RenderableType:
        for model in models:
            self._speeds[model.load.model_id].append(model.generated_tokens_per_s or 0)
        history = self._speeds if self._has_room else {}
        self._drawn = Group(head(self._target, now), model_table(models, history))
        return self._drawn

    def draw_failure(self, failure: str) -> RenderableType:
        """What was seen last, below why it isn't seen any more."""
        return Group(Text(f"{failure}. Trying again …", "red"), self._drawn)


def head(target: str, now: Sample) -> Text:
    calls = now.load.in_flight_calls
    return Text.assemble(
        (target, "bold"), "  ", _server_state(now), f"  {calls} call{'' if calls == 1 else 's'} under way"
    )


def _server_state(now: Sample) -> tuple[str, str]:
    if now.load.draining:
        return "draining", "yellow"
    if now.serving is None:
        return "", ""
    return ("serving", "green") if now.serving else ("not serving", "red")


def model_table(models: Sequence[ModelSpeed], history: Mapping[str, Sequence[float]]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    table.add_column("Model", overflow="fold")
    table.add_column("State", no_wrap=True)
    for title in ("Running", "Queued", "Queued\ntokens", "Cache", "Prompt\ntokens/s", "Output\ntokens/s"):
        table.add_column(title, justify="right", no_wrap=True)
    if history:
        table.add_column("", no_wrap=True, min_width=HISTORY)
    for model in models:
        table.add_row(*_cells(model), bars(history.get(model.load.model_id, ())))
    return table


def _cells(model: ModelSpeed) -> Iterator[Text | str]:
    load = model.load
    # As Text: a name may look like markup.
    yield Text(load.model_id, "bold")
    yield Text(load.state, STATE_STYLES[load.state])
    yield from (f"{count:,}" for count in (load.running_requests, load.waiting_requests, load.waiting_tokens))
    yield f"{load.cache_usage:.0%}"
    yield from (_shown(model.prompt_tokens_per_s), _shown(model.generated_tokens_per_s))


def _shown(speed: float | None) -> str:
    return "-" if speed is None else f"{speed:,.0f}"


def bars(values: Sequence[float]) -> str:
    """A character each, relative to the largest."""
    largest = max(values, default=0)
    return "".join(BARS[round(value / largest * (len(BARS) - 1)) if largest else 0] for value in values)
