"""What all request shapes have in common."""

from pydantic import BaseModel, ConfigDict


class ApiModel(BaseModel):
    """A shape that callers fill in: checked when made, never changed afterwards."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, protected_namespaces=())
