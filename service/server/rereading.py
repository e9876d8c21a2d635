"""Files that may change while the server runs, such as certificates and tokens that are rotated."""

import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Generic, TypeVar

from service.server.start_errors import UnusableFile

logger = logging.getLogger(__name__)

Content = TypeVar("Content")
Stamp = tuple[tuple[int, int, int], ...]


class Reread(Generic[Content]):
    """What some files say together, read anew when one of them has changed.

    A new version that can't be used leaves the old one in force, with a warning in the log: files are often replaced
    one after the other. Any thread may ask.
    """

    def __init__(self, files: Sequence[Path], read: Callable[[], Content]) -> None:
        """Raises UnusableFile, as `read` does."""
        self._files = files
        self._read = read
        self._stamp = self._stamp_now()
        self._content = read()

    def current(self) -> Content:
        stamp = self._stamp_now()
        if stamp != self._stamp:
            # Taken before reading: what changes meanwhile is seen the next time.
            self._stamp = stamp
            self._read_again()
        return self._content

    def _read_again(self) -> None:
        files = ", ".join(map(str, self._files))
        try:
            self._content = self._read()
        except UnusableFile as error:
            logger.warning("Files that have changed can't be used; what they said before holds: %s", error)
        else:
            logger.info("Files that have changed were read anew: %s", files)

    def _stamp_now(self) -> Stamp:
        return tuple(map(_stamp, self._files))


def _stamp(file: Path) -> tuple[int, int, int]:
    """Differs when a file was written, or replaced by another."""
    try:
        stat = file.stat()
    except OSError:
        return (0, 0, 0)
    return (stat.st_mtime_ns, stat.st_ino, stat.st_size)


def read_file(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise UnusableFile(f"Can't read {file}: {error.strerror}.") from None
