"""Whether the files of each model are there and can be read."""

import json
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from service.api.models import ModelType
from service.cli.diagnosis.finding import Finding, Level, ok, problem, warning
from service.cli.diagnosis.quantization import check_quantization
from service.settings import EngineKind, ModelSettings, Settings

CONFIG, INDEX = "config.json", "model.safetensors.index.json"
OTHER_WEIGHTS = ("*.bin", "*.pt", "*.gguf")
PATH_MARKS = ("/", "./", "../", "~")
POINTER = b"version https://git-lfs"
AGAIN = "Download the model again."


def check_models(settings: Settings) -> Iterator[Finding]:
    for model in settings.models:
        if model.engine is EngineKind.VLLM:
            yield from _check(model)


def folder_of(model: ModelSettings) -> Path | None:
    """Where the model's files are on this machine, if they are: its path, or the cache of the Hugging Face Hub."""
    path = Path(model.path)
    if path.is_dir():
        return path
    if model.path.startswith(PATH_MARKS):
        return None
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError

    try:
        return Path(snapshot_download(model.path, local_files_only=True))
    except (LocalEntryNotFoundError, HFValidationError):
        return None


def weight_bytes(folder: Path) -> int:
    files = list(folder.glob("*.safetensors")) or [file for kind in OTHER_WEIGHTS for file in folder.glob(kind)]
    return sum(file.stat().st_size for file in files)


def _check(model: ModelSettings) -> Iterator[Finding]:
    folder = folder_of(model)
    if folder is None:
        yield _not_here(model)
        return
    config = _config(model, folder)
    yield config
    yield from _weights(model, folder)
    yield from check_quantization(model, folder)
    if config.level is not Level.PROBLEM:  # it tells which tokenizer to load
        yield from _tokenizer(model, folder)


def _not_here(model: ModelSettings) -> Finding:
    if model.path.startswith(PATH_MARKS):
        return problem(model.id, f"there is no folder {model.path}", "Correct the path of the model.")
    if os.environ.get("HF_HUB_OFFLINE", "0").lower() not in ("", "0", "false", "no"):
        return problem(model.id, f"{model.path} is not on this machine, and HF_HUB_OFFLINE is set", "Download it.")
    return warning(
        model.id, f"{model.path} is not on this machine", "The start downloads it. To do so before: hf download NAME"
    )


def _config(model: ModelSettings, folder: Path) -> Finding:
    subject = f"{model.id} config"
    try:
        config = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
        described = _described(folder, config)
    except FileNotFoundError:
        return problem(subject, f"there is no {CONFIG} in {folder}", "Give a model in the format of Hugging Face.")
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        return problem(subject, f"{folder / CONFIG} can't be used: {_first_line(error)}", AGAIN)
    if "auto_map" in config and not model.engine_args.get("trust_remote_code"):
        return warning(subject, f"{described}; it brings code of its own", "If it is trusted: trust_remote_code: true")
    return ok(subject, described)


def _described(folder: Path, config: dict[str, Any]) -> str:
    """Raises what transformers raises for a model that it doesn't know."""
    if "auto_map" not in config:  # else code of the model would run
        from transformers import AutoConfig

        AutoConfig.from_pretrained(folder)
    facts = [*config.get("architectures", []), config.get("dtype") or config.get("torch_dtype")]
    if length := config.get("max_position_embeddings"):
        facts.append(f"{length} positions")
    return ", ".join(filter(None, facts))


def _weights(model: ModelSettings, folder: Path) -> Iterator[Finding]:
    subject, files = f"{model.id} weights", sorted(folder.glob("*.safetensors"))
    if missing := sorted(_indexed(folder) - {file.name for file in files}):
        yield problem(subject, f"{len(missing)} of the files are missing, such as {missing[0]}", AGAIN)
    elif broken := [told for file in files if (told := _broken(file))]:
        yield problem(subject, broken[0], AGAIN)
    elif size := weight_bytes(folder):
        yield ok(subject, f"{size / 1024**2:,.0f} MiB in {_count(files)}")
    else:
        yield problem(subject, f"there are none in {folder}", AGAIN)


def _indexed(folder: Path) -> set[str]:
    """The files that a model in several has to have."""
    try:
        return set(json.loads((folder / INDEX).read_text(encoding="utf-8"))["weight_map"].values())
    except (OSError, ValueError, KeyError):
        return set()


def _broken(file: Path) -> str | None:
    """Reads the header, which says how long the file has to be."""
    from safetensors import SafetensorError, safe_open

    try:
        with file.open("rb") as opened:
            if opened.read(len(POINTER)) == POINTER:
                return f"{file.name} is only the pointer that Git keeps in place of a large file: git lfs pull"
        with safe_open(file, framework="numpy"):
            return None
    except (OSError, SafetensorError) as error:
        return f"{file.name} can't be read: {_first_line(error)}"


def _tokenizer(model: ModelSettings, folder: Path) -> Iterator[Finding]:
    from service.prompts.tokenizer import Tokenizer

    subject = f"{model.id} tokenizer"
    try:
        tokenizer = Tokenizer.load(str(folder))
    except Exception as error:  # whatever the files make of it
        yield problem(subject, f"can't be loaded: {_first_line(error)}", AGAIN)
        return
    yield ok(subject, f"{tokenizer.vocabulary_size:,} tokens")
    if model.type is not ModelType.LLM:
        return
    if tokenizer.pretrained.chat_template:
        yield ok(f"{model.id} chat template", "there is one")
    else:
        yield warning(
            f"{model.id} chat template", "there is none: chat calls will be refused", "Serve the model's chat variant."
        )


def _count(files: Sequence[Path]) -> str:
    return "one file" if len(files) == 1 else f"{len(files)} files" if files else "files of another format"


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0] or type(error).__name__
