"""Adapters: what belongs together, and what would be left out without a word."""

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from service.settings import Settings, load_settings

MODEL = {"path": "m", "max_adapters": 2}
ROOT = {"root": "/srv/adapters"}
IDENTITY = {"name": "search", "token": "0123456789"}


def loaded(**settings: Any) -> Settings:
    return load_settings(None, settings)


def test_there_are_none_unless_they_are_wanted() -> None:
    settings = loaded(models=[{"path": "m"}])
    assert (settings.adapters.root, settings.adapters.kept_in, settings.models[0].max_adapters) == (None, None, 0)


def test_registrations_are_kept_beside_the_adapters_or_where_it_says() -> None:
    assert loaded(adapters=ROOT).adapters.kept_in == Path("/srv/adapters/inferwire-adapters.json")
    assert loaded(adapters={**ROOT, "state_file": "/var/x.json"}).adapters.kept_in == Path("/var/x.json")


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"models": [MODEL]}, "adapters.root is not set"),
        ({"adapters": {"state_file": "x"}}, "set adapters.root"),
        ({"adapters": ROOT, "models": [{**MODEL, "type": "embedding"}]}, "only language models"),
        ({"adapters": ROOT, "models": [{**MODEL, "max_lora_rank": 12}]}, "max_lora_rank"),
        ({"adapters": ROOT, "models": [{**MODEL, "max_adapters": -1}]}, "max_adapters"),
        ({"adapters": ROOT, "models": [{**MODEL, "engine_args": {"enable_lora": True}}]}, "enable_lora follow"),
        ({"adapters": ROOT, "models": [{**MODEL, "engine_args": {"max_cpu_loras": 1}}]}, "max_cpu_loras follow"),
    ],
    ids=str,
)
def test_what_does_not_go_together(settings: dict[str, Any], told: str) -> None:
    with pytest.raises(ValidationError, match=told):
        loaded(**settings)


@pytest.mark.parametrize(
    "pattern", ["ModelService/*", "ModelService/RegisterModel", "ModelService/Un*", "ModelService*"]
)
def test_registering_is_not_for_anonymous_callers_beside_identities(pattern: str) -> None:
    with pytest.raises(ValidationError, match="RegisterModel and UnregisterModel are for"):
        loaded(identities=[IDENTITY], anonymous={"allowed": True, "methods": pattern})
    assert loaded(anonymous={"methods": pattern}).anonymous.methods == (pattern,)


def test_but_listing_them_is() -> None:
    anonymous = {"allowed": True, "methods": ["ModelService/List*", "ModelService/Get*", "*"]}
    assert loaded(identities=[IDENTITY], anonymous=anonymous).anonymous.methods
