"""What a server is started with, on the command line: a settings file, models, and a flag for every setting."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from typing import Any

import rich_click as click
from click import get_current_context

from service.api.models import ModelType
from service.cli.setting_flags import given_flags, setting_flags, setting_leaves, settings_or_usage_error
from service.settings import Settings

Command = Callable[..., Any]

NO_MODELS = (
    "No models to serve. Give one with --model NAME_OR_PATH, or a settings file with --config FILE. "
    "To try the bundled models, run `inferwire demo`."
)
# Wide enough for the longest flag on a narrow terminal: one column for names and kinds of values.
HELP_LAYOUT = {"options_table_column_types": ["opt_all_metavar", "help"]}


@dataclass(frozen=True, slots=True)
class AskedSettings:
    """What was given on the command line."""

    config: Path | None
    flags: dict[str, Any]

    def load(self) -> Settings:
        """With those of the environment and the file. Raises UsageError."""
        return settings_or_usage_error(self.config, self.flags)


def server_options(command: Command) -> Command:
    """Adds --config, those of models and the flags of all settings, and passes them on as `asked`."""

    @click.option(
        "--config",
        type=click.Path(dir_okay=False, path_type=Path),
        metavar="FILE",
        envvar="INFERWIRE_CONFIG",
        show_envvar=True,
        help="A YAML file of settings.",
    )
    @click.option(
        "--model",
        "llms",
        multiple=True,
        metavar="NAME_OR_PATH",
        help="A language model to serve; may be repeated. ID=NAME_OR_PATH serves it as ID. Replaces the file's models.",
    )
    @click.option(
        "--embedding-model",
        "embedding_models",
        multiple=True,
        metavar="NAME_OR_PATH",
        help="An embedding model to serve; otherwise as --model.",
    )
    @click.option(
        "--scoring-model",
        "scoring_models",
        multiple=True,
        metavar="NAME_OR_PATH",
        help="A cross-encoder to serve; otherwise as --model.",
    )
    @setting_flags
    @wraps(command)
    def with_settings(
        config: Path | None,
        llms: tuple[str, ...],
        embedding_models: tuple[str, ...],
        scoring_models: tuple[str, ...],
        **given: Any,
    ) -> Any:
        # Their values are read from the context, which knows which of them were given.
        own = given.keys() - {leaf.parameter for leaf in setting_leaves()}
        flags = given_flags(get_current_context())
        if llms or embedding_models or scoring_models:
            flags["models"] = [
                *(model_entry(text, ModelType.LLM) for text in llms),
                *(model_entry(text, ModelType.EMBEDDING) for text in embedding_models),
                *(model_entry(text, ModelType.SCORING) for text in scoring_models),
            ]
        return command(asked=AskedSettings(config, flags), **{name: given[name] for name in own})

    return with_settings


def model_entry(text: str, model_type: ModelType) -> dict[str, Any]:
    """An entry of the setting `models` from NAME_OR_PATH or ID=NAME_OR_PATH."""
    name, equals, path = text.partition("=")
    if equals and "/" not in name:  # else the sign is part of a path
        return {"id": name, "path": path, "type": model_type}
    return {"path": text, "type": model_type}
