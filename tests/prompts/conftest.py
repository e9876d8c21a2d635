"""The tokenizer of the bundled language model, and its makers' own for comparison."""

from pathlib import Path
from typing import Any

import pytest
from transformers import AutoTokenizer

from service.demo_models import default_cache_dir, prepare_language_model
from service.prompts.tokenizer import Tokenizer


@pytest.fixture(scope="session")
def smol_folder() -> Path:
    return prepare_language_model(default_cache_dir())


@pytest.fixture(scope="session")
def smol(smol_folder: Path) -> Tokenizer:
    return Tokenizer.load(str(smol_folder))


@pytest.fixture(scope="session")
def plain_smol(smol_folder: Path) -> Any:
    return AutoTokenizer.from_pretrained(smol_folder)
