"""Options that several commands share, and what they stand for; those of the connection are in connection.py."""

import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from typing import Any

import rich_click as click

from service.api.chat import ReasoningConfig
from service.api.embeddings import TextTruncation
from service.api.models import Model, ModelType
from service.api.response_format import JsonSchemaResponseFormat
from service.api.sampling import GreedySamplingStrategy, SamplingParams, SamplingStrategy, TopPSamplingStrategy
from service.cli.waiting import waiting
from service.client import Client

Command = Callable[..., Any]


@dataclass(frozen=True, slots=True)
class Generation:
    """How an answer is generated and shown."""

    max_tokens: int | None
    temperature: float | None
    top_p: float | None
    json_schema: Path | None
    show_usage: bool

    def sampling_params(self) -> SamplingParams:
        return SamplingParams(strategy=self._strategy(), max_tokens=self.max_tokens)

    def _strategy(self) -> SamplingStrategy | None:
        if self.temperature == 0:
            return GreedySamplingStrategy()
        if self.temperature is None and self.top_p is None:
            return None
        return TopPSamplingStrategy(temperature=self.temperature, top_p=self.top_p)

    def response_format(self) -> JsonSchemaResponseFormat | None:
        if self.json_schema is None:
            return None
        return JsonSchemaResponseFormat(json_schema=self.json_schema.read_text(encoding="utf-8"))


def generation_options(command: Command) -> Command:
    """Adds the options of generating commands, and passes them on as `generation`."""

    @click.option("--max-tokens", type=click.IntRange(min=1), help="The most tokens to generate.")
    @click.option("--temperature", type=click.FloatRange(0, 2), help="How freely to choose; 0 is not at all.")
    @click.option(
        "--top-p",
        type=click.FloatRange(0, 1, min_open=True),
        help="Choose among tokens with this share of probability.",
    )
    @click.option(
        "--json-schema",
        type=click.Path(exists=True, dir_okay=False, path_type=Path),
        metavar="FILE",
        help="Answer with JSON that fits the schema in this file.",
    )
    @click.option("--usage", "show_usage", is_flag=True, help="Print tokens and times after the answer.")
    @wraps(command)
    def with_generation(
        *args: Any,
        max_tokens: int | None,
        temperature: float | None,
        top_p: float | None,
        json_schema: Path | None,
        show_usage: bool,
        **rest: Any,
    ) -> Any:
        generation = Generation(max_tokens, temperature, top_p, json_schema, show_usage)
        return command(*args, generation=generation, **rest)

    return with_generation


def reasoning_options(command: Command) -> Command:
    """Adds the options of thinking, and passes them on as `reasoning`; None without any."""

    @click.option("--reasoning/--no-reasoning", "enabled", default=None, help="Have the model think first, or not.")
    @click.option(
        "--max-reasoning-tokens", type=click.IntRange(min=1), help="The most tokens to think before the answer."
    )
    @wraps(command)
    def with_reasoning(*args: Any, enabled: bool | None, max_reasoning_tokens: int | None, **rest: Any) -> Any:
        told = enabled is not None or max_reasoning_tokens is not None
        reasoning = ReasoningConfig(enabled=enabled, max_tokens=max_reasoning_tokens) if told else None
        return command(*args, reasoning=reasoning, **rest)

    return with_reasoning


def model_option(kind: str) -> Callable[[Command], Command]:
    return click.option("--model", metavar="ID", help=f"The {kind} to use. [default: the first one of the server]")


truncate_option = click.option(
    "--truncate",
    type=click.Choice(list(TextTruncation), case_sensitive=False),
    default=TextTruncation.NONE,
    show_default="none",
    help="Which end of a text that is too long is cut; none makes it an error.",
)


async def chosen_model(client: Client, model_id: str | None, *types: ModelType) -> str:
    """The given model, else the first one that the server lists of the first type of which it has any."""
    if model_id is not None:
        return model_id
    async with waiting("Waiting for the server"):
        models: tuple[Model, ...] = await client.models()
    for model_type in types:
        for model in models:
            if model.model_type is model_type:
                return model.identifier
    raise click.ClickException(f"The server has no model of type {' or '.join(types)}.")


def text_or_stdin(text: str | None) -> str | None:
    """`text`, else what is piped in; None on a terminal."""
    if text is not None or sys.stdin.isatty():
        return text
    return sys.stdin.read().removesuffix("\n") or None
