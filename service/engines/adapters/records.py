"""Registrations, kept in a file for the next start: written whole or not at all, and by one server at a time."""

import fcntl
import os
import tempfile
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Literal, TextIO

from pydantic import ValidationError

from service.api.base import ApiModel
from service.api.models import Registration


class RecordsUnusable(Exception):
    """The file can't be read or written, or isn't what it should be, or another server's: a sentence for operators."""


class Record(ApiModel):
    """A registration, and what its files were: see AdapterFiles.digest."""

    registration: Registration
    digest: str


class _Contents(ApiModel):
    version: Literal[1] = 1
    adapters: tuple[Record, ...] = ()


class Records:
    """Those of one server, which holds the file until `close`."""

    def __init__(self, file: Path) -> None:
        """Raises RecordsUnusable."""
        self._file = file
        self._turn = threading.Lock()
        self._lock_file = _locked(file)
        try:
            self._records = {record.registration.model_id: record for record in _read(file)}
        except BaseException:
            self.close()
            raise

    def all(self) -> Sequence[Record]:
        return list(self._records.values())

    def put(self, record: Record) -> None:
        """On disk when it returns. Raises OSError, and then nothing has changed."""
        with self._turn:
            self._write({**self._records, record.registration.model_id: record})

    def remove(self, model_id: str) -> bool:
        """Whether there was one. Otherwise as `put`."""
        with self._turn:
            if model_id not in self._records:
                return False
            self._write({key: record for key, record in self._records.items() if key != model_id})
            return True

    def close(self) -> None:
        self._lock_file.close()

    def _write(self, records: dict[str, Record]) -> None:
        text = _Contents(adapters=tuple(records.values())).model_dump_json(indent=2)
        with tempfile.NamedTemporaryFile(
            "w", dir=self._file.parent, prefix=f".{self._file.name}-", delete=False
        ) as new:
            try:
                new.write(text)
                new.flush()
                os.fsync(new.fileno())
                os.replace(new.name, self._file)
            except BaseException:
                os.unlink(new.name)
                raise
        self._records = records
        _sync_folder(self._file.parent)


def _read(file: Path) -> Sequence[Record]:
    try:
        return _Contents.model_validate_json(file.read_bytes()).adapters
    except FileNotFoundError:
        return ()
    except OSError as error:
        raise RecordsUnusable(f"The file of registrations {file} can't be read: {error.strerror}.") from error
    except ValidationError as error:
        raise RecordsUnusable(
            f"The file of registrations {file} isn't one, or is of another version. Move it away to start without."
        ) from error


def _locked(file: Path) -> TextIO:
    """Locked as long as it is open; the system unlocks it also for a server that was killed."""
    try:
        lock_file = file.with_name(f"{file.name}.lock").open("w")
    except OSError as error:
        raise RecordsUnusable(
            f"The file of registrations {file} can't be written ({error.strerror}). Set adapters.state_file."
        ) from error
    try:
        fcntl.flock(lock_file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        lock_file.close()
        raise RecordsUnusable(
            f"Another server keeps its registrations in {file}. Set another adapters.state_file for each."
        ) from error
    return lock_file


def _sync_folder(folder: Path) -> None:
    """So that the new name outlasts a loss of power, too."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
