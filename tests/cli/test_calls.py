"""The commands that call a server: what they send, what they print, and how they fail."""

import asyncio
import json
import os
import pty
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from service.cli.chat import Conversation, converse
from service.cli.models import model_table
from service.cli.options import Generation
from service.client import Client
from tests.canned_server import ANSWER, EMBEDDER, LLM, VECTOR, CannedServer
from tests.cli.conftest import Inferwire

PLAIN = Generation(max_tokens=None, temperature=None, top_p=None, json_schema=None, show_usage=False)


class TestChat:
    def test_one_question(self, inferwire: Inferwire, server: CannedServer) -> None:
        result = inferwire("chat", "-m", "Where?", "--system", "Be brief.")
        assert (result.exit_code, result.stdout) == (0, f"{ANSWER}\n"), result.output
        [request] = server.requests
        assert request.model_id == "smol"  # type: ignore[attr-defined]
        system, user = request.messages  # type: ignore[attr-defined]
        assert (system.system.content.text, user.user.content.text) == ("Be brief.", "Where?")

    def test_a_piped_question(self, inferwire: Inferwire, server: CannedServer) -> None:
        assert inferwire("chat", stdin="Where?\nExactly?\n").stdout == f"{ANSWER}\n"
        assert server.requests[0].messages[0].user.content.text == "Where?\nExactly?"  # type: ignore[attr-defined]

    def test_nothing_piped_in(self, inferwire: Inferwire, server: CannedServer) -> None:
        assert inferwire("chat").exit_code == 2

    def test_options_of_generation(self, inferwire: Inferwire, server: CannedServer, tmp_path: Path) -> None:
        schema = tmp_path / "schema.json"
        schema.write_text('{"type": "object"}')
        options = ["--max-tokens", "5", "--temperature", "0.5", "--top-p", "0.75", "--json-schema", str(schema)]
        inferwire("chat", "-m", "Where?", "--model", "other", *options)
        request: Any = server.requests[0]
        params = request.sampling_params
        assert (params.max_tokens, params.top_p.temperature, params.top_p.top_p) == (5, 0.5, 0.75)
        assert request.response_format.json_schema.json_schema == '{"type": "object"}'
        assert request.model_id == "other"

    def test_without_options_the_contract_s_defaults_hold(self, inferwire: Inferwire, server: CannedServer) -> None:
        inferwire("chat", "-m", "Where?")
        request: Any = server.requests[0]
        assert not request.sampling_params.ListFields()
        assert not request.HasField("response_format")

    def test_temperature_0_is_greedy(self, inferwire: Inferwire, server: CannedServer) -> None:
        inferwire("chat", "-m", "Where?", "--temperature", "0")
        assert server.requests[0].sampling_params.HasField("greedy")  # type: ignore[attr-defined]

    def test_usage_goes_beside_the_answer(self, inferwire: Inferwire, server: CannedServer) -> None:
        result = inferwire("chat", "-m", "Where?", "--usage")
        assert result.stdout == f"{ANSWER}\n"
        for part in ("7 prompt tokens (2 cached)", "3 completion tokens", "0.25 s", "0.50 s", "end_of_turn"):
            assert part in result.stderr
        assert "control tokens read as text: 1" in result.stderr


class TestConversation:
    @pytest.fixture
    def runner(self) -> Iterator[asyncio.Runner]:
        with asyncio.Runner() as runner:
            yield runner

    def talk(self, runner: asyncio.Runner, server: CannedServer, lines: list[str], model: str = "smol") -> None:
        async def connect() -> Client:
            return Client(server.target)

        def read_line(prompt: str) -> str:
            if not lines:
                raise EOFError
            return lines.pop(0)

        client = runner.run(connect())
        conversation = Conversation(client, model, "Be brief.", PLAIN)
        converse(conversation, lambda text: runner.run(conversation.ask(text)), server.target, read_line)
        runner.run(client.close())

    def texts(self, request: Any) -> list[str]:
        return [getattr(message, message.WhichOneof("message")).content.text for message in request.messages]

    def test_history_goes_along_until_it_is_cleared(self, runner: asyncio.Runner, server: CannedServer) -> None:
        self.talk(runner, server, ["one", "two", "/new", "three"])
        assert [self.texts(request) for request in server.requests] == [
            ["Be brief.", "one"],
            ["Be brief.", "one", ANSWER, "two"],
            ["Be brief.", "three"],
        ]

    def test_an_empty_line_ends_it(self, runner: asyncio.Runner, server: CannedServer) -> None:
        lines = ["one", "", "two"]
        self.talk(runner, server, lines)
        assert (len(server.requests), lines) == (1, ["two"])

    def test_a_failed_answer_does_not(
        self, runner: asyncio.Runner, server: CannedServer, capsys: pytest.CaptureFixture[str]
    ) -> None:
        self.talk(runner, server, ["one", "two"], model="busy")
        assert [self.texts(request) for request in server.requests] == [["Be brief.", "one"], ["Be brief.", "two"]]
        assert capsys.readouterr().err.count("error: OVERLOADED: The queue is full.") == 2

    def test_on_a_terminal_ctrl_c_stops_the_answer_but_not_the_conversation(self, server: CannedServer) -> None:
        terminal, inside = pty.openpty()
        command = [sys.executable, "-m", "service", "chat", "--target", server.target, "--model", "endless"]
        process = subprocess.Popen(command, stdin=inside, stdout=inside, stderr=inside, start_new_session=True)
        os.close(inside)
        try:
            wait_for(terminal, b"> ")
            os.write(terminal, b"talk\n")
            assert server.streaming.wait(10)
            process.send_signal(signal.SIGINT)
            assert server.cancelled.wait(10)
            wait_for(terminal, b"> ")
            os.write(terminal, b"\n")
            assert process.wait(10) == 0
        finally:
            process.kill()
            process.wait()
            os.close(terminal)


def wait_for(terminal: int, expected: bytes) -> None:
    seen = b""
    while expected not in seen:
        seen += os.read(terminal, 4096)


def test_ctrl_c_cancels_the_call_and_exits_130(server: CannedServer) -> None:
    command = [sys.executable, "-m", "service", "chat", "--target", server.target, "--model", "endless", "-m", "talk"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert server.streaming.wait(20)
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=10)
    assert server.cancelled.wait(5)
    assert (process.returncode, errors) == (130, "")


class TestComplete:
    def test_the_continuation(self, inferwire: Inferwire, server: CannedServer) -> None:
        result = inferwire("complete", "It is in", "--max-tokens", "3")
        assert (result.exit_code, result.stdout) == (0, f"{ANSWER}\n")
        request: Any = server.requests[0]
        assert (request.content.text, request.sampling_params.max_tokens) == ("It is in", 3)

    def test_a_piped_text_keeps_its_spaces(self, inferwire: Inferwire, server: CannedServer) -> None:
        inferwire("complete", stdin="It is in \n")
        assert server.requests[0].content.text == "It is in "  # type: ignore[attr-defined]

    def test_nothing_to_continue(self, inferwire: Inferwire, server: CannedServer) -> None:
        assert inferwire("complete").exit_code == 2


class TestEmbed:
    def test_arguments(self, inferwire: Inferwire, server: CannedServer) -> None:
        result = inferwire("embed", "one", "two", "--truncate", "start")
        assert [json.loads(line) for line in result.stdout.splitlines()] == [
            {"index": 0, "dimension": 3, "values": list(VECTOR)},
            {"index": 1, "dimension": 3, "values": list(VECTOR)},
        ]
        request: Any = server.requests[0]
        assert (request.model_id, request.text_truncation) == ("mini", 2)

    def test_many_lines_go_in_several_calls(self, inferwire: Inferwire, server: CannedServer) -> None:
        result = inferwire("embed", stdin="".join(f"line {number}\n" for number in range(300)))
        assert [json.loads(line)["index"] for line in result.stdout.splitlines()] == list(range(300))
        assert [len(request.contents) for request in server.requests] == [256, 44]  # type: ignore[attr-defined]
        assert server.requests[1].contents[-1].text == "line 299"  # type: ignore[attr-defined]


class TestModels:
    def test_json_where_no_terminal_is(self, inferwire: Inferwire, server: CannedServer) -> None:
        for arguments in (["models"], ["models", "--json"]):
            listed = json.loads(inferwire(*arguments).stdout)
            assert [model["identifier"] for model in listed] == ["mini", "smol"]

    def test_the_table(self, capsys: pytest.CaptureFixture[str]) -> None:
        Console(width=100).print(model_table((LLM, EMBEDDER)))
        shown = capsys.readouterr().out
        for text in ("smol", "llm", "2048", "mini", "embedding", "vllm"):
            assert text in shown


class TestFailures:
    def test_one_line_with_the_reason(self, inferwire: Inferwire, server: CannedServer) -> None:
        result = inferwire("chat", "-m", "Where?", "--model", "missing")
        assert result.exit_code == 1
        assert result.stderr == "error: MODEL_NOT_FOUND: There is no model `missing`.\n"

    def test_the_fields(self, inferwire: Inferwire, server: CannedServer) -> None:
        result = inferwire("complete", "It is", "--model", "wrong")
        assert result.exit_code == 1
        assert result.stderr.splitlines() == [
            "error: INVALID_FIELD: 2 fields of the request are wrong",
            "  sampling_params.top_p.temperature: Too hot.",
            "  messages[0].user.content: Too long.",
        ]

    @pytest.mark.parametrize("command", [["chat", "-m", "x"], ["complete", "x"], ["embed", "x"], ["models"]])
    def test_no_server(self, inferwire: Inferwire, command: list[str]) -> None:
        result = inferwire(*command, "--target", "127.0.0.1:1")
        assert result.exit_code == 1
        assert result.stderr.startswith("error: no server answers at 127.0.0.1:1 (")
        assert len(result.stderr.splitlines()) == 1

    def test_a_status_of_somebody_else(self, inferwire: Inferwire, server: CannedServer) -> None:
        result = inferwire("chat", "-m", "Where?", "--model", "dies")
        assert (result.exit_code, result.stderr.strip()) == (1, "error: DATA_LOSS: the wire is cut")

    def test_an_empty_schema_is_a_wrong_use(self, inferwire: Inferwire, server: CannedServer, tmp_path: Path) -> None:
        schema = tmp_path / "schema.json"
        schema.touch()
        result = inferwire("chat", "-m", "Where?", "--json-schema", str(schema))
        assert (result.exit_code, "at least 1 character" in result.output) == (2, True)

    def test_no_model_of_the_type(
        self, inferwire: Inferwire, server: CannedServer, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("tests.canned_server.LLM", EMBEDDER)
        result = inferwire("chat", "-m", "Where?")
        assert result.exit_code == 1
        assert "no model of type llm" in result.output
