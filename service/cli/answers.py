"""Prints an answer while it is generated."""

import sys
from collections.abc import AsyncGenerator
from contextlib import aclosing

import rich_click as click

from service.api.content import TextDelta
from service.api.events import Complete, Event, Progress
from service.api.response_format import ConstraintOutcome


async def print_answer(events: AsyncGenerator[Event, None], show_usage: bool) -> str:
    """Prints the text as it comes and returns it. Stopped early, it cancels the call."""
    text = ""
    async with aclosing(events):
        async for event in events:
            match event:
                case Progress(delta=TextDelta(text=new)):
                    text += new
                    sys.stdout.write(new)
                    sys.stdout.flush()
                case Complete():
                    sys.stdout.write("\n")
                    _print_end(event, show_usage)
    return text


def _print_end(end: Complete, show_usage: bool) -> None:
    """Apart from the answer, on standard error."""
    if end.constraint_outcome not in (None, ConstraintOutcome.SATISFIED):
        click.secho(
            f"The answer is {end.constraint_outcome}: it doesn't have the shape asked for.", fg="yellow", err=True
        )
    if show_usage:
        click.secho(usage_line(end), dim=True, err=True)


def usage_line(end: Complete) -> str:
    usage, timings = end.usage, end.timings
    first = timings.time_to_first_token_s
    parts = [
        f"{usage.prompt_tokens} prompt tokens ({usage.cached_tokens} cached)",
        f"{usage.completion_tokens} completion tokens",
        *([f"control tokens read as text: {usage.neutralized_spans}"] if usage.neutralized_spans else []),
        *([] if first is None else [f"first token after {first:.2f} s"]),
        f"total {timings.total_s:.2f} s",
        end.stop_reason.value,
    ]
    return ", ".join(parts)
