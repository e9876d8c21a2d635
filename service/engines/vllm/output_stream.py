"""What vLLM makes of the tokens of one request: an output for each step, or none until it is asked for."""

import sys
from typing import Any

from vllm.v1.engine.async_llm import AsyncLLM

EACH_STEP, WHEN_ASKED = 1, sys.maxsize
"""vLLM's own interval, in tokens, between two outputs of a request."""


class OutputStream:
    """The outputs of a request that was added to an engine.

    While it is held, vLLM only decodes the tokens: an output for each, to be merged with the one before, costs a
    third of all that it does for a token. The output of the last token is always made at once.
    """

    def __init__(self, engine: AsyncLLM, collector: Any) -> None:
        self._collector = collector
        self._state: Any = engine.output_processor.request_states.get(collector.request_id)

    @property
    def request_id(self) -> str:
        """vLLM's own."""
        return str(self._collector.request_id)

    def hold(self) -> None:
        """Until the next output is asked for."""
        state = self._state
        if state and state.stream_interval == EACH_STEP:
            state.sent_tokens_offset = state.detokenizer.num_output_tokens()
            state.stream_interval = WHEN_ASKED

    async def next(self) -> Any:
        """All that is there, as one output; waits where nothing is."""
        self._release()
        return self._collector.get_nowait() or await self._collector.get()

    def _release(self) -> None:
        state = self._state
        if not state or state.stream_interval == EACH_STEP:
            return
        state.stream_interval = EACH_STEP
        if tokens := state.detokenizer.output_token_ids[state.sent_tokens_offset :]:
            # The collector merges it with what it has from before it was held.
            self._collector.put(state.make_request_output(tokens, None, None, None))
