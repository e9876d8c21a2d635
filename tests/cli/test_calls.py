"""The commands that call a server: what they send, what they print, and how they fail."""

import json
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from service.cli.models import model_table
from service.cli.options import Generation
from tests.canned_server import ANSWER, EMBEDDER, LLM, VECTOR, CannedServer
from tests.cli.conftest import Inferwire

PLAIN = Generation(max_tokens=None, temperature=None, top_p=None, json_schema=None, show_usage=False)


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


class TestRerank:
    def test_the_best_comes_first(self, inferwire: Inferwire, server: CannedServer) -> None:
        result = inferwire("rerank", "what?", "öne", "two", "three", "--top-n", "2", "--truncate", "end")
        assert [json.loads(line) for line in result.stdout.splitlines()] == [
            {"index": 2, "score": 0.5, "document": "three"},
            {"index": 1, "score": 0.25, "document": "two"},
        ]
        request: Any = server.requests[0]
        assert (request.model_id, request.query, request.text_truncation, request.top_n) == ("mini", "what?", 3, 2)
        assert [document.text for document in request.documents] == ["öne", "two", "three"]

    def test_lines_are_documents(self, inferwire: Inferwire, server: CannedServer) -> None:
        lines = inferwire("rerank", "what?", stdin="one\ntwö\n").stdout.splitlines()
        assert [json.loads(line)["document"] for line in lines] == ["twö", "one"]
        assert "ö" in lines[0]

    def test_nothing_to_order(self, inferwire: Inferwire, server: CannedServer) -> None:
        assert inferwire("rerank", "what?").exit_code == 2


class TestTokenize:
    def test_ids_and_pieces(self, inferwire: Inferwire, server: CannedServer) -> None:
        lines = inferwire("tokenize", "aé").stdout.splitlines()
        assert [json.loads(line) for line in lines] == [
            {"id": 97, "piece": "a"},
            {"id": 0xC3, "piece": "\\xc3"},
            {"id": 0xA9, "piece": "\\xa9"},
        ]
        assert server.requests[0].model_id == "smol"  # type: ignore[attr-defined]

    def test_their_count(self, inferwire: Inferwire, server: CannedServer) -> None:
        assert inferwire("tokenize", "--count", stdin="a b\n").stdout == "3\n"

    def test_nothing_to_tokenise(self, inferwire: Inferwire, server: CannedServer) -> None:
        assert inferwire("tokenize").exit_code == 2


class TestModels:
    def test_json_where_no_terminal_is(self, inferwire: Inferwire, server: CannedServer) -> None:
        for arguments in (["models"], ["models", "--json"]):
            listed = json.loads(inferwire(*arguments).stdout)
            assert [model["identifier"] for model in listed] == ["mini", "smol"]

    def test_registering(self, inferwire: Inferwire, server: CannedServer) -> None:
        given = ["fr", "--base", "smol", "--path", "a/french", "--metadata", '{"team": "shop"}']
        result = inferwire("models", "register", *given)
        assert (result.exit_code, result.stdout) == (0, "fr is served, with smol as its base.\n")
        request: Any = server.requests[0]
        assert (request.model_id, request.base_model_id, request.provider_model_id) == ("fr", "smol", "a/french")
        assert dict(request.metadata) == {"team": "shop"}

    def test_the_path_is_the_name_unless_it_is_given(self, inferwire: Inferwire, server: CannedServer) -> None:
        inferwire("models", "register", "fr", "--base", "smol")
        assert server.requests[0].provider_model_id == "fr"  # type: ignore[attr-defined]

    def test_unregistering(self, inferwire: Inferwire, server: CannedServer) -> None:
        result = inferwire("models", "unregister", "fr")
        assert (result.exit_code, result.stdout) == (0, "fr is gone.\n")
        assert server.requests[0].model_id == "fr"  # type: ignore[attr-defined]

    @pytest.mark.parametrize(
        "given",
        [
            ["register", "fr"],
            ["register", "--base", "smol"],
            ["register", "fr", "--base", "smol", "--metadata", "{"],
            ["register", "fr", "--base", "smol", "--metadata", "[]"],
            ["unregister"],
            ["--json", "register", "fr", "--base", "smol"],
            ["nothing"],
        ],
        ids=str,
    )
    def test_wrong_use(self, inferwire: Inferwire, server: CannedServer, given: list[str]) -> None:
        assert inferwire("models", *given).exit_code == 2
        assert not server.requests

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
