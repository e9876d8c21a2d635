"""Identities: what belongs together, what is refused, and that no error shows a token."""

import json
import re
import traceback
from pathlib import Path
from typing import Any

import click
import pytest
from pydantic import SecretStr, ValidationError

from service.cli.setting_flags import WITHOUT_A_FLAG, setting_leaves, settings_or_usage_error
from service.settings import Settings, load_settings
from service.settings.access import SigningAlgorithm
from tests.e2e.test_readme import blocks

SECRET = "s3cret-0123456789"
JWT = {"jwks_file": "keys.json", "issuer": "https://issuer", "audience": "inferwire"}
MTLS = {"certificate": "a", "key": "b", "client_ca": "c"}


def identity(**fields: Any) -> dict[str, Any]:
    return {"name": "search", "token": SECRET, **fields}


def loaded(**settings: Any) -> Settings:
    return load_settings(None, settings)


def test_without_identities_everybody_may_call() -> None:
    assert loaded().anonymous_allowed
    assert loaded().open_to_all


def test_with_one_only_those_who_are_named_or_allowed() -> None:
    assert not loaded(identities=[identity()]).anonymous_allowed
    assert loaded(identities=[identity()], anonymous={"allowed": True}).anonymous_allowed
    assert not loaded(anonymous={"allowed": False}).anonymous_allowed


def test_an_identity_gets_the_usual_rights() -> None:
    [search] = loaded(identities=[identity()]).identities
    assert search.methods == ("InferenceService/*", "ModelService/ListModels", "ModelService/GetModel")
    assert search.models == ("*",)
    assert (search.weight, search.max_concurrent_calls, search.tokens_per_minute) == (1.0, None, None)


def test_only_asymmetric_algorithms_can_be_allowed() -> None:
    assert not {"none", "HS256", "HS384", "HS512"} & set(SigningAlgorithm)
    for algorithm in ("none", "HS256"):
        with pytest.raises(ValidationError):
            loaded(auth={"jwt": {**JWT, "algorithms": algorithm}}, identities=[identity(subjects=["*"])])


def test_a_list_may_be_one_text_with_commas(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("INFERWIRE_ANONYMOUS__MODELS", "small-*, embedder")
    settings = loaded(auth={"jwt": {"algorithms": "ES256,EdDSA"}})
    assert settings.auth.jwt.algorithms == (SigningAlgorithm.ES256, SigningAlgorithm.EDDSA)
    assert settings.anonymous.models == ("small-*", "embedder")


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"identities": [identity(), identity(token="other")]}, "two identities have the same name: search"),
        ({"identities": [identity(), identity(name="other")]}, "two identities have the same token"),
        ({"identities": [identity(token=None)]}, "else nobody is this identity"),
        ({"identities": [identity(name="anonymous")]}, "the section `anonymous`"),
        ({"identities": [identity(token="")]}, "printable ASCII"),
        ({"identities": [identity(token=f"{SECRET}\n")]}, "printable ASCII"),
        ({"identities": [identity(token=f"{SECRET} ")]}, "printable ASCII"),
        ({"identities": [identity(weight=0)]}, "greater than 0"),
        ({"identities": [identity(subjects=["a"])]}, r"need `auth\.jwt\.jwks_file` or `auth\.metadata_key`"),
        ({"identities": [identity(sans=["a"])]}, r"need `tls\.client_ca`"),
        ({"auth": {"jwt": JWT}, "identities": [identity()]}, "no identity has `subjects`"),
        ({"auth": {"metadata_key": "x-caller"}}, "no identity has `subjects`"),
        ({"auth": {"jwt": {**JWT, "issuer": ""}}, "identities": [identity(subjects=["*"])]}, "set `issuer`"),
        ({"auth": {"jwt": {"jwks_file": "a"}}, "identities": [identity(subjects=["*"])]}, "set `issuer`"),
        ({"auth": {"metadata_key": "Authorization"}}, "a key in lower case"),
        ({"auth": {"metadata_key": "x-caller-bin"}}, "a key in lower case"),
        ({"identities": [identity()], "anonymous": {"methods": "AdminService/*"}}, "AdminService is for identities"),
        ({"tls": MTLS, "anonymous": {"methods": ["AdminService/Drain"]}}, "AdminService is for identities"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_does_not_go_together_is_refused_without_a_secret(settings: dict[str, Any], told: str) -> None:
    with pytest.raises(ValidationError, match=told) as refused:
        load_settings(None, settings)
    assert SECRET not in "".join(traceback.format_exception(refused.value))


@pytest.mark.parametrize(
    "text",
    [
        f"identities: [{{name: search, token: [{SECRET}]}}]",
        f"identities: [{{name: search, tokens: {SECRET}}}]",
        f"identities: [{{token: {SECRET}}}]",
        f"identities: {SECRET}",
        f"identities: [{SECRET}]",
        f"server: {SECRET}",
        SECRET,
        f"- {SECRET}",
        f"identities: [{{name: search, token: !{SECRET}}}]",
        f"identities: [{{name: search, token: *{SECRET}}}]",
        f'identities: [{{name: search, token: "\\{SECRET}"}}]',
        f"identities: [{{name: search, token: '{SECRET}]}}",
        f"identities: [{{name: search, token: %{SECRET}}}]",
        f"identities: [{{name: search, token: {SECRET}",
    ],
)
def test_no_mistake_in_the_file_shows_a_secret(tmp_path: Path, text: str) -> None:
    file = tmp_path / "inferwire.yaml"
    file.write_text(text)
    with pytest.raises(click.UsageError) as refused:
        settings_or_usage_error(file, {})
    assert SECRET not in "".join(traceback.format_exception(refused.value))


@pytest.mark.parametrize(
    "text",
    [SECRET, f'[{{"token": "{SECRET}"', json.dumps([{"token": SECRET}]), json.dumps({"token": SECRET})],
)
def test_nor_one_in_the_environment(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setenv("INFERWIRE_IDENTITIES", text)
    with pytest.raises(click.UsageError) as refused:
        settings_or_usage_error(None, {})
    assert SECRET not in "".join(traceback.format_exception(refused.value))


def test_settings_do_not_show_tokens() -> None:
    settings = loaded(identities=[identity()])
    for shown in (repr(settings), str(settings.model_dump()), settings.model_dump_json()):
        assert SECRET not in shown
    assert settings.identities[0].token == SecretStr(SECRET)


def test_no_secret_has_a_flag() -> None:
    """What stands on a command line is shown by `ps`, and defaults are shown by --help."""
    with_flags = [leaf for leaf in setting_leaves() if leaf.path not in WITHOUT_A_FLAG]
    assert not [leaf.path for leaf in with_flags if "Secret" in str(leaf.field.annotation)]


# Values of the chart, whose `config` are settings, have a test in tests/deploy.
SETTINGS = [block for block in blocks("yaml") if "transport:" not in block]


@pytest.mark.parametrize("example", SETTINGS, ids=lambda text: re.findall(r"^\w+", text, re.MULTILINE))
def test_the_examples_of_the_readme_are_settings(tmp_path: Path, example: str) -> None:
    file = tmp_path / "inferwire.yaml"
    file.write_text(example)
    assert load_settings(file)
