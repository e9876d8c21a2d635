"""A flag for every setting, made from the settings' own fields, so that the two can't drift apart."""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from inspect import isclass
from pathlib import Path
from typing import Any, TypeVar, get_args

import rich_click as click
from click.core import ParameterSource
from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined
from pydantic_settings import SettingsError
from yaml import MarkedYAMLError, YAMLError

from service.settings import Settings, load_settings
from service.settings.section import Section

Command = TypeVar("Command", bound=Callable[..., Any])

# Models are given by --model, --embedding-model and --scoring-model. Identities, with their tokens, have no place on a
# command line, which every user of the machine can read.
WITHOUT_A_FLAG = {("models",), ("identities",)}
METAVARS = {int: "INTEGER", float: "NUMBER", Path: "PATH"}


@dataclass(frozen=True, slots=True)
class Leaf:
    """A setting that isn't a group of settings."""

    path: tuple[str, ...]
    field: FieldInfo
    default: Any

    @property
    def flag(self) -> str:
        return "-".join(self.path).replace("_", "-")

    @property
    def parameter(self) -> str:
        return "__".join(self.path)

    @property
    def variable(self) -> str:
        config = Settings.model_config
        return (config["env_prefix"] + str(config["env_nested_delimiter"]).join(self.path)).upper()

    @property
    def kind(self) -> Any:
        """The type of its values, apart from None."""
        members = [member for member in get_args(self.field.annotation) if member is not type(None)]
        return members[0] if len(members) == 1 else self.field.annotation


class SettingOption(click.RichOption):
    """Shows its environment variable, but leaves reading it to the settings."""

    def resolve_envvar_value(self, ctx: click.Context) -> str | None:
        return None


def setting_leaves(group: type[BaseModel] = Settings, parents: tuple[str, ...] = ()) -> Iterator[Leaf]:
    for name, field in group.model_fields.items():
        path = (*parents, name)
        if isclass(field.annotation) and issubclass(field.annotation, Section):
            yield from setting_leaves(field.annotation, path)
        else:
            yield Leaf(path, field, field.get_default(call_default_factory=True))


def setting_flags(command: Command) -> Command:
    """Adds the flags of all settings to a command; `given_flags` reads them."""
    for leaf in reversed(list(setting_leaves())):
        if leaf.path not in WITHOUT_A_FLAG:
            command = _option(leaf)(command)
    return command


def _option(leaf: Leaf) -> Callable[[Command], Command]:
    is_bool = leaf.kind is bool
    return click.option(
        f"--{leaf.flag}/--no-{leaf.flag}" if is_bool else f"--{leaf.flag}",
        leaf.parameter,
        cls=SettingOption,
        # Values are checked by the settings, wherever they come from.
        type=bool if is_bool else str,
        metavar=None if is_bool else METAVARS.get(leaf.kind, "TEXT"),
        default=None if leaf.default is PydanticUndefined else leaf.default,
        show_default=("on" if leaf.default else "off") if is_bool and leaf.default is not None else True,
        envvar=leaf.variable,
        show_envvar=True,
        help=leaf.field.description,
    )


def given_flags(ctx: click.Context) -> dict[str, Any]:
    """What was given on the command line, nested as the settings are; defaults are the settings' own business."""
    given: dict[str, Any] = {}
    for leaf in setting_leaves():
        if ctx.get_parameter_source(leaf.parameter) is ParameterSource.COMMANDLINE:
            group = given
            for name in leaf.path[:-1]:
                group = group.setdefault(name, {})
            group[leaf.path[-1]] = ctx.params[leaf.parameter]
    return given


def settings_or_usage_error(config_file: Path | None, flags: dict[str, Any]) -> Settings:
    """Loads the settings; whatever is wrong with them is told as a wrong use of the command, field by field."""
    try:
        return load_settings(config_file, flags)
    except ValidationError as error:
        raise click.UsageError(
            "\n".join(map(_sentence, error.errors(include_url=False, include_input=False)))
        ) from None
    except YAMLError as error:
        raise click.UsageError(f"{config_file} is not YAML: {_yaml_problem(error)}") from None
    except (OSError, SettingsError) as error:
        raise click.UsageError(str(error)) from None
    except (TypeError, ValueError):
        # pydantic-settings lets the dict() of a list or of a word fail.
        raise click.UsageError(f"{config_file} has to hold a mapping of settings.") from None


def _yaml_problem(error: YAMLError) -> str:
    """Without what it quotes from the file, which may be a token."""
    if not isinstance(error, MarkedYAMLError) or not error.problem_mark:
        return "it holds characters that can't be there"
    problem, mark = re.split("['\"]", error.problem or "")[0].strip(), error.problem_mark
    return f"line {mark.line + 1}, column {mark.column + 1}: {problem}"


def _sentence(problem: Any) -> str:
    path = ""
    for step in problem["loc"]:
        path += f"[{step}]" if isinstance(step, int) else f".{step}"
    message: str = problem["msg"].removeprefix("Value error, ")
    return f"{path.removeprefix('.')}: {message}" if path else message
