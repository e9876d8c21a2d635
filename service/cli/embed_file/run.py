"""One run over an input file, from where the last one was interrupted."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

from service.api.content import TextContentItem
from service.api.embeddings import (
    Embedding,
    EmbeddingEncoding,
    EmbeddingItem,
    EmbeddingOptions,
    EmbeddingResult,
    TextTruncation,
)
from service.api.models import ModelType
from service.cli.connection import Connection
from service.cli.embed_file.journal import Journal, Row
from service.cli.embed_file.lines import InputFile, InputLine, examine, read_lines
from service.cli.embed_file.output import write_whole, writer
from service.cli.options import chosen_model
from service.cli.waiting import waiting
from service.client import Client

# What a message holds besides the text.
MARGIN_BYTES = 1024


@dataclass(frozen=True, slots=True)
class Outcome:
    rows: int
    errors: int


async def embed_file(
    source: Path, output: Path, connection: Connection, model: str | None, truncate: TextTruncation
) -> Outcome:
    """Raises JournalInUse, JournalOfAnother and MissingLibrary, and whatever ends the call."""
    write = writer(output)
    async with waiting(f"Reading {source}"):
        file = await asyncio.to_thread(examine, source)
    async with await connection.open() as client:
        model_id = await chosen_model(client, model, ModelType.EMBEDDING)
        subject = {"input_sha256": file.sha256, "model": model_id, "truncate": truncate.value}
        with Journal(journal_of(output), subject, file.lines) as journal:
            options = EmbeddingOptions(model_id=model_id, text_truncation=truncate, encoding=EmbeddingEncoding.FLOAT32)
            await _Run(client, file, journal).answer_all(options)
            async with waiting(f"Writing {output}"):
                await asyncio.to_thread(write_whole, write, journal.in_order(), output)
            journal.path.unlink()
            return Outcome(journal.rows, journal.errors)


def journal_of(output: Path) -> Path:
    return output.with_name(f"{output.name}.journal")


class _Run:
    def __init__(self, client: Client, file: InputFile, journal: Journal) -> None:
        self._client = client
        self._file = file
        self._journal = journal
        self._ids: dict[int, str | None] = {}
        """Of the lines under way."""

    async def answer_all(self, options: EmbeddingOptions) -> None:
        limits = (await self._client.model(options.model_id)).limits
        items = self._items(limits.max_request_bytes - MARGIN_BYTES)
        with _progress() as progress:
            task = progress.add_task("embedding", total=self._file.lines, completed=self._journal.rows)
            async with aclosing(self._client.stream_embed(options, items)) as results:
                async for result in results:
                    self._journal.add(self._row(result))
                    progress.update(task, completed=self._journal.rows)

    async def _items(self, max_bytes: int) -> AsyncIterator[EmbeddingItem]:
        """Named by their lines: the ids of the input may occur twice."""
        for line in read_lines(self._file.path, max_bytes):
            if self._journal.has(line.number):
                continue
            if line.error:
                self._journal.add(Row(line.number, line.id, error=line.error))
                continue
            yield self._item(line)

    def _item(self, line: InputLine) -> EmbeddingItem:
        self._ids[line.number] = line.id
        return EmbeddingItem(id=str(line.number), content=TextContentItem(text=line.text))

    def _row(self, result: EmbeddingResult) -> Row:
        line = int(result.id)
        id_ = self._ids.pop(line)
        match result.outcome:
            case Embedding() as embedding:
                return Row(line, id_, embedding.packed, embedding.truncated, embedding.used_tokens)
            case error:
                return Row(line, id_, error=f"line {line}: {error.reason}: {error.message}")


def _progress() -> Progress:
    console = Console(stderr=True)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TaskProgressColumn(show_speed=True),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
    )
    return Progress(*columns, console=console, disable=not console.is_terminal, transient=True)
