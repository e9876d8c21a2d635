"""What asymmetric embedding models want in front of questions and of documents, from their own configuration."""

import json
from dataclasses import dataclass
from pathlib import Path

from service.api.embeddings import EmbeddingTaskType

PROMPTS_FILE = "config_sentence_transformers.json"
# Models name the two sides in different ways.
NAMES = {
    EmbeddingTaskType.QUERY: ("query", "search_query", "s2p_query"),
    EmbeddingTaskType.DOCUMENT: ("document", "passage", "search_document"),
}


@dataclass(frozen=True, slots=True)
class TaskPrefixes:
    """Prefixes by task; empty for a symmetric model."""

    by_task: dict[EmbeddingTaskType, str]

    @classmethod
    def load(cls, folder: str) -> "TaskPrefixes":
        """From the model's folder. A model without such a configuration is symmetric."""
        file = Path(folder) / PROMPTS_FILE
        if not file.is_file():
            return cls({})
        prompts = json.loads(file.read_text()).get("prompts") or {}
        found = {task: [prompts[name] for name in names if name in prompts] for task, names in NAMES.items()}
        prefixes = {task: texts[0] for task, texts in found.items() if texts}
        return cls(prefixes if any(prefixes.values()) else {})
