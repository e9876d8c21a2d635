"""How a request uses its tools: which ones, how freely, and in which dialect."""

from collections.abc import Sequence
from dataclasses import dataclass

from service.api.tools import (
    NamedToolChoice,
    SystemMessageBehavior,
    ToolChoice,
    ToolConfig,
    ToolName,
    ToolPromptFormat,
)
from service.errors import InvalidConstraint, InvalidField
from service.tool_formats import builtin, python_list
from service.tool_formats.builtin import BuiltinReader
from service.tool_formats.constraining import Format, one_of
from service.tool_formats.dialects import PROMPTED, Dialect, PromptedDialect
from service.tool_formats.enforced_reader import EnforcedReader
from service.tool_formats.native import NativeDialect
from service.tool_formats.python_grammar import UnwritableSchema, check_arguments
from service.tool_formats.reading import Reader
from service.tool_formats.tools import Tool


@dataclass(frozen=True, slots=True)
class ModelDialects:
    """What a model can be spoken to in: its chat template's own dialect, if it has one, and the next best."""

    native: NativeDialect | None
    fallback: ToolPromptFormat


@dataclass(frozen=True, slots=True)
class ToolUse:
    """`tools` are those that the model is told about: none under the choice NONE."""

    tools: tuple[Tool, ...]
    choice: ToolChoice | NamedToolChoice
    several: bool
    """Whether one answer may hold several calls."""
    native: NativeDialect | None
    """The model's own dialect, where that is the one in use."""
    format: ToolPromptFormat
    """The dialect in use, and the one for what the native one doesn't cover."""
    behavior: SystemMessageBehavior

    @property
    def builtin(self) -> list[Tool]:
        return [tool for tool in self.tools if tool.builtin]

    @property
    def custom(self) -> list[Tool]:
        return [tool for tool in self.tools if not tool.builtin]

    @property
    def prompted(self) -> PromptedDialect:
        return PROMPTED[self.format]

    @property
    def dialect(self) -> Dialect:
        return self.native or self.prompted

    @property
    def must_call(self) -> bool:
        return bool(self.tools) and self.choice is not ToolChoice.AUTO

    def reader(self) -> Reader | None:
        """Reads an answer; None where nothing in it can be a call."""
        if not self.tools:
            return None
        return EnforcedReader(self._dialect_reader()) if self.must_call else self._dialect_reader()

    def _dialect_reader(self) -> Reader:
        names = [tool.name for tool in self.custom]
        if not self.builtin:
            return self.dialect.reader(names)
        return BuiltinReader([tool.name for tool in self.builtin], lambda: self.dialect.reader(names))

    def constraint(self, text_format: Format | None = None) -> Format | None:
        """What the answer is held to; None for nothing. With `text_format`, one without calls has to fit that."""
        if self.must_call:
            return self._calls(self._eligible())
        if text_format is not None:
            return one_of([self._calls(self.tools), text_format])
        return self.dialect.once_begun(self.custom, self.several) if self.custom else None

    def _eligible(self) -> Sequence[Tool]:
        if isinstance(self.choice, NamedToolChoice):
            return [tool for tool in self.tools if tool.name == self.choice.tool_name]
        return self.tools

    def _calls(self, tools: Sequence[Tool]) -> Format:
        """Calls and nothing else; exactly one of a tool that was named."""
        custom = [tool for tool in tools if not tool.builtin]
        several = self.several and not isinstance(self.choice, NamedToolChoice)
        formats = builtin.enforced([tool for tool in tools if tool.builtin])
        return one_of([*formats, *([self.dialect.enforced(custom, several)] if custom else [])])


NO_TOOLS = ToolUse((), ToolChoice.AUTO, True, None, ToolPromptFormat.JSON, SystemMessageBehavior.APPEND)


def tool_use(tools: Sequence[Tool], config: ToolConfig | None, dialects: ModelDialects) -> ToolUse:
    """Applies the defaults.

    Raises InvalidField for a choice that the tools don't allow, InvalidConstraint for tools the dialect can't call.
    """
    config = config or ToolConfig()
    choice = config.tool_choice or ToolChoice.AUTO
    _check_choice(choice, [tool.name for tool in tools])
    listed = () if choice is ToolChoice.NONE else tuple(tools)
    behavior = config.system_message_behavior or SystemMessageBehavior.APPEND
    use = ToolUse(
        tools=listed,
        choice=choice,
        several=config.parallel_tool_calls is not False,
        native=dialects.native if _speaks_natively(config, listed, behavior) else None,
        format=config.tool_prompt_format or dialects.fallback,
        behavior=behavior,
    )
    if use.dialect is python_list:
        _check_writable(listed)
    return use


def _check_writable(tools: Sequence[Tool]) -> None:
    for index, tool in enumerate(tools):
        try:
            check_arguments(tool)
        except UnwritableSchema as error:
            raise InvalidConstraint(f"tools[{index}].input_schema_json", f"In this format, {error}") from None


def _speaks_natively(config: ToolConfig, tools: Sequence[Tool], behavior: SystemMessageBehavior) -> bool:
    """A template has no place for built-in tools, nor for a description of the tools where the caller wants it."""
    asked_otherwise = config.tool_prompt_format is not None or behavior is SystemMessageBehavior.REPLACE
    return not asked_otherwise and not any(tool.builtin for tool in tools)


def _check_choice(choice: ToolChoice | NamedToolChoice, names: Sequence[ToolName]) -> None:
    if choice is ToolChoice.REQUIRED and not names:
        raise InvalidField("tool_config.choice", "A call is required, but the request lists no tools.")
    if isinstance(choice, NamedToolChoice) and choice.tool_name not in names:
        listed = ", ".join(names) or "none"
        raise InvalidField(
            "tool_config.named_tool", f"{choice.tool_name} is not one of the request's tools, which are: {listed}."
        )
