"""What all request shapes have in common."""

from pydantic import BaseModel, ConfigDict

INT32_MAX = 2**31 - 1


class ApiModel(BaseModel):
    """A shape that callers fill in: checked when made, never changed afterwards."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, protected_namespaces=())
