"""`inferwire top`: what it makes of two answers of a server, what it prints, and how it is left."""

import json
import signal
from dataclasses import replace

import pytest
from rich.console import Console

from service.api.load import ModelLoad, ServerLoad
from service.api.models import ModelState
from service.cli.load_view import LoadView, Sample, bars, speeds
from tests.canned_server import CannedServer
from tests.cli.conftest import Inferwire
from tests.cli.terminal import on_a_terminal

IDLE = ModelLoad("smol", 0, 0, 0.0, 0, ModelState.READY, 100, 200)


def sample(taken_s: float, *models: ModelLoad, draining: bool = False, serving: bool | None = True) -> Sample:
    return Sample(taken_s, ServerLoad(models, 1, draining), serving)


def drawn(view: LoadView, before: Sample, now: Sample) -> str:
    console = Console(width=120)
    with console.capture() as shown:
        console.print(view.draw(now, speeds(before, now)))
    return shown.get()


class TestSpeeds:
    def test_are_of_the_time_between_two_samples(self) -> None:
        busy = replace(IDLE, prompt_tokens_total=150, generated_tokens_total=220)
        [speed] = speeds(sample(10, IDLE), sample(12, busy))
        assert (speed.prompt_tokens_per_s, speed.generated_tokens_per_s) == (25, 10)

    def test_are_unknown_where_the_server_counts_anew(self) -> None:
        anew = replace(IDLE, prompt_tokens_total=0, generated_tokens_total=0)
        [speed] = speeds(sample(10, IDLE), sample(11, anew))
        assert (speed.prompt_tokens_per_s, speed.generated_tokens_per_s) == (None, None)

    def test_are_unknown_of_a_model_that_is_new(self) -> None:
        [speed] = speeds(sample(10), sample(11, IDLE))
        assert speed.generated_tokens_per_s is None

    def test_are_unknown_at_one_moment(self) -> None:
        [speed] = speeds(sample(10, IDLE), sample(10, IDLE))
        assert speed.generated_tokens_per_s is None


class TestView:
    def test_shows_what_the_server_tells_and_how_fast_it_is(self) -> None:
        busy = ModelLoad("smol", 16, 3, 0.425, 12345, ModelState.READY, 3100, 2000)
        shown = drawn(LoadView("host:1", 120), sample(1, IDLE), sample(2, busy))
        for text in ("host:1", "serving", "1 call under way", "16", "12,345", "42%", "3,000", "1,800", "█"):
            assert text in shown

    @pytest.mark.parametrize(
        ("now", "state"),
        [
            (sample(1, draining=True, serving=False), "draining"),
            (sample(1, serving=False), "not serving"),
            (sample(1, replace(IDLE, state=ModelState.FAILED)), "failed"),
        ],
    )
    def test_shows_what_is_not_as_it_should_be(self, now: Sample, state: str) -> None:
        assert state in drawn(LoadView("host:1", 120), now, now)

    def test_a_name_is_no_markup(self) -> None:
        now = sample(1, replace(IDLE, model_id="[red]smol"))
        assert "[red]smol" in drawn(LoadView("host:1", 120), now, now)

    def test_keeps_what_it_saw_last_when_the_server_is_gone(self) -> None:
        view, console = LoadView("host:1", 120), Console(width=120)
        drawn(view, sample(1, IDLE), sample(2, IDLE))
        with console.capture() as shown:
            console.print(view.draw_failure("error: gone"))
        assert "error: gone. Trying again" in shown.get()
        assert "smol" in shown.get()


def test_bars_are_relative_to_the_largest() -> None:
    assert (bars([]), bars([0, 0]), bars([1, 4, 8])) == ("", "  ", "▁▄█")


def test_once_where_no_terminal_is(inferwire: Inferwire, server: CannedServer) -> None:
    result = inferwire("top", "--once", "--interval", "0.1")
    told = json.loads(result.stdout)
    assert (told["serving"], told["draining"], told["in_flight_calls"]) == (True, False, 3)
    [model] = told["models"]
    assert (model["model_id"], model["state"], model["waiting_tokens"]) == ("smol", "ready", 1500)
    assert 0 < model["generated_tokens_per_s"] <= 10_000


def test_watching_needs_a_terminal(inferwire: Inferwire, server: CannedServer) -> None:
    result = inferwire("top")
    assert (result.exit_code, "--once" in result.output) == (2, True)


@pytest.mark.parametrize("how", ["q", "Ctrl-C"])
def test_on_a_terminal_it_goes_on_until_it_is_ended(server: CannedServer, how: str) -> None:
    with on_a_terminal("top", "--target", server.target, "--interval", "0.1") as (terminal, process):
        terminal.wait_for("3 calls under way")
        terminal.wait_for("█")  # it has measured, too
        if how == "q":
            terminal.type("xq")
        else:
            process.send_signal(signal.SIGINT)
        assert process.wait(10) == 0
