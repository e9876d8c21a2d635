"""What asymmetric models want before questions and documents, from the file that they come with."""

import json
from pathlib import Path
from typing import Any

import pytest

from service.api.embeddings import EmbeddingTaskType
from service.prompts.task_prefixes import PROMPTS_FILE, TaskPrefixes

QUERY, DOCUMENT = EmbeddingTaskType.QUERY, EmbeddingTaskType.DOCUMENT


def loaded(folder: Path, configuration: Any) -> dict[EmbeddingTaskType, str]:
    (folder / PROMPTS_FILE).write_text(json.dumps(configuration))
    return TaskPrefixes.load(str(folder)).by_task


@pytest.mark.parametrize(
    ("prompts", "prefixes"),
    [
        ({"query": "query: ", "document": "passage: "}, {QUERY: "query: ", DOCUMENT: "passage: "}),
        ({"query": "query: ", "passage": "passage: "}, {QUERY: "query: ", DOCUMENT: "passage: "}),
        ({"search_query": "q: ", "search_document": "d: "}, {QUERY: "q: ", DOCUMENT: "d: "}),
        ({"s2p_query": "Instruct: find\nQuery: "}, {QUERY: "Instruct: find\nQuery: "}),
        ({"query": "Represent: ", "document": ""}, {QUERY: "Represent: ", DOCUMENT: ""}),
        ({"query": "", "document": ""}, {}),
        ({"classification": "Classify: "}, {}),
        ({}, {}),
        (None, {}),
    ],
)
def test_prefixes_are_found_under_the_names_that_models_use(
    tmp_path: Path, prompts: Any, prefixes: dict[EmbeddingTaskType, str]
) -> None:
    assert loaded(tmp_path, {"prompts": prompts}) == prefixes


def test_a_model_with_a_configuration_without_prompts_is_symmetric(tmp_path: Path) -> None:
    assert loaded(tmp_path, {"similarity_fn_name": "cosine"}) == {}


@pytest.mark.parametrize("path", ["nothing/here", "organisation/name-on-a-hub"])
def test_a_model_without_a_configuration_is_symmetric(path: str) -> None:
    assert TaskPrefixes.load(path).by_task == {}
