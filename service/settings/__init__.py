"""What an operator can set: by flag, environment variable or YAML file, in this order of precedence.

Loaded once, frozen, passed on by constructor. A nested setting such as `server.grace_s` is the flag `--server-grace-s`,
the variable `INFERWIRE_SERVER__GRACE_S`, and in YAML `server: {grace_s: 30}`. A list in a flag or variable has commas.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from enum import StrEnum
from pathlib import Path
from typing import Any, Self

from pydantic import Field, model_validator
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    YamlConfigSettingsSource,
)

from service.api.models import ModelType
from service.api.tools import ToolPromptFormat
from service.settings.access import (
    ADMIN_SERVICE,
    REGISTRATION_METHODS,
    AnonymousSettings,
    AuthSettings,
    IdentitySettings,
    names_method,
)
from service.settings.adapters import AdapterRank, AdapterSettings
from service.settings.images import ImageSettings
from service.settings.layout import Layout, layout_of
from service.settings.quantization import QuantizationSettings, QuantizationType
from service.settings.section import Section
from service.settings.transport import MetricsSettings, ServerSettings, TlsSettings, TracesSettings

NO_REASONING = "none"
"""The name of the reasoning parser that isn't one."""

# Of vLLM, and ours to set.
ADAPTER_ARGS = {"enable_lora", "max_cpu_loras", "max_lora_rank", "max_loras"}


class EngineFailurePolicy(StrEnum):
    RESTART = "restart"
    EXIT = "exit"


class FailedLoadPolicy(StrEnum):
    SERVE_OTHERS = "serve_others"
    EXIT = "exit"


class EngineSettings(Section):
    """What happens when an engine dies or stalls, or can't be started."""

    on_failed_load: FailedLoadPolicy = Field(
        FailedLoadPolicy.SERVE_OTHERS,
        description="When one of several models can't be loaded: `serve_others` serves those that can, `exit` ends the "
        "server, so that a rollout stops.",
    )

    on_failure: EngineFailurePolicy = Field(
        EngineFailurePolicy.RESTART,
        description="`restart` brings the engine back, `exit` ends the server for its supervisor to start again.",
    )
    max_restarts: int = Field(
        3,
        ge=0,
        description="The most restarts of an engine in a period. Then the server exits, or goes on with its other "
        "models, and tries again when the period allows it.",
    )
    restart_period_s: float = Field(3600.0, gt=0, description="The period that restarts are counted in, in seconds.")
    restart_backoff_s: float = Field(
        1.0, ge=0, description="Seconds before the first restart of a period; twice as long before each further one."
    )
    stall_timeout_s: float = Field(
        30.0,
        gt=0,
        description="An engine that is silent for so many seconds is ended; its longest step must be shorter.",
    )


class LimitSettings(Section):
    max_request_bytes: int = Field(16 * 1024 * 1024, ge=1024, description="The largest request, in bytes.")
    max_elements: int = Field(
        10_000, ge=1, description="The most elements in all lists and maps of a request together."
    )
    max_messages: int = Field(2048, ge=1, description="The most messages of one conversation.")
    max_contents: int = Field(2048, ge=1, description="The most contents of one Embeddings call.")
    max_stream_items: int = Field(
        512, ge=1, description="The most items of one StreamEmbeddings call that are under way."
    )
    max_stream_bytes: int = Field(
        8 * 1024 * 1024, ge=1, description="The most bytes of them; beyond it no further item is read."
    )
    max_constraint_bytes: int = Field(
        64 * 1024, ge=1, description="The most bytes of a schema, grammar or regular expression."
    )
    max_documents: int = Field(2048, ge=1, description="The most pairs or documents of one Score or Rerank call.")
    max_tokenized_tokens: int = Field(131_072, ge=1, description="The most tokens of one Tokenize or Detokenize call.")
    max_images: int = Field(16, ge=1, description="The most images of one request.")
    max_image_bytes: int = Field(
        16 * 1024 * 1024, ge=1, description="The most bytes of all images of one request, as files."
    )
    max_image_pixels: int = Field(
        32_000_000,
        ge=1,
        description="The most pixels of all images of one request; each takes up to 7 bytes for a while.",
    )


class ModelLimitSettings(Section):
    """Those of the server's limits that a model may have for itself; what is unset is the server's."""

    max_messages: int | None = Field(None, ge=1, description="The most messages of one conversation. Of `llm`.")
    max_constraint_bytes: int | None = Field(
        None, ge=1, description="The most bytes of a schema, grammar or regular expression. Of `llm`."
    )
    max_contents: int | None = Field(
        None, ge=1, description="The most contents of one Embeddings call. Of `embedding`."
    )
    max_documents: int | None = Field(
        None, ge=1, description="The most pairs or documents of one Score or Rerank call. Of `embedding` and `scoring`."
    )


class LogSettings(Section):
    level: str = Field("info", pattern="^(debug|info|warning|error)$", description="The least severe level to log.")
    json_lines: bool = Field(False, description="Whether to log JSON, one object a line.")
    engine_log: Path | None = Field(
        None, description="A file for the engines' own output. Unset: it goes to standard error."
    )


class EngineKind(StrEnum):
    VLLM = "vllm"
    SCRIPTED = "scripted"


class AdmissionSettings(Section):
    """How much work a model has at a time. A request's tokens are its prompt's, and its `max_tokens` if it has any."""

    max_running_requests: int | None = Field(
        None, ge=1, description="The most requests that the engine works on. Unset: as many as it batches."
    )
    max_running_tokens: int | None = Field(
        None, ge=1, description="The most tokens of requests that the engine works on. Unset: as its cache holds."
    )
    max_queued_requests: int = Field(512, ge=0, description="The most requests that wait for the engine.")
    max_queued_tokens: int = Field(1_000_000, ge=0, description="The most tokens of requests that wait.")


class MachineSettings(Section):
    """The machines of a model that runs on several, which `inferwire join` starts on all but the first."""

    port: int = Field(
        29450, ge=1, le=65535, description="Where the others report to the first machine, for as long as they run."
    )
    timeout_s: float = Field(600.0, gt=0, description="How long a start waits for all of them to report.")


LIMITS_OF_TYPE = {
    ModelType.LLM: {"max_messages", "max_constraint_bytes"},
    ModelType.EMBEDDING: {"max_contents", "max_documents"},
    ModelType.SCORING: {"max_documents"},
}
# By which vLLM is told to quantise.
QUANTIZING_ARGS = {"quantization", "quantization_config"}


class ModelSettings(Section):
    """A model to serve."""

    path: str = Field(min_length=1, description="A folder, or a Hugging Face name.")
    id: str = Field("", description="The name that requests use. Empty: the last part of the path.")
    type: ModelType = Field(ModelType.LLM, description="`llm`, `embedding`, or `scoring` for a cross-encoder.")
    engine: EngineKind = Field(EngineKind.VLLM, description="`vllm`, or `scripted` for tests without a model.")
    tool_prompt_format: ToolPromptFormat | None = Field(
        None,
        description="The dialect of tool calls for requests that name none: `json`, `function_tag` or `python_list`. "
        "Unset: the chat template's own, else what the model's family was trained on, else `json`.",
    )
    prompt_date: str | None = Field(
        None,
        min_length=1,
        description="The date that tool prompts in the manner of Llama 3.1 tell: a text such as `22 November 2026`, or "
        "`today` for the clock's (UTC), which defeats the prefix cache once a day. Unset: none.",
    )
    knowledge_cutoff: str = Field("December 2023", description="The knowledge cutoff that is told with `prompt_date`.")
    reasoning_parser: str | None = Field(
        None,
        min_length=1,
        description="Which marks the model's thoughts stand between: those of a reasoning parser of vLLM's by name, "
        "such as `deepseek_r1`, or `none` for a model whose thoughts are a part of its answers. Unset: those that its "
        "chat template writes.",
    )
    quantization: QuantizationSettings | None = Field(
        None, description="What the model's weights shall be. Unset: what its files hold."
    )
    max_adapters: int = Field(0, ge=0, description="The most LoRA adapters that the model takes at a time.")
    max_lora_rank: AdapterRank = Field(16, description="The highest rank of an adapter; vLLM has fixed steps.")
    admission: AdmissionSettings = AdmissionSettings()
    machines: MachineSettings = MachineSettings()
    limits: ModelLimitSettings = ModelLimitSettings()
    engine_args: dict[str, Any] = Field(
        default_factory=dict, description="Passed to the engine as they are (vLLM's AsyncEngineArgs)."
    )

    @model_validator(mode="after")
    def _can_take_adapters(self) -> Self:
        if self.max_adapters and self.type is not ModelType.LLM:
            raise ValueError("max_adapters: only language models take adapters")
        if self.max_adapters and (both := sorted(ADAPTER_ARGS & self.engine_args.keys())):
            raise ValueError(f"engine_args: {', '.join(both)} follow from max_adapters and max_lora_rank")
        return self

    @model_validator(mode="after")
    def _name_after_path(self) -> Self:
        if not self.id:
            object.__setattr__(self, "id", self.path.rstrip("/").rsplit("/", 1)[-1])
        return self

    def limits_within(self, server: LimitSettings) -> LimitSettings:
        """The server's limits, with the model's own in their place."""
        return server.model_copy(update=self.limits.model_dump(exclude_none=True))

    @model_validator(mode="after")
    def _limits_are_of_its_type(self) -> Self:
        for name in sorted(self.limits.model_dump(exclude_none=True).keys() - LIMITS_OF_TYPE.get(self.type, set())):
            raise ValueError(f"limits.{name} means nothing to a model of the type {self.type}")
        return self

    @model_validator(mode="after")
    def _layout_is_possible(self) -> Self:
        if self.engine is EngineKind.VLLM:
            layout_of(self.engine_args)
        return self

    @property
    def layout(self) -> Layout:
        return layout_of(self.engine_args) if self.engine is EngineKind.VLLM else Layout()

    @model_validator(mode="after")
    def _quantised_in_one_way(self) -> Self:
        if self.quantization is None:
            return self
        if self.engine is EngineKind.SCRIPTED:
            raise ValueError("quantization: a scripted model has no weights")
        for name in sorted(QUANTIZING_ARGS & self.engine_args.keys()):
            raise ValueError(f"quantization and engine_args.{name} say the same twice: leave one of them out")
        if "quantization_config" in (self.engine_args.get("hf_overrides") or {}):
            raise ValueError("quantization and engine_args.hf_overrides.quantization_config contradict each other")
        dtype = self.engine_args.get("dtype", "bfloat16")
        if self.quantization.type is QuantizationType.BF16 and dtype != "bfloat16":
            raise ValueError(f"quantization is bf16, and engine_args.dtype {dtype}: leave one of them out")
        return self


class Settings(BaseSettings):
    """Everything that can be set."""

    model_config = SettingsConfigDict(
        env_prefix="INFERWIRE_",
        env_nested_delimiter="__",
        frozen=True,
        extra="forbid",
        protected_namespaces=(),
        nested_model_default_partial_update=True,
        hide_input_in_errors=True,
    )

    server: ServerSettings = ServerSettings()
    tls: TlsSettings = TlsSettings()
    auth: AuthSettings = AuthSettings()
    anonymous: AnonymousSettings = AnonymousSettings()
    identities: tuple[IdentitySettings, ...] = Field((), description="The callers that the server knows by name.")
    limits: LimitSettings = LimitSettings()
    images: ImageSettings = ImageSettings()
    engine: EngineSettings = EngineSettings()
    log: LogSettings = LogSettings()
    metrics: MetricsSettings = MetricsSettings()
    traces: TracesSettings = TracesSettings()
    adapters: AdapterSettings = AdapterSettings()
    models: tuple[ModelSettings, ...] = Field((), description="The models to serve.")

    @property
    def anonymous_allowed(self) -> bool:
        """Whether callers of no identity are served."""
        return not self.identities if self.anonymous.allowed is None else self.anonymous.allowed

    @property
    def open_to_all(self) -> bool:
        """Whether nothing at all keeps callers apart."""
        return not self.identities and self.tls.client_ca is None

    @property
    def models_known_to_all(self) -> bool:
        """Whether everybody who reaches the server may know of every model."""
        return self.anonymous_allowed and "*" in self.anonymous.models

    @property
    def _spread(self) -> Iterable[ModelSettings]:
        return (model for model in self.models if model.layout.nodes > 1)

    @model_validator(mode="after")
    def _identifiers_differ(self) -> Self:
        if twice := _twice(model.id for model in self.models):
            raise ValueError(f"two models have the same id: {twice}; set `id` to tell them apart")
        if twice := _twice(f"{model.layout.address}:{model.machines.port}" for model in self._spread):
            raise ValueError(f"the machines of two models report at the same place: {twice}; set `machines.port`")
        if twice := _twice(identity.name for identity in self.identities):
            raise ValueError(f"two identities have the same name: {twice}")
        if _twice(identity.token.get_secret_value() for identity in self.identities if identity.token):
            raise ValueError("two identities have the same token")
        return self

    @model_validator(mode="after")
    def _identities_can_be_proven(self) -> Self:
        names = self.auth.jwt.jwks_file or self.auth.metadata_key
        subjects = any(identity.subjects for identity in self.identities)
        if subjects and not names:
            raise ValueError("the `subjects` of identities need `auth.jwt.jwks_file` or `auth.metadata_key`")
        if names and not subjects:
            raise ValueError("`auth` names callers, but no identity has `subjects`; those of ['*'] are everybody")
        if any(identity.sans for identity in self.identities) and not self.tls.client_ca:
            raise ValueError("the `sans` of identities need `tls.client_ca`")
        return self

    @model_validator(mode="after")
    def _adapters_have_a_folder(self) -> Self:
        if self.adapters.root is None:
            if self.adapters.state_file:
                raise ValueError("adapters.state_file: set adapters.root, below which the adapters are")
            if takers := [model.id for model in self.models if model.max_adapters]:
                raise ValueError(f"models: {', '.join(takers)} have max_adapters, but adapters.root is not set")
        return self

    @model_validator(mode="after")
    def _administration_is_not_open(self) -> Self:
        patterns = self.anonymous.methods or ()
        if self.open_to_all:
            return self
        if any(pattern.startswith(ADMIN_SERVICE) for pattern in patterns):
            raise ValueError(f"anonymous.methods: {ADMIN_SERVICE} is for identities, where there are any")
        if any(names_method(pattern, method) for pattern in patterns for method in REGISTRATION_METHODS):
            raise ValueError(
                "anonymous.methods: RegisterModel and UnregisterModel are for identities, where there are any"
            )
        return self

    @model_validator(mode="after")
    def _not_reached_unencrypted(self) -> Self:
        if not (self.server.stays_on_this_machine or self.tls.certificate or self.server.allow_insecure):
            raise ValueError(
                f"server.address: {self.server.address} can be reached from other machines, and nothing encrypts. Set "
                "tls.certificate and tls.key, or server.allow_insecure where a mesh or a proxy encrypts"
            )
        return self


def _twice(texts: Iterable[str]) -> str:
    """Those that occur more than once."""
    return ", ".join(sorted(text for text, count in Counter(texts).items() if count > 1))


def load_settings(config_file: Path | None = None, flags: Mapping[str, Any] | None = None) -> Settings:
    """Settings from flags, then the environment, then the file; the first that says something wins.

    `flags` holds only what was given, nested as the settings are. Raises FileNotFoundError for a missing file and
    pydantic's ValidationError for anything else.
    """
    if config_file is not None and not config_file.is_file():
        raise FileNotFoundError(f"There is no settings file at {config_file}.")

    class FromSources(Settings):
        @classmethod
        def settings_customise_sources(
            cls,
            settings_cls: type[BaseSettings],
            init_settings: PydanticBaseSettingsSource,
            env_settings: PydanticBaseSettingsSource,
            dotenv_settings: PydanticBaseSettingsSource,
            file_secret_settings: PydanticBaseSettingsSource,
        ) -> tuple[PydanticBaseSettingsSource, ...]:
            return init_settings, env_settings, YamlConfigSettingsSource(settings_cls, yaml_file=config_file)

    return FromSources(**(flags or {}))
