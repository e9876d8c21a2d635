"""`inferwire serve`: a server with the settings of flags, environment and file, in this order of precedence."""

from pathlib import Path
from typing import Any

import rich_click as click

from service.api.models import ModelType
from service.cli.engine_output import engine_output_to
from service.cli.serving import print_line, serve_until_stopped
from service.cli.setting_flags import given_flags, setting_flags, settings_or_usage_error

NO_MODELS = (
    "No models to serve. Give one with --model NAME_OR_PATH, or a settings file with --config FILE. "
    "To try the bundled models, run `inferwire demo`."
)


# Wide enough for the longest flag on a narrow terminal: one column for names and kinds of values.
HELP_LAYOUT = {"options_table_column_types": ["opt_all_metavar", "help"]}


@click.command()
@click.rich_config(HELP_LAYOUT)
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
@setting_flags
@click.option("--verbose", is_flag=True, help="Show the engines' output also when there is a file for it.")
@click.pass_context
def serve(
    ctx: click.RichContext,
    /,
    config: Path | None,
    llms: tuple[str, ...],
    embedding_models: tuple[str, ...],
    verbose: bool,
    **setting_values: object,  # read from the context, which knows which of them were given
) -> None:
    """Serve models.

    Flags beat environment variables, which beat the settings file.
    """
    flags = given_flags(ctx)
    if llms or embedding_models:
        flags["models"] = [
            *(model_entry(text, ModelType.LLM) for text in llms),
            *(model_entry(text, ModelType.EMBEDDING) for text in embedding_models),
        ]
    settings = settings_or_usage_error(config, flags)
    if not settings.models:
        raise click.UsageError(NO_MODELS)
    with engine_output_to(None if verbose else settings.log.engine_log) as output:
        code = serve_until_stopped(settings, output, lambda address: print_line(output, f"serving on {address}"))
    ctx.exit(code)


def model_entry(text: str, model_type: ModelType) -> dict[str, Any]:
    """An entry of the setting `models` from NAME_OR_PATH or ID=NAME_OR_PATH."""
    name, equals, path = text.partition("=")
    if equals and "/" not in name:  # else the sign is part of a path
        return {"id": name, "path": path, "type": model_type}
    return {"path": text, "type": model_type}
