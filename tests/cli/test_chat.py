"""`inferwire chat`: one question, conversations, tools, images."""

import asyncio
import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from service.cli.conversation import Conversation, Turns, converse
from service.cli.options import Generation
from service.cli.tool_answers import ToolAnswers
from service.cli.tool_files import Tools
from service.client import Client
from tests.canned_server import ANSWER, CannedServer
from tests.cli.conftest import Inferwire
from tests.cli.terminal import on_a_terminal

PLAIN = Generation(max_tokens=None, temperature=None, top_p=None, json_schema=None, show_usage=False)
SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
WEATHER = {"name": "get_weather", "description": "The weather of a city", "parameters": SCHEMA}
SUNNY = [sys.executable, "-c", "import json, sys; print('Sunny in', json.load(sys.stdin)['city'])"]
PNG = b"\x89PNG..."


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

    def test_thoughts_go_beside_the_answer(self, inferwire: Inferwire, server: CannedServer) -> None:
        result = inferwire("chat", "-m", "Where?", "--model", "thinks", "--usage")
        assert result.stdout == f"{ANSWER}\n"
        assert "He asks where.\n" in result.stderr
        assert "of these 2 to think" in result.stderr
        assert "broke the thoughts off" not in result.stderr
        assert not server.requests[0].HasField("reasoning")  # type: ignore[attr-defined]

    def test_options_of_thinking(self, inferwire: Inferwire, server: CannedServer) -> None:
        for switch in ("--reasoning", "--no-reasoning"):
            result = inferwire("chat", "-m", "?", "--model", "thinks", switch, "--max-reasoning-tokens", "9")
            assert "A limit broke the thoughts off." in result.stderr
            config: Any = server.requests[-1].reasoning  # type: ignore[attr-defined]
            assert (config.enabled, config.max_tokens) == (switch == "--reasoning", 9)
        inferwire("chat", "-m", "?", "--model", "thinks", "--no-reasoning")
        assert not server.requests[-1].reasoning.HasField("max_tokens")  # type: ignore[attr-defined]


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
        turns = Turns(conversation, ToolAnswers(Tools(), person=None, approve=False), 1, runner.run)
        converse(conversation, turns, server.target, read_line=read_line)
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

    def test_thoughts_are_history_too(self, runner: asyncio.Runner, server: CannedServer) -> None:
        self.talk(runner, server, ["one", "two"], model="thinks")
        assert server.requests[1].messages[2].assistant.reasoning == "He asks where."  # type: ignore[attr-defined]

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
        with on_a_terminal("chat", "--target", server.target, "--model", "endless") as (terminal, process):
            terminal.wait_for("> ")
            terminal.type("talk\n")
            assert server.streaming.wait(10)
            process.send_signal(signal.SIGINT)
            assert server.cancelled.wait(10)
            terminal.wait_for("> ")
            terminal.type("\n")
            assert process.wait(10) == 0


def test_ctrl_c_cancels_the_call_and_exits_130(server: CannedServer) -> None:
    command = [sys.executable, "-m", "service", "chat", "--target", server.target, "--model", "endless", "-m", "talk"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert server.streaming.wait(20)
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=10)
    assert server.cancelled.wait(5)
    assert (process.returncode, errors) == (130, "")


def tools_file(folder: Path, *tools: Any, name: str = "tools.json") -> str:
    file = folder / name
    file.write_text(json.dumps(tools))
    return str(file)


class TestTools:
    def test_a_command_answers_and_the_model_reads_it(
        self, inferwire: Inferwire, server: CannedServer, tmp_path: Path
    ) -> None:
        tools = tools_file(tmp_path, WEATHER | {"command": SUNNY})
        result = inferwire("chat", "-m", "Weather?", "--tools", tools, "--tool-choice", "required")
        assert (result.exit_code, result.stdout) == (0, f"Let me see.\n{ANSWER}\n"), result.output
        assert 'call get_weather {"city": "Paris"} complete' in result.stderr
        assert "Sunny in Paris" in result.stderr
        first, second = server.requests
        [tool] = first.tools  # type: ignore[attr-defined]
        assert (tool.tool_name.custom, tool.description) == ("get_weather", "The weather of a city")
        assert json.loads(tool.input_schema_json) == SCHEMA
        question, call, said = second.messages  # type: ignore[attr-defined]
        assert question.user.content.text == "Weather?"
        assert (call.assistant.content.text, call.assistant.tool_calls[0].call_id) == ("Let me see.", "call-1")
        assert (said.tool.call_id, said.tool.content.text) == ("call-1", "Sunny in Paris")

    def test_a_demanded_call_is_demanded_once(self, inferwire: Inferwire, server: CannedServer, tmp_path: Path) -> None:
        tools = tools_file(tmp_path, WEATHER | {"command": SUNNY})
        for choice in ("required", "get_weather"):
            inferwire("chat", "-m", "Weather?", "--tools", tools, "--tool-choice", choice)
        required, free, named, free_again = (request.tool_config for request in server.requests)  # type: ignore[attr-defined]
        assert (required.choice, named.named_tool.custom) == (2, "get_weather")
        assert free.choice == free_again.choice == 1

    @pytest.mark.parametrize(
        ("command", "said"),
        [
            ([sys.executable, "-c", "import sys; sys.exit('too cold')"], "error: exit code 1: too cold"),
            (["/no/such/program"], "error: No such file or directory: /no/such/program"),
        ],
    )
    def test_the_model_reads_too_that_a_command_failed(
        self, inferwire: Inferwire, server: CannedServer, tmp_path: Path, command: list[str], said: str
    ) -> None:
        inferwire("chat", "-m", "Weather?", "--tools", tools_file(tmp_path, WEATHER | {"command": command}))
        assert server.requests[1].messages[2].tool.content.text == said  # type: ignore[attr-defined]

    def test_where_nobody_can_answer_the_calls_are_the_answer(
        self, inferwire: Inferwire, server: CannedServer, tmp_path: Path
    ) -> None:
        result = inferwire("chat", "-m", "Weather?", "--tools", tools_file(tmp_path, WEATHER))
        assert (result.exit_code, len(server.requests)) == (0, 1)
        assert json.loads(result.stdout.splitlines()[-1]) == {
            "call_id": "call-1",
            "tool_name": "get_weather",
            "arguments": {"city": "Paris"},
            "verdict": "complete",
        }

    def test_a_call_that_is_not_whole_goes_to_no_tool(
        self, inferwire: Inferwire, server: CannedServer, tmp_path: Path
    ) -> None:
        tools = tools_file(tmp_path, WEATHER | {"command": ["touch", str(tmp_path / "ran")]})
        result = inferwire("chat", "-m", "Weather?", "--tools", tools, "--model", "truncates")
        assert (result.exit_code, (tmp_path / "ran").exists()) == (1, False)
        for told in ("truncated", "It ends too early.", '{"name": "get_w', "error: No tool can be given a call"):
            assert told in result.stderr

    def test_a_model_that_never_comes_to_an_end_is_ended(
        self, inferwire: Inferwire, server: CannedServer, tmp_path: Path
    ) -> None:
        tools = tools_file(tmp_path, WEATHER | {"command": SUNNY})
        result = inferwire("chat", "-m", "x", "--tools", tools, "--model", "insists", "--tool-rounds", "3")
        assert (result.exit_code, len(server.requests)) == (1, 3)
        assert "--tool-rounds" in result.stderr

    def test_on_a_terminal_a_person_answers(self, server: CannedServer, tmp_path: Path) -> None:
        tools = tools_file(tmp_path, WEATHER)
        with on_a_terminal("chat", "--target", server.target, "--tools", tools) as (terminal, process):
            terminal.wait_for("> ")
            terminal.type("Weather?\n")
            terminal.wait_for("what does get_weather say? ")
            terminal.type("rain\n")
            terminal.wait_for(ANSWER)
            terminal.wait_for("> ")
            terminal.type("Thanks\n")
            terminal.wait_for("what does get_weather say? ")
            process.send_signal(signal.SIGINT)
            terminal.wait_for("> ")
            terminal.type("\n")
            assert process.wait(10) == 0
        _, answered, after = server.requests
        assert answered.messages[2].tool.content.text == "rain"  # type: ignore[attr-defined]
        kinds = [message.WhichOneof("message") for message in after.messages]  # type: ignore[attr-defined]
        assert kinds == ["user", "assistant", "tool", "assistant", "user"]

    @pytest.mark.parametrize(("typed", "said"), [("y", "Sunny in Paris"), ("n", "error: the user doesn't allow")])
    def test_a_person_may_want_to_be_asked_before_a_command_runs(
        self, server: CannedServer, tmp_path: Path, typed: str, said: str
    ) -> None:
        tools = tools_file(tmp_path, WEATHER | {"command": SUNNY})
        options = ("-m", "Weather?", "--tools", tools, "--approve")
        with on_a_terminal("chat", "--target", server.target, *options) as (terminal, process):
            terminal.wait_for("[y/N]")
            terminal.type(f"{typed}\n")
            assert process.wait(10) == 0
        assert server.requests[1].messages[2].tool.content.text.startswith(said)  # type: ignore[attr-defined]


class TestToolFiles:
    def sent(self, inferwire: Inferwire, server: CannedServer, file: Path) -> list[Any]:
        result = inferwire("chat", "-m", "x", "--tools", str(file), "--tool-choice", "none")
        assert result.exit_code == 0, result.output
        return list(server.requests[-1].tools)  # type: ignore[attr-defined]

    def test_yaml_keeps_the_order_of_properties(
        self, inferwire: Inferwire, server: CannedServer, tmp_path: Path
    ) -> None:
        file = tmp_path / "tools.yaml"
        file.write_text(
            "tools:\n- name: f\n  parameters: {type: object, properties: {z: {type: string}, a: {default: 1.0}}}\n"
        )
        [tool] = self.sent(inferwire, server, file)
        assert tool.input_schema_json == (
            '{"type": "object", "properties": {"z": {"type": "string"}, "a": {"default": 1.0}}}'
        )

    @pytest.mark.parametrize("spelling", ["parameters", "input_schema", "inputSchema"])
    def test_schemas_are_found_under_the_names_of_others(
        self, inferwire: Inferwire, server: CannedServer, tmp_path: Path, spelling: str
    ) -> None:
        [tool] = self.sent(inferwire, server, Path(tools_file(tmp_path, {"name": "f", spelling: SCHEMA})))
        assert json.loads(tool.input_schema_json) == SCHEMA

    def test_as_openai_wraps_them(self, inferwire: Inferwire, server: CannedServer, tmp_path: Path) -> None:
        [tool] = self.sent(inferwire, server, Path(tools_file(tmp_path, {"type": "function", "function": WEATHER})))
        assert tool.tool_name.custom == "get_weather"

    def test_a_built_in_tool_needs_only_its_name(
        self, inferwire: Inferwire, server: CannedServer, tmp_path: Path
    ) -> None:
        [tool] = self.sent(inferwire, server, Path(tools_file(tmp_path, {"name": "brave_search"})))
        assert (tool.tool_name.custom, tool.WhichOneof("input")) == ("brave_search", None)

    @pytest.mark.parametrize(
        ("content", "complaint"),
        [
            ("[{}]", "[0].name: Field required"),
            ('[{"name": "a b"}]', "[0].name"),
            ('[{"name": "f", "colour": 1}]', "[0].colour: Extra inputs"),
            ('{"name": "f"}', "a list of tools"),
            ("{", "Expecting property name"),
        ],
    )
    def test_what_is_wrong_is_told(
        self, inferwire: Inferwire, server: CannedServer, tmp_path: Path, content: str, complaint: str
    ) -> None:
        file = tmp_path / "tools.json"
        file.write_text(content)
        result = inferwire("chat", "-m", "x", "--tools", str(file))
        assert (result.exit_code, server.requests) == (2, [])
        assert complaint in " ".join(result.output.replace("│", " ").split())

    @pytest.mark.parametrize("alone", [["--tool-choice", "required"], ["--approve"]])
    def test_options_that_need_more(self, inferwire: Inferwire, server: CannedServer, alone: list[str]) -> None:
        assert inferwire("chat", "-m", "x", *alone).exit_code == 2


class TestImages:
    @pytest.fixture
    def picture(self, tmp_path: Path) -> str:
        file = tmp_path / "cat.PNG"
        file.write_bytes(PNG)
        return str(file)

    def test_go_before_the_text(self, inferwire: Inferwire, server: CannedServer, picture: str) -> None:
        address = "https://images.example/cat.jpg"
        assert inferwire("chat", "-m", "What?", "--image", picture, "--image", address).exit_code == 0
        first, second, text = server.requests[0].messages[0].user.content.items.items  # type: ignore[attr-defined]
        assert (first.image.data.data, first.image.data.mime_type) == (PNG, "image/png")
        assert (second.image.url, text.text) == (address, "What?")

    def test_in_a_conversation_they_go_with_the_next_question(self, server: CannedServer, picture: str) -> None:
        with on_a_terminal("chat", "--target", server.target) as (terminal, process):
            for line in ("/image /no/such.png", f"/image {picture}", "What?", "And?"):
                terminal.wait_for("> ")
                terminal.type(f"{line}\n")
                if line.startswith("/image /no"):
                    terminal.wait_for("Can't read /no/such.png")
            terminal.wait_for(ANSWER)
            terminal.wait_for("> ")
            terminal.type("\n")
            assert process.wait(10) == 0
        _, after = server.requests
        question, _, second = after.messages  # type: ignore[attr-defined]
        assert [item.WhichOneof("item") for item in question.user.content.items.items] == ["image", "text"]
        assert second.user.content.text == "And?"

    @pytest.mark.parametrize("source", ["cat.txt", "/no/such.png", "empty.png"])
    def test_what_is_no_image_file_is_told(
        self, inferwire: Inferwire, server: CannedServer, tmp_path: Path, source: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.chdir(tmp_path)
        Path("empty.png").touch()
        result = inferwire("chat", "-m", "x", "--image", source)
        assert (result.exit_code, server.requests) == (2, [])


class TestSystemMessage:
    def test_from_a_file(self, inferwire: Inferwire, server: CannedServer, tmp_path: Path) -> None:
        file = tmp_path / "system.txt"
        file.write_text("Be brief.\nVery.\n")
        inferwire("chat", "-m", "x", "--system-file", str(file))
        assert server.requests[0].messages[0].system.content.text == "Be brief.\nVery.\n"  # type: ignore[attr-defined]
        assert inferwire("chat", "-m", "x", "--system-file", str(file), "--system", "y").exit_code == 2
