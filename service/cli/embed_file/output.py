"""The finished output: a row for each line of the input, in its order. It appears whole or not at all."""

import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from service.cli.embed_file.journal import Row

Write: TypeAlias = Callable[[Iterable[Row], Path], None]

ROWS_PER_GROUP = 10_000
PARQUET = ".parquet"


class MissingLibrary(Exception):
    """What writes Parquet is not installed."""


def writer(path: Path) -> Write:
    """What writes files of this ending. Raises MissingLibrary and KeyError."""
    if path.suffix == PARQUET:
        _arrow()
    return WRITERS[path.suffix]


def write_whole(write: Write, rows: Iterable[Row], path: Path) -> None:
    unfinished = path.with_name(f"{path.name}.unfinished")
    write(rows, unfinished)
    os.replace(unfinished, path)


def _write_json_lines(rows: Iterable[Row], path: Path) -> None:
    with path.open("w", encoding="utf-8") as file:
        for row in rows:
            file.write(json.dumps(_columns(row), ensure_ascii=False) + "\n")


def _write_parquet(rows: Iterable[Row], path: Path) -> None:
    arrow, parquet = _arrow()
    schema = arrow.schema(
        [
            arrow.field("id", arrow.string()),
            arrow.field("vector", arrow.list_(arrow.float32())),
            arrow.field("truncated", arrow.bool_()),
            arrow.field("tokens", arrow.int32()),
            arrow.field("error", arrow.string()),
        ]
    )
    with parquet.ParquetWriter(path, schema) as file:
        for group in _groups(rows):
            file.write_table(arrow.Table.from_pylist(group, schema))


WRITERS: Mapping[str, Write] = {PARQUET: _write_parquet, ".jsonl": _write_json_lines}


def _groups(rows: Iterable[Row]) -> Iterator[list[dict[str, Any]]]:
    remaining = map(_columns, rows)
    while group := list(islice(remaining, ROWS_PER_GROUP)):
        yield group


def _columns(row: Row) -> dict[str, Any]:
    vector = None if row.vector is None else np.frombuffer(row.vector, "<f4").tolist()
    return {"id": row.id, "vector": vector, "truncated": row.truncated, "tokens": row.tokens, "error": row.error}


def _arrow() -> tuple[Any, Any]:
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError:
        raise MissingLibrary from None
    return pyarrow, pyarrow.parquet
