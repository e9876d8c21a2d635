"""Where an adapter's files are: below the operator's folder, whatever the path or a symbolic link says."""

import stat
from pathlib import Path, PurePosixPath

from service.errors import InvalidField, ModelNotLoadable

FIELD = "provider_model_id"
LONGEST_PATH = 1024


def plain_path(path: str) -> str:
    """A path below the operator's folder, spelled in one way. Raises InvalidField."""
    parts = PurePosixPath(path).parts
    if not parts or len(path) > LONGEST_PATH:
        raise InvalidField(FIELD, f"A path of 1 to {LONGEST_PATH} characters is required.")
    if path.startswith("/") or ".." in parts or "\\" in path or not path.isprintable():
        raise InvalidField(FIELD, "A relative path is required, without `..`, backslashes and control characters.")
    return "/".join(parts)


class AdapterFolder:
    """The folder of one adapter, with no symbolic link left in its path."""

    def __init__(self, root: Path, path: str) -> None:
        """Raises InvalidField; ModelNotLoadable where the operator's folder isn't there."""
        try:
            self._root = root.resolve(strict=True)
        except (OSError, RuntimeError):
            raise ModelNotLoadable("The folder of adapters, the setting adapters.root, can't be read.") from None
        try:
            self.path = (self._root / plain_path(path)).resolve(strict=True)
        except (OSError, RuntimeError):
            raise InvalidField(FIELD, f"There is no folder {path!r} below the operator's.") from None
        if not self.path.is_relative_to(self._root):
            raise InvalidField(FIELD, f"The path {path!r} leads out of the operator's folder.")
        if not self.path.is_dir():
            raise InvalidField(FIELD, f"{path!r} is not a folder.")

    def has(self, name: str) -> bool:
        return (self.path / name).exists()

    def read(self, name: str, most_bytes: int) -> bytes:
        """Raises ModelNotLoadable, also for what isn't an ordinary file: reading a pipe would never end."""
        file = self.path / name
        try:
            real = file.resolve(strict=True)
            facts = real.stat()
        except (OSError, RuntimeError):
            raise ModelNotLoadable(f"{name} is missing.") from None
        if not real.is_relative_to(self._root):
            raise ModelNotLoadable(f"{name} is a link that leads out of the operator's folder.")
        if not stat.S_ISREG(facts.st_mode):
            raise ModelNotLoadable(f"{name} is not an ordinary file.")
        if facts.st_size > most_bytes:
            raise ModelNotLoadable(f"{name} has {facts.st_size} bytes; at most {most_bytes} can be right.")
        try:
            return real.read_bytes()
        except OSError:
            raise ModelNotLoadable(f"{name} can't be read.") from None
