"""An adapter's files, read and checked before any engine sees them."""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from service.engines.adapters.config import CONFIG_FILE, read_config
from service.engines.adapters.folder import AdapterFolder
from service.engines.adapters.tensors import WEIGHTS_FILE, check_tensors, most_bytes
from service.engines.base import AdapterHost
from service.errors import ModelNotLoadable

CONFIG_BYTES = 1024 * 1024
TEMPLATE_BYTES = 256 * 1024
TOKENIZER_BYTES = 64 * 1024 * 1024
# Loading one of these may run code that is in it.
PICKLES = ("adapter_model.bin", "adapter_model.pt")
TEMPLATE_FILE = "chat_template.jinja"
TOKENIZER_CONFIG_FILE = "tokenizer_config.json"
TOKENIZER_FILE = "tokenizer.json"


@dataclass(frozen=True, slots=True)
class AdapterFiles:
    """What was found. `digest` is the same for the same contents; `chat_template` is None without one of its own."""

    folder: Path
    digest: str
    chat_template: str | None
    tokenizer: bytes | None


@dataclass(frozen=True, slots=True)
class AdapterSource:
    """Where adapters come from."""

    root: Path
    check_base: bool

    def read(self, path: str, host: AdapterHost) -> AdapterFiles:
        """Takes as long as the disk; not for the event loop. Raises InvalidField and ModelNotLoadable."""
        folder = AdapterFolder(self.root, path)
        config_text = folder.read(CONFIG_FILE, CONFIG_BYTES)
        config = read_config(config_text, host, check_base=self.check_base)
        if not folder.has(WEIGHTS_FILE) and any(folder.has(pickle) for pickle in PICKLES):
            raise ModelNotLoadable(f"It has no {WEIGHTS_FILE}, and pickles are not taken: they may hold code.")
        weights = folder.read(WEIGHTS_FILE, most_bytes(host))
        check_tensors(weights, config, host)
        template = _chat_template(folder)
        tokenizer = folder.read(TOKENIZER_FILE, TOKENIZER_BYTES) if folder.has(TOKENIZER_FILE) else None
        digest = _digest(config_text, weights, (template or "").encode(), tokenizer or b"")
        return AdapterFiles(folder.path, digest, template, tokenizer)


def _digest(*parts: bytes) -> str:
    whole = hashlib.sha256()
    for part in parts:
        whole.update(len(part).to_bytes(8, "big"))
        whole.update(part)
    return whole.hexdigest()


def _chat_template(folder: AdapterFolder) -> str | None:
    if folder.has(TEMPLATE_FILE):
        return _text(TEMPLATE_FILE, folder.read(TEMPLATE_FILE, TEMPLATE_BYTES))
    if not folder.has(TOKENIZER_CONFIG_FILE):
        return None
    text = _text(TOKENIZER_CONFIG_FILE, folder.read(TOKENIZER_CONFIG_FILE, CONFIG_BYTES))
    try:
        config = json.loads(text)
        template = config.get("chat_template")
    except (ValueError, AttributeError, RecursionError):
        raise ModelNotLoadable(f"{TOKENIZER_CONFIG_FILE}: It is not a JSON object.") from None
    return _default(template)


def _default(template: Any) -> str | None:
    """Some models have several, by name."""
    if isinstance(template, list):
        named = {entry.get("name"): entry.get("template") for entry in template if isinstance(entry, dict)}
        template = named.get("default")
    if template is not None and not isinstance(template, str):
        raise ModelNotLoadable(f"{TOKENIZER_CONFIG_FILE}: chat_template is not a text.")
    return template


def _text(name: str, data: bytes) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError:
        raise ModelNotLoadable(f"{name}: It is not UTF-8.") from None
