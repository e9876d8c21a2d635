"""What is specific to vLLM, without an engine. Skipped where vLLM isn't installed; importing it takes seconds."""

import pytest

pytest.importorskip("vllm")
