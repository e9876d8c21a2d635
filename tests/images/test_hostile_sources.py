"""Hostile sources are refused, in plain words, and without a connection to where none may be made."""

from typing import Any

import pytest

from service.api.content import ImageContentItem, ImageUrl
from service.errors import InvalidField
from tests.images.hostile_sources import HOSTILE_URLS, Hostile
from tests.images.hosts import FIELD, INSIDE, OUTSIDE, Answer, Certificates, Outside, loaded

# Enough for all that comes to an end by itself, also on a busy machine; what does not is cut off then.
TIMEOUT_S = 2.0


def test_there_are_enough_of_them() -> None:
    assert len({hostile.url for hostile in HOSTILE_URLS}) > 100
    assert len(HOSTILE_URLS) > 200


@pytest.mark.parametrize("hostile", HOSTILE_URLS, ids=lambda hostile: ascii(str(hostile)))
async def test_it_is_refused(hostile: Hostile, certificates: Certificates) -> None:
    outside = Outside(certificates)
    async with outside.open(hostile.certificate):
        for name in ("localhost", "a.cdn.test"):
            outside.names.tell(name, [INSIDE])
        for name, answers in hostile.names.items():
            outside.names.tell(name, *answers)
        outside.host.answers = {path: _at(answer, outside.port) for path, answer in hostile.answers.items()}
        patient = {"timeout_s": TIMEOUT_S if "longer than" in hostile.told else 60}
        rules: dict[str, Any] = patient | {"allow_http": hostile.allow_http}
        image = ImageContentItem(source=ImageUrl(url=hostile.url.replace("{port}", str(outside.port))))
        with pytest.raises(InvalidField) as caught:
            await loaded(outside.sources(**rules), image)
        [violation] = caught.value.violations
        assert violation.field == f"{FIELD}.url"
        assert violation.description.startswith(hostile.told)
        assert _tells_nothing(violation.description)
        assert outside.inside.connections == 0
        assert outside.host.connections == hostile.connections


async def test_dns_that_changes_its_answer_is_asked_once_for_a_connection(outside: Outside) -> None:
    """What is checked is what is connected to: a second answer has no effect, as nobody hears it."""
    outside.names.tell("images.test", [OUTSIDE], [INSIDE])
    with pytest.raises(InvalidField, match="status 404"):
        await loaded(outside.sources(), ImageContentItem(source=ImageUrl(url=outside.url())))
    assert outside.names.asked == ["images.test"]
    assert (outside.host.connections, outside.inside.connections) == (1, 0)


async def test_an_address_is_checked_once_more_as_it_is_connected_to(outside: Outside) -> None:
    """Whatever the library might make of a name: a socket is only for what is allowed."""
    verdicts = iter([True, False])
    image = ImageContentItem(source=ImageUrl(url=outside.url()))
    with pytest.raises(InvalidField, match="can't be reached"):
        await loaded(outside.sources(allows=lambda _: next(verdicts)), image)
    assert outside.host.connections == 0


def _at(answer: Answer, port: int) -> Answer:
    return answer.replace(b"{port}", str(port).encode()) if isinstance(answer, bytes) else answer


def _tells_nothing(sentence: str) -> bool:
    """Of addresses, of what was sent, of who found out."""
    return not any(
        word in sentence for word in (INSIDE, OUTSIDE, "127.", "169.", "secret", "Error", "aiohttp", "test:")
    )
