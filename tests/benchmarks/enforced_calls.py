"""Measures tool calls on the bundled model: does each one that is enforced name a tool and fit its schema?

python -m tests.benchmarks.enforced_calls --sets 300

Prints a Markdown table, and each broken promise on standard error. Exits with 1 if there is one. Ctrl-C ends it early;
the table then tells of what there is.
"""

import argparse
import asyncio
import random
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from service.api.chat import ChatCompletionRequest
from service.api.messages import UserMessage
from service.api.sampling import GreedySamplingStrategy, SamplingParams, TopPSamplingStrategy
from service.api.tools import NamedToolChoice, ToolCallVerdict, ToolChoice, ToolConfig, ToolPromptFormat
from service.client import Client
from tests.benchmarks.call_checks import CallAnswer, Demand, call_problems, joined_answer, problems, whole_answer
from tests.benchmarks.tool_sets import ToolSet, tool_set
from tests.serving import LLM, bundled_models, server_process, settings_file

CHOICES = ("required", "named")
FREE = "auto"
WAYS = [(dialect, choice) for dialect in ToolPromptFormat for choice in CHOICES]
# One request in so many has the small budget, asks for a single call, or is not streamed.
SMALL_BUDGET_EVERY, ONE_CALL_EVERY, UNARY_EVERY, GREEDY_EVERY = 8, 3, 4, 2
TIMEOUT_S = 600


@dataclass(frozen=True)
class Case:
    """One request: a set of tools, in a dialect, with a choice. `seed` decides all else."""

    seed: int
    format: ToolPromptFormat
    choice: str
    max_tokens: int

    @property
    def set(self) -> ToolSet:
        return tool_set(self.seed)

    @property
    def one_call(self) -> bool:
        return self.seed % ONE_CALL_EVERY == 0

    @property
    def demand(self) -> Demand:
        schemas = self.set.schemas
        if self.choice == "named":
            schemas = {self.set.named: schemas[self.set.named]}
        return Demand(schemas, self.format, self.one_call or self.choice == "named")

    @property
    def request(self) -> ChatCompletionRequest:
        strategy = GreedySamplingStrategy() if self.seed % GREEDY_EVERY else TopPSamplingStrategy(temperature=1.0)
        return ChatCompletionRequest(
            model_id=LLM,
            messages=(UserMessage(content=self.set.question),),
            sampling_params=SamplingParams(strategy=strategy, seed=self.seed, max_tokens=self.max_tokens),
            tools=self.set.tools,
            tool_config=self._config(),
        )

    def _config(self) -> ToolConfig:
        return ToolConfig(
            tool_choice=NamedToolChoice(tool_name=self.set.named)
            if self.choice == "named"
            else ToolChoice(self.choice),
            tool_prompt_format=self.format,
            parallel_tool_calls=False if self.one_call else None,
        )


@dataclass(frozen=True)
class Result:
    case: Case
    answer: CallAnswer | None
    problems: Sequence[str]


def main() -> None:
    options = _options()
    with _target(options.target) as target:
        results = list[Result]()
        with suppress(KeyboardInterrupt):
            asyncio.run(_measure(target, list(_cases(options)), options.at_once, results))
    print(table(results))
    print(f"\n{len({result.case.seed for result in results})} sets of tools, {len(results)} answers.")
    broken = [result for result in results if result.problems]
    for result in broken:
        print(f"{result.case}: {'; '.join(result.problems)}", file=sys.stderr)
    sys.exit(bool(broken))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.enforced_calls", description=__doc__)
    parser.add_argument("--sets", type=int, default=300, help="how many sets of tools (default: 300)")
    parser.add_argument("--first", type=int, default=0, help="the seed of the first set (default: 0)")
    parser.add_argument("--free-sets", type=int, default=0, help="how many of them are also sent with the choice auto")
    parser.add_argument("--max-tokens", type=int, default=128, help="the budget of an answer (default: 128)")
    parser.add_argument("--small-budget", type=int, default=12, help="the budget of one in eight (default: 12)")
    parser.add_argument("--at-once", type=int, default=16, help="requests under way at a time (default: 16)")
    parser.add_argument("--target", help="a running server, as host:port; one is started for the measurement otherwise")
    return parser.parse_args()


def _cases(options: argparse.Namespace) -> Iterator[Case]:
    """Each set once, then each set once more in another way: wherever it is ended, many sets have been tried."""
    seeds = range(options.first, options.first + options.sets)
    ways = {seed: random.Random(seed).sample(WAYS, len(WAYS)) for seed in seeds}
    for number in range(len(WAYS)):
        for seed in seeds:
            small = seed % SMALL_BUDGET_EVERY == 0
            yield Case(seed, *ways[seed][number], options.small_budget if small else options.max_tokens)
    for seed in seeds[: options.free_sets]:
        for dialect in ToolPromptFormat:
            yield Case(seed, dialect, FREE, options.max_tokens)


@contextmanager
def _target(running: str | None) -> Iterator[str]:
    if running:
        yield running
        return
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with server_process(folder, "--config", settings_file(folder, bundled_models()[:1])) as server:
            server.wait_until_serving()
            yield server.target


async def _measure(target: str, cases: Sequence[Case], at_once: int, results: list[Result]) -> None:
    """`at_once` at a time, so that the engine always has a batch. Adds to `results` as they come."""
    waiting, begun_s = iter(cases), time.monotonic()

    async def work(client: Client) -> None:
        for case in waiting:
            results.append(await _result(client, case))
            shown = f"{len(results)}/{len(cases)}, {sum(bool(r.problems) for r in results)} with problems"
            print(f"\r{shown}, {time.monotonic() - begun_s:.0f} s ", end="", file=sys.stderr, flush=True)

    async with Client(target) as client, asyncio.TaskGroup() as group:
        for _ in range(at_once):
            group.create_task(work(client))
    print(file=sys.stderr)


async def _result(client: Client, case: Case) -> Result:
    try:
        answer = await _answer(client, case)
    except Exception as error:  # a refusal, or a failure: either is a finding
        return Result(case, None, [f"{type(error).__name__}: {error}"])
    if case.choice == FREE:
        return Result(
            case, answer, [problem for call in answer.calls for problem in call_problems(call, case.set.schemas)]
        )
    return Result(case, answer, problems(answer, case.demand))


async def _answer(client: Client, case: Case) -> CallAnswer:
    if case.seed % UNARY_EVERY == 0:
        return whole_answer(await client.chat(case.request, timeout_s=TIMEOUT_S))
    return await joined_answer(client.stream_chat(case.request, timeout_s=TIMEOUT_S))


COLUMNS = (
    "Format",
    "Choice",
    "Answers",
    "Calls",
    "Complete and valid",
    "Truncated by the budget",
    "Anything else",
    "Valid calls in answers within the budget",
)


def table(results: Sequence[Result]) -> str:
    """One row for each format and choice."""
    groups: defaultdict[tuple[str, str], list[Result]] = defaultdict(list)
    for result in results:
        groups[result.case.choice, result.case.format].append(result)
    order = [(choice, dialect) for choice in (*CHOICES, FREE) for dialect in ToolPromptFormat]
    rows = [_row(dialect, choice, groups[choice, dialect]) for choice, dialect in order if (choice, dialect) in groups]
    ruled = ["---", "---"] + ["---:"] * (len(COLUMNS) - 2)
    return "\n".join(f"| {' | '.join(row)} |" for row in (COLUMNS, ruled, *rows))


def _row(dialect: str, choice: str, results: Sequence[Result]) -> list[str]:
    answers = [result.answer for result in results if result.answer]
    verdicts = Counter(call.verdict for answer in answers for call in answer.calls)
    complete, truncated = verdicts[ToolCallVerdict.COMPLETE], verdicts[ToolCallVerdict.TRUNCATED]
    broken = sum(bool(result.problems) for result in results)
    other = max(broken, verdicts.total() - complete - truncated)
    counts = (len(results), verdicts.total(), complete, truncated, other)
    return [f"`{dialect}`", f"`{choice}`", *map(str, counts), _success(answers)]


def _success(answers: Sequence[CallAnswer]) -> str:
    """Of the answers that the budget didn't end, those with at least one valid call."""
    ended = [answer for answer in answers if not answer.out_of_tokens]
    calling = sum(answer.count(ToolCallVerdict.COMPLETE) > 0 for answer in ended)
    return f"{calling} of {len(ended)}" + (f" ({calling / len(ended):.0%})" if ended else "")


if __name__ == "__main__":
    main()
