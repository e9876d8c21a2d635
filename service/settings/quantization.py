"""How a model's weights shall be quantised."""

from enum import StrEnum
from typing import Self

from pydantic import Field, model_validator

from service.settings.section import Section


class QuantizationType(StrEnum):
    BF16 = "bf16"
    FP8 = "fp8"
    INT8 = "int8"
    INT4 = "int4"


class QuantizationScheme(StrEnum):
    INT4_WEIGHT_INT8_DYNAMIC_ACTIVATION = "int4_weight_int8_dynamic_activation"
    INT4_WEIGHT_FP8_DYNAMIC_ACTIVATION = "int4_weight_fp8_dynamic_activation"
    INT4_WEIGHT_ONLY = "int4_weight_only"
    INT8_WEIGHT_INT8_DYNAMIC_ACTIVATION = "int8_weight_int8_dynamic_activation"
    INT8_WEIGHT_INT8_STATIC_ACTIVATION = "int8_weight_int8_static_activation"
    INT8_WEIGHT_ONLY = "int8_weight_only"


DEFAULT_SCHEMES = {
    QuantizationType.INT4: QuantizationScheme.INT4_WEIGHT_INT8_DYNAMIC_ACTIVATION,
    QuantizationType.INT8: QuantizationScheme.INT8_WEIGHT_INT8_DYNAMIC_ACTIVATION,
}


class QuantizationSettings(Section):
    """What the weights of a model shall be; the start fails where they can't be."""

    type: QuantizationType = Field(
        description="`bf16`: not quantised. `fp8`: quantised while it loads, or a model that is already. `int8` and "
        "`int4`: a model that is already."
    )
    scheme: QuantizationScheme | None = Field(
        None, description="Of `int8` and `int4`. Unset: with 8-bit activations that are quantised as they come."
    )

    @property
    def full_scheme(self) -> QuantizationScheme | None:
        """With the default; None where there are no schemes."""
        return self.scheme or DEFAULT_SCHEMES.get(self.type)

    @model_validator(mode="after")
    def _scheme_is_of_the_type(self) -> Self:
        if self.scheme and not self.scheme.startswith(f"{self.type}_"):
            raise ValueError(f"`scheme: {self.scheme}` is none of `type: {self.type}`")
        return self
