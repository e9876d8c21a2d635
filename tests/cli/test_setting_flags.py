"""Every setting has its flag, and flags beat the environment, which beats the file."""

from pathlib import Path

import click
import pytest
from pydantic import BaseModel

from service.cli.main import load_command
from service.cli.setting_flags import WITHOUT_A_FLAG
from service.settings import Settings
from tests.cli.conftest import Inferwire, StartedServer


def paths_of(group: BaseModel, parents: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    """The settings' leaves, found by looking at values: another way than the flags are made."""
    paths = []
    for name in type(group).model_fields:
        value = getattr(group, name)
        paths += paths_of(value, (*parents, name)) if isinstance(value, BaseModel) else [(*parents, name)]
    return paths


DEFAULTS = Settings()
PATHS = [path for path in paths_of(DEFAULTS) if path not in WITHOUT_A_FLAG]


def default_of(path: tuple[str, ...]) -> object:
    value: object = DEFAULTS
    for name in path:
        value = getattr(value, name)
    return value


def options_of_serve() -> dict[str, click.Option]:
    return {flag: option for option in load_command("serve").params for flag in option.opts}  # type: ignore[misc]


@pytest.mark.parametrize("path", PATHS, ids=".".join)
def test_every_setting_has_a_flag_with_its_default_help_and_variable(path: tuple[str, ...]) -> None:
    option = options_of_serve()["--" + "-".join(path).replace("_", "-")]
    assert option.default == default_of(path)
    assert option.envvar == "INFERWIRE_" + "__".join(path).upper()
    assert option.help, "a description of the field"


def test_models_have_flags_of_their_own_and_identities_have_none() -> None:
    assert {("models",), ("identities",)} == WITHOUT_A_FLAG
    assert {"--model", "--embedding-model"} <= options_of_serve().keys()


def test_help_shows_defaults_and_variables(inferwire: Inferwire) -> None:
    output = inferwire("serve", "--help").output
    for expected in ("--server-grace-s", "INFERWIRE_SERVER__GRACE_S", "30.0", "--config", "INFERWIRE_CONFIG"):
        assert expected in output


class TestPrecedence:
    @pytest.fixture
    def config(self, tmp_path: Path) -> Path:
        file = tmp_path / "settings.yaml"
        file.write_text(
            "server: {grace_s: 1, address: 'localhost:1', reflection: false}\n"
            "limits: {max_messages: 11}\n"
            "models: [{path: some/Model}]\n"
        )
        return file

    def test_flag_then_variable_then_file_then_default(
        self, inferwire: Inferwire, started: StartedServer, config: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("INFERWIRE_SERVER__GRACE_S", "2")
        monkeypatch.setenv("INFERWIRE_LIMITS__MAX_MESSAGES", "22")
        result = inferwire("serve", "--config", str(config), "--server-grace-s", "3")
        assert result.exit_code == 0, result.output
        [settings] = started.settings
        assert settings.server.grace_s == 3
        assert settings.limits.max_messages == 22
        assert settings.server.address == "localhost:1"
        assert settings.server.reflection is False
        assert settings.limits.max_contents == DEFAULTS.limits.max_contents
        assert [model.id for model in settings.models] == ["Model"]

    def test_a_flag_beats_the_others_also_with_the_value_of_the_default(
        self, inferwire: Inferwire, started: StartedServer, config: Path
    ) -> None:
        inferwire("serve", "--config", str(config), "--server-grace-s", "30", "--server-reflection")
        assert (started.settings[0].server.grace_s, started.settings[0].server.reflection) == (30, True)

    def test_the_file_may_be_named_by_a_variable(
        self, inferwire: Inferwire, started: StartedServer, config: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("INFERWIRE_CONFIG", str(config))
        inferwire("serve", "--model", "other/One", "--embedding-model", "e5=other/Two")
        [settings] = started.settings
        assert settings.server.grace_s == 1
        assert [model.id for model in settings.models] == ["One", "e5"]


class TestWrongSettings:
    def test_are_told_by_field(self, inferwire: Inferwire, started: StartedServer) -> None:
        result = inferwire("serve", "--model", "a/b", "--server-grace-s=-1", "--limits-max-messages", "many")
        assert result.exit_code == 2
        assert "server.grace_s: Input should be greater than or equal to 0" in result.output
        assert "limits.max_messages: Input should be a valid integer" in result.output
        assert "Traceback" not in result.output
        assert not started.settings

    def test_of_the_environment(self, inferwire: Inferwire, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("INFERWIRE_LOG__LEVEL", "loud")
        result = inferwire("serve", "--model", "a/b")
        assert (result.exit_code, "log.level:" in result.output) == (2, True)

    def test_that_are_not_even_json(self, inferwire: Inferwire, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("INFERWIRE_MODELS", "{")
        assert inferwire("serve", "--model", "a/b").exit_code == 2

    @pytest.mark.parametrize(
        ("content", "told"),
        [
            ("server: {gracee_s: 1}", "server.gracee_s: Extra inputs are not permitted"),
            ("models: [{id: nameless}]", "models[0].path: Field required"),
            ("server: [", "expected the node content"),
            ("- a list", "a mapping of settings"),
            ("just a word", "a mapping of settings"),
        ],
    )
    def test_of_the_file(self, inferwire: Inferwire, tmp_path: Path, content: str, told: str) -> None:
        file = tmp_path / "settings.yaml"
        file.write_text(content)
        result = inferwire("serve", "--config", str(file), "--server-grace-s", "3")
        assert result.exit_code == 2, result.exception
        assert told in " ".join(result.output.replace("│", " ").split())

    def test_no_such_file(self, inferwire: Inferwire, tmp_path: Path) -> None:
        assert inferwire("serve", "--config", str(tmp_path / "none.yaml")).exit_code == 2
