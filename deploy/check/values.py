"""The chart's values: each is in the schema, and what the schema says of `config` is what the settings say."""

import copy
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from deploy.check.manifests import CHART, EXAMPLES, KUSTOMIZE, NAMESPACE, RELEASE
from deploy.check.programs import ProgramFailed, helm, run
from service.settings import Settings

SCHEMA = CHART / "values.schema.json"
# The chart sets these itself, from other values; and tokens come from Secrets.
NOT_IN_VALUES = {
    "Settings": ("tls",),
    "ServerSettings": ("address", "health_address", "allow_insecure"),
    "IdentitySettings": ("token",),
}
# What Kustomize starts from: the chart as rendered for these values.
BASE = KUSTOMIZE / "base" / "inferwire.yaml"
BASE_VALUES = KUSTOMIZE / "base" / "values.yaml"
REWRITE = "run `make deploy-generate` and commit it"

Schema = dict[str, Any]


def problems(chart: Path = CHART) -> Iterator[str]:
    schema = json.loads((chart / "values.schema.json").read_text())
    values = yaml.safe_load((chart / "values.yaml").read_text())
    for path in unknown_values(values, schema):
        yield f"values.yaml: {path} is not in the schema"
    for path in unset_values(values, schema):
        yield f"values.yaml: {path} is in the schema only"
    if schema["$defs"] != settings_definitions():
        yield f"values.schema.json doesn't fit the settings: {REWRITE}"
    if BASE.read_text() != base():
        yield f"kustomize/base/inferwire.yaml doesn't fit the chart: {REWRITE}"
    yield from _lint(chart)


def _lint(chart: Path) -> Iterator[str]:
    for values in EXAMPLES:
        try:
            run(helm(), "lint", "--strict", "--quiet", chart, "--values", values)
        except ProgramFailed as failed:
            yield f"helm lint with {values.name}: {failed}"


def unknown_values(values: Any, schema: Schema, path: str = "") -> Iterator[str]:
    if not isinstance(values, dict) or "properties" not in schema:
        return
    for key, value in values.items():
        if key in schema["properties"]:
            yield from unknown_values(value, schema["properties"][key], f"{path}{key}.")
        else:
            yield f"{path}{key}"


def unset_values(values: Any, schema: Schema, path: str = "") -> Iterator[str]:
    """What values.yaml doesn't tell of, though it may be set. Helm's own `global` is no value of ours."""
    for key, inner in schema.get("properties", {}).items():
        if key not in values and (path or key != "global"):
            yield f"{path}{key}"
        elif key in values:
            yield from unset_values(values[key], inner, f"{path}{key}.")


def settings_definitions() -> Schema:
    """The settings, as JSON Schema, without what the chart sets itself."""
    settings = Settings.model_json_schema()
    definitions: Schema = settings.pop("$defs") | {"Settings": settings}
    for name, keys in NOT_IN_VALUES.items():
        for key in keys:
            del definitions[name]["properties"][key]
    del definitions["TlsSettings"]
    return {name: _without_titles(definition) for name, definition in sorted(definitions.items())}


def _without_titles(schema: Schema) -> Schema:
    """Pydantic's repeat the names."""
    bare = copy.deepcopy(schema)
    for part in (bare, *bare.get("properties", {}).values()):
        part.pop("title", None)
    return bare


def base() -> str:
    text = run(helm(), "template", RELEASE, CHART, "--namespace", NAMESPACE, "--values", BASE_VALUES)
    return f"# The chart, rendered with values.yaml by `make deploy-generate`.\n{text}"


def generate() -> None:
    schema = json.loads(SCHEMA.read_text()) | {"$defs": settings_definitions()}
    SCHEMA.write_text(f"{json.dumps(schema, indent=2)}\n")
    BASE.write_text(base())
