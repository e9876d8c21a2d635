"""What vLLM makes of the tokens of one request: an output for each, for several, or none until it is asked for."""

import sys
from typing import Any

from vllm.v1.engine.async_llm import AsyncLLM

EACH_TOKEN, WHEN_ASKED = 1, sys.maxsize
"""Of vLLM's own interval, in tokens, between two outputs of a request."""


class OutputStream:
    """The outputs of a request that was added to an engine.

    Tokens that are to come in one output cost little until then: an output for each, to be merged with the one before,
    costs a third of all that vLLM does for a token. The output of the last token is always made at once.
    """

    def __init__(self, engine: AsyncLLM, collector: Any) -> None:
        self._collector = collector
        self._state: Any = engine.output_processor.request_states.get(collector.request_id)

    @property
    def request_id(self) -> str:
        """vLLM's own."""
        return str(self._collector.request_id)

    def join(self, tokens: int) -> None:
        """From now on so many tokens make an output; with WHEN_ASKED, all until the next one is asked for."""
        state = self._state
        if not state or state.stream_interval == tokens:
            return
        if state.stream_interval == EACH_TOKEN:
            state.sent_tokens_offset = state.detokenizer.num_output_tokens()
        elif tokens == EACH_TOKEN:
            self._flush()
        state.stream_interval = tokens

    async def next(self) -> Any:
        """All that is there, as one output; waits where nothing is."""
        if self._state and self._state.stream_interval == WHEN_ASKED:
            self.join(EACH_TOKEN)
        return self._collector.get_nowait() or await self._collector.get()

    def _flush(self) -> None:
        """Has an output made of the tokens that none was made of yet."""
        state = self._state
        if tokens := state.detokenizer.output_token_ids[state.sent_tokens_offset :]:
            state.stream_interval = EACH_TOKEN
            # The collector merges it with what it has from before.
            self._collector.put(state.make_request_output(tokens, None, None, None))
