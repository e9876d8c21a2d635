"""An answer's text as it is shown to callers: text, and calls with their verdicts."""

import uuid
from collections.abc import Iterable

from service.api.content import ContentDelta, TextDelta, ToolCallDelta, ToolCallParseStatus
from service.api.tools import ToolCall, ToolCallVerdict
from service.decoding.tools import CallJudge
from service.tool_formats.reading import CallBegun, CallFragment, CallRead, Piece, Text
from service.tool_formats.use import ToolUse


class AnswerReader:
    """Reads one answer. Without tools nothing in it is a call."""

    def __init__(self, use: ToolUse) -> None:
        self._reader = use.reader()
        self._judge = CallJudge(use.tools)
        self._call_id = ""
        self._begun = 0
        self._text: list[str] = []
        self.calls: list[ToolCall] = []

    @property
    def text(self) -> str:
        """What is not a call."""
        return "".join(self._text)

    @property
    def has_calls_to_answer(self) -> bool:
        return any(call.verdict is ToolCallVerdict.COMPLETE for call in self.calls)

    def take(self, text: str) -> list[ContentDelta]:
        if self._reader is None:
            return self._deltas([Text(text)] if text else [], False)
        return self._deltas(self._reader.feed(text), False)

    def close(self, ended_early: bool) -> list[ContentDelta]:
        """What was held back; `ended_early` when a limit or a stop string ended the answer."""
        return self._deltas(self._reader.close(), ended_early) if self._reader else []

    def _deltas(self, pieces: Iterable[Piece], ended_early: bool) -> list[ContentDelta]:
        return [self._delta(piece, ended_early) for piece in pieces]

    def _delta(self, piece: Piece, ended_early: bool) -> ContentDelta:
        match piece:
            case Text(text=text):
                self._text.append(text)
                return TextDelta(text)
            case CallBegun():
                self._begun += 1
                self._call_id = uuid.uuid4().hex
                return self._call_delta(None, ToolCallParseStatus.STARTED)
            case CallFragment(text=fragment):
                return self._call_delta(fragment, ToolCallParseStatus.IN_PROGRESS)
            case CallRead():
                call = self._judge.judge(piece, self._call_id, ended_early)
                self.calls.append(call)
                complete = call.verdict is ToolCallVerdict.COMPLETE
                return self._call_delta(call, ToolCallParseStatus.SUCCEEDED if complete else ToolCallParseStatus.FAILED)

    def _call_delta(self, content: str | ToolCall | None, status: ToolCallParseStatus) -> ToolCallDelta:
        return ToolCallDelta(content, status, self._begun - 1, self._call_id)
