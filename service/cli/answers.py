"""Prints an answer while it is generated: its text on standard output; thoughts and all else on standard error."""

import sys
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass, field

import rich_click as click

from service.api.content import ReasoningDelta, TextDelta, ToolCallDelta
from service.api.events import Complete, Event, Progress
from service.api.messages import CompletionMessage, StopReason
from service.api.response_format import ConstraintOutcome
from service.api.tools import ToolCall, ToolCallVerdict
from service.cli.waiting import waiting


@dataclass(slots=True)
class Answer:
    """What a model has said."""

    reasoning: str = ""
    text: str = ""
    calls: list[ToolCall] = field(default_factory=list)
    stop_reason: StopReason = StopReason.END_OF_TURN
    thoughts_over: bool = False
    """Whether it has gone on to what comes behind them."""

    def message(self) -> CompletionMessage:
        return CompletionMessage(
            content=self.text, stop_reason=self.stop_reason, tool_calls=tuple(self.calls), reasoning=self.reasoning
        )


async def print_answer(events: AsyncGenerator[Event, None], show_usage: bool) -> Answer:
    """Prints text as it comes and calls when they are whole. Stopped early, it cancels the call."""
    answer = Answer()
    async with waiting("Waiting for the first token") as over, aclosing(events):
        async for event in events:
            over()
            match event:
                case Progress(delta=ReasoningDelta(text=thought)):
                    answer.reasoning += thought
                    click.secho(thought, dim=True, nl=False, err=True)
                case Progress(delta=TextDelta(text=new)):
                    _end_thoughts(answer)
                    answer.text += new
                    sys.stdout.write(new)
                    sys.stdout.flush()
                case Progress(delta=ToolCallDelta(tool_call=ToolCall() as call)):
                    _end_thoughts(answer)
                    if answer.text and not answer.calls:
                        click.echo()
                    answer.calls.append(call)
                    _print_call(call)
                case Complete():
                    _end_thoughts(answer)
                    answer.stop_reason = event.stop_reason
                    if not answer.calls:
                        click.echo()
                    _print_end(event, show_usage)
    return answer


def _end_thoughts(answer: Answer) -> None:
    """Sets what comes first behind the thoughts apart from them."""
    if answer.reasoning and not answer.thoughts_over:
        click.echo(err=True)
    answer.thoughts_over = True


def _print_call(call: ToolCall) -> None:
    complete = call.verdict is ToolCallVerdict.COMPLETE
    name = click.style(call.tool_name or "?", bold=True)
    verdict = click.style(call.verdict or "", fg="green" if complete else "red")
    click.echo(f"call {name} {call.arguments_json} {verdict}", err=True)
    if not complete:
        click.secho(f"  {call.problem}", err=True)
        click.secho(f"  {call.raw_text}", dim=True, err=True)


def _print_end(end: Complete, show_usage: bool) -> None:
    if end.constraint_outcome not in (None, ConstraintOutcome.SATISFIED):
        click.secho(
            f"The answer is {end.constraint_outcome}: it doesn't have the shape asked for.", fg="yellow", err=True
        )
    if end.reasoning_truncated:
        click.secho("A limit broke the thoughts off.", fg="yellow", err=True)
    if show_usage:
        click.secho(usage_line(end), dim=True, err=True)


def usage_line(end: Complete) -> str:
    usage, timings = end.usage, end.timings
    first = timings.time_to_first_token_s
    parts = [
        f"{usage.prompt_tokens} prompt tokens ({usage.cached_tokens} cached)",
        f"{usage.completion_tokens} completion tokens",
        *([f"of these {usage.reasoning_tokens} to think"] if usage.reasoning_tokens else []),
        *([f"control tokens read as text: {usage.neutralized_spans}"] if usage.neutralized_spans else []),
        *([] if first is None else [f"first token after {first:.2f} s"]),
        f"total {timings.total_s:.2f} s",
        end.stop_reason.value,
    ]
    return ", ".join(parts)
