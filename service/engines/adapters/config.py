"""adapter_config.json, as PEFT writes it: what of it is taken, and what an engine would leave out without a word."""

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from service.engines.base import AdapterHost
from service.errors import ModelNotLoadable

CONFIG_FILE = "adapter_config.json"
Rank = Annotated[int, Field(ge=1, strict=True)]
# Each would have to change how the base is computed.
UNSUPPORTED = (
    "alora_invocation_tokens",
    "layer_replication",
    "lora_bias",
    "modules_to_save",
    "trainable_token_indices",
    "use_bdlora",
    "use_dora",
    "use_qalora",
)


class AdapterConfig(BaseModel):
    """The part of it that says what the adapter's tensors mean."""

    model_config = ConfigDict(frozen=True, extra="allow", protected_namespaces=())

    peft_type: str
    r: Rank
    lora_alpha: Annotated[float, Field(gt=0, allow_inf_nan=False)]
    target_modules: list[str] | str | None
    bias: str = "none"
    rank_pattern: dict[str, Rank] | None = None
    base_model_name_or_path: str | None = None

    @property
    def ranks(self) -> set[int]:
        return {self.r, *(self.rank_pattern or {}).values()}


def read_config(text: bytes, host: AdapterHost, *, check_base: bool) -> AdapterConfig:
    """Raises ModelNotLoadable."""
    try:
        config = AdapterConfig.model_validate_json(text)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(map(str, first["loc"]))
        raise _refusal(f"{where}: {first['msg']}." if where else f"{first['msg']}.") from None
    except RecursionError:
        raise _refusal("It is nested too deeply.") from None
    _check_kind(config, config.model_extra or {})
    if (highest := max(config.ranks)) > host.rank:
        raise _refusal(f"r: the rank is {highest}; the base takes at most {host.rank} (max_lora_rank).")
    if check_base:
        _check_base(config.base_model_name_or_path, host)
    _check_targets(config.target_modules, host)
    return config


def _check_kind(config: AdapterConfig, others: dict[str, Any]) -> None:
    if config.peft_type != "LORA":
        raise _refusal(f"peft_type: {config.peft_type!r}; only LORA is taken.")
    if config.bias != "none":
        raise _refusal("bias: adapters with a bias are not taken.")
    if given := [name for name in UNSUPPORTED if others.get(name)]:
        raise _refusal(f"{given[0]}: the engine doesn't know it.")


def _check_base(name: str | None, host: AdapterHost) -> None:
    """By the last part: one who trains, and one who serves, keep the same model in different folders."""
    if name and _last_part(name) not in host.names:
        raise _refusal(f"base_model_name_or_path: it was trained on {name!r}, which the base is not (check_base).")


def _check_targets(targets: list[str] | str | None, host: AdapterHost) -> None:
    """A text is a regular expression, or says that all are meant; the tensors tell which they are."""
    if host.modules is None or not isinstance(targets, list):
        return
    endings = {ending for name in host.modules for ending in _endings(name)}
    if unknown := [target for target in targets if target not in endings]:
        raise _refusal(f"target_modules: the base has no {unknown[0]!r}.")


def _endings(name: str) -> list[str]:
    parts = name.split(".")
    return [".".join(parts[start:]) for start in range(len(parts))]


def _last_part(name: str) -> str:
    return name.rstrip("/").rsplit("/", 1)[-1].lower()


def host_names(*names: str) -> frozenset[str]:
    """Those by which an adapter may call its base."""
    return frozenset(_last_part(name) for name in names if name)


def _refusal(text: str) -> ModelNotLoadable:
    return ModelNotLoadable(f"{CONFIG_FILE}: {text}")
