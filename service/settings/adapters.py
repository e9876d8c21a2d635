"""LoRA adapters, which are registered while the server runs."""

from pathlib import Path
from typing import Literal, TypeAlias

from pydantic import Field

from service.settings.section import Section

STATE_FILE = "inferwire-adapters.json"

# Those that vLLM has room for.
AdapterRank: TypeAlias = Literal[1, 8, 16, 32, 64, 128, 256, 320, 512]


class AdapterSettings(Section):
    """Where adapters come from. A model takes them once its `max_adapters` is set."""

    root: Path | None = Field(
        None, description="The folder below which adapters are. Unset: none can be registered while the server runs."
    )
    state_file: Path | None = Field(
        None, description=f"Where registrations are kept for the next start. Unset: `{STATE_FILE}` in the root."
    )
    check_base: bool = Field(
        True, description="Whether to refuse adapters whose adapter_config.json names another base model."
    )

    @property
    def kept_in(self) -> Path | None:
        """The file of the registrations; None where there can be none."""
        return self.state_file or (self.root / STATE_FILE if self.root else None)
