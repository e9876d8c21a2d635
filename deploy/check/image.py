"""The Dockerfile: who runs in its images, and where those write."""

import json
import shlex
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from io import BytesIO
from pathlib import Path, PurePosixPath

from dockerfile_parse import DockerfileParser

from deploy.check.manifests import DEPLOY
from deploy.check.programs import ProgramFailed, hadolint, run

DOCKERFILE = DEPLOY / "Dockerfile"
TARGETS = ("cpu", "cuda")
# Variables that name a place for what is written. Everything else below the user's own folder goes with HOME.
PLACES = ("HOME", "TMPDIR")
PLACE_ENDINGS = ("_HOME", "_CACHE", "_CACHE_DIR", "_CACHE_PATH", "_ROOT")
SHARED_MEMORY = PurePosixPath("/dev/shm")


@dataclass(slots=True)
class Image:
    """What an image says of the containers that it is run in."""

    user: str = ""
    env: dict[str, str] = field(default_factory=dict)
    entrypoint: str = ""
    command: str = ""

    @property
    def written(self) -> tuple[PurePosixPath, ...]:
        """The folders that are written to."""
        places = [value for name, value in self.env.items() if name in PLACES or name.endswith(PLACE_ENDINGS)]
        return (*(PurePosixPath(place) for place in sorted(set(places))), SHARED_MEMORY)


def problems(file: Path = DOCKERFILE) -> Iterator[str]:
    try:
        run(hadolint(), file)
    except ProgramFailed as failed:
        yield f"Dockerfile: {failed}"
    for target in TARGETS:
        yield from _problems_of(target, images(file)[target])


def _problems_of(target: str, image: Image) -> Iterator[str]:
    user, _, group = image.user.partition(":")
    if not (user.isdecimal() and group.isdecimal() and int(user)):
        yield f"Dockerfile: {target} runs as {image.user or 'root'}, not as a user of its own, by number"
    for name in ("entrypoint", "command"):
        if not _is_exec_form(getattr(image, name)):
            yield f"Dockerfile: the {name} of {target} would be a shell's, which keeps signals for itself"


def _is_exec_form(text: str) -> bool:
    try:
        return isinstance(json.loads(text), list)
    except ValueError:
        return False


@cache
def images(file: Path = DOCKERFILE) -> dict[str, Image]:
    """Those that are named, each with what it has from the one that it is made from."""
    # Of the content: a file the parser would rewrite.
    instructions = DockerfileParser(fileobj=BytesIO(file.read_bytes())).structure
    named: dict[str, Image] = {}
    image = Image()
    for step in instructions:
        if step["instruction"] == "FROM":
            image = _begun(step["value"], named)
        else:
            _apply(step["instruction"], step["value"], image)
    return named


def _begun(value: str, named: dict[str, Image]) -> Image:
    base, _, name = value.partition(" AS ")
    origin = named.get(base, Image())
    image = Image(origin.user, dict(origin.env), origin.entrypoint, origin.command)
    if name:
        named[name] = image
    return image


def _apply(instruction: str, value: str, image: Image) -> None:
    match instruction:
        case "USER":
            image.user = value
        case "ENV":
            image.env |= dict(pair.split("=", 1) for pair in shlex.split(value))
        case "ENTRYPOINT":
            image.entrypoint = value
        case "CMD":
            image.command = value
