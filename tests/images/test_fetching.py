"""Fetching of images: what is asked, what is taken, in which time, and how many at once."""

import asyncio

import pytest

from service.api.content import ImageContentItem, ImageUrl
from service.errors import InvalidField, Overloaded
from service.images.loaded import LoadedImage
from service.telemetry.metrics import FetchOutcome
from tests.images.hosts import (
    MAX_BYTES,
    OUTSIDE,
    PICTURE,
    Certificates,
    Held,
    Outside,
    all_loaded,
    listening,
    loaded,
    plain,
    redirect,
)

CHUNKED = b"HTTP/1.1 200 OK\r\nContent-Type: image/png\r\nTransfer-Encoding: chunked\r\n\r\n"


def by_url(url: str) -> ImageContentItem:
    return ImageContentItem(source=ImageUrl(url=url))


@pytest.mark.parametrize(
    ("answer", "mime_type"),
    [
        (plain(PICTURE), "image/png"),
        (plain(PICTURE, mime_type="Image/JPEG; q=1"), "image/jpeg"),
        (plain(PICTURE, mime_type="application/octet-stream"), None),
        (plain(PICTURE, mime_type="binary/octet-stream"), None),
        (b"HTTP/1.1 200 OK\r\n\r\n" + PICTURE, None),
        (plain(PICTURE, "Content-Encoding: identity"), "image/png"),
        (CHUNKED + b"%x\r\n%s\r\n0\r\n\r\n" % (len(PICTURE), PICTURE), "image/png"),
        (b"HTTP/1.1 103 Early Hints\r\nLink: <a>\r\n\r\n" + plain(PICTURE), "image/png"),
    ],
    ids=["png", "other case", "octets", "binary", "until the end", "identity", "chunks", "hints"],
)
async def test_an_image_is_fetched(outside: Outside, answer: bytes, mime_type: str | None) -> None:
    outside.host.answers = {"/cat.png?size=2": answer}
    assert await loaded(outside.sources(), by_url(outside.url("/cat.png?size=2#whiskers"))) == LoadedImage(
        PICTURE, mime_type
    )
    assert outside.fetches(FetchOutcome.FETCHED) == 1
    assert outside.timed_fetches() == 1


async def test_no_more_is_told_than_has_to_be(outside: Outside, monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(variable, "http://127.0.0.2:1")
        monkeypatch.setenv(variable.lower(), "http://127.0.0.2:1")
    outside.host.answers = {"/a": redirect("/b?c=%20d\r\nSet-Cookie: a=b"), "/b?c=%20d": plain(PICTURE)}
    for _ in range(2):
        await loaded(outside.sources(), by_url(outside.url("/a")))
    heads = [request.decode().splitlines() for request in outside.host.requests]
    assert [head[0] for head in heads] == ["GET /a HTTP/1.1", "GET /b?c=%20d HTTP/1.1"] * 2
    for head in heads:
        assert sorted(line.lower() for line in head[1:-1]) == [
            "accept-encoding: identity",
            "accept: image/*",
            "connection: close",
            f"host: images.test:{outside.port}",
            "user-agent: inferwire",
        ]


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_redirects_to_allowed_hosts_are_followed(outside: Outside, status: int) -> None:
    outside.names.tell("eu.cdn.test", [OUTSIDE])
    outside.host.answers = {
        "/a": redirect(f"https://eu.cdn.test:{outside.port}/b/c", status),
        "/b/c": redirect("../d?e", status),
        "/d?e": redirect(f"//EU.cdn.test:{outside.port}", status),
        "/": plain(PICTURE),
    }
    assert (await loaded(outside.sources(), by_url(outside.url("/a")))).data == PICTURE
    assert outside.names.asked == ["images.test", "eu.cdn.test", "eu.cdn.test", "eu.cdn.test"]


async def test_of_several_addresses_one_that_answers_is_taken(outside: Outside) -> None:
    outside.names.tell("images.test", ["::ffff:0:1", OUTSIDE])
    sources = outside.sources()
    with pytest.raises(InvalidField):  # one that isn't public spoils them all
        await loaded(sources, by_url(outside.url("/a")))
    outside.names.tell("images.test", [OUTSIDE, OUTSIDE])
    outside.host.answers = {"/a": plain(PICTURE)}
    assert (await loaded(sources, by_url(outside.url("/a")))).data == PICTURE


async def test_the_largest_image_is_taken_and_none_larger(outside: Outside) -> None:
    outside.host.answers = {"/a": plain(bytes(MAX_BYTES)), "/b": plain(bytes(MAX_BYTES + 1))}
    sources = outside.sources()
    assert len((await loaded(sources, by_url(outside.url("/a")))).data) == MAX_BYTES
    with pytest.raises(InvalidField, match=f"more than {MAX_BYTES} bytes"):
        await loaded(sources, by_url(outside.url("/b")))


async def test_http_is_fetched_only_where_that_is_stated(certificates: Certificates) -> None:
    outside = Outside(certificates)
    outside.host.answers = {"/a": plain(PICTURE)}
    async with listening(outside.host):
        url = by_url(f"http://images.test:{outside.port}/a")
        with pytest.raises(InvalidField, match="by `https:` only"):
            await loaded(outside.sources(), url)
        assert outside.host.connections == 0
        assert (await loaded(outside.sources(allow_http=True), url)).data == PICTURE


async def test_the_same_image_is_fetched_once_for_a_request(outside: Outside) -> None:
    outside.host.answers = {"/a": plain(b"a"), "/b": plain(b"b")}
    a, b = by_url(outside.url("/a")), by_url(outside.url("/b"))
    loaded = await all_loaded(outside.sources(), [("1", a), ("2", b), ("3", a), ("4", a)])
    assert [image.data for image in loaded] == [b"a", b"b", b"a", b"a"]
    assert outside.host.connections == 2


async def test_all_that_could_not_be_fetched_is_told(outside: Outside) -> None:
    outside.host.answers = {"/a": plain(PICTURE)}
    urls = [outside.url("/none"), outside.url("/a"), "https://other.test/"]
    with pytest.raises(InvalidField) as caught:
        await all_loaded(outside.sources(), [(f"[{n}]", by_url(url)) for n, url in enumerate(urls)])
    assert [(violation.field, violation.description) for violation in caught.value.violations] == [
        ("[0].url", "The image's host answers with status 404."),
        ("[2].url", "This server fetches no images from this host, or not from this port of it."),
    ]


async def test_so_many_are_fetched_at_a_time(outside: Outside) -> None:
    held = Held()
    outside.host.answers = {f"/{n}": held for n in range(6)}
    sources = outside.sources(max_concurrent=2)
    images = [(f"[{n}]", by_url(outside.url(f"/{n}"))) for n in range(6)]
    loading = asyncio.create_task(all_loaded(sources, images))
    await held.wait_for(2)
    assert outside.host.connections == 2
    held.go.set()
    assert len(await loading) == 6
    assert (held.most, outside.host.connections) == (2, 6)


async def test_a_fetch_ends_with_its_call(outside: Outside) -> None:
    held = Held()
    outside.host.answers = {"/": held}
    sources = outside.sources(max_concurrent=1)
    first = asyncio.create_task(loaded(sources, by_url(outside.url())))
    second = asyncio.create_task(loaded(sources, by_url(outside.url("/other"))))
    await held.wait_for(1)
    first.cancel()
    await asyncio.gather(first, return_exceptions=True)
    with pytest.raises(InvalidField, match="status 404"):  # its turn has come
        await second
    assert first.cancelled()
    assert outside.fetches(FetchOutcome.CANCELLED) == 1


async def test_who_never_has_a_turn_may_retry(outside: Outside) -> None:
    sources = outside.sources(max_concurrent=1, timeout_s=0.1)
    assert sources._fetcher
    async with sources._fetcher._turns.turn("you", "images.test"):
        with pytest.raises(Overloaded) as caught:
            await loaded(sources, by_url(outside.url()))
    assert caught.value.retry_after_s
    assert outside.fetches(FetchOutcome.OVERLOADED) == 1
    assert outside.host.connections == 0


async def test_a_caller_has_only_so_many_waiting(outside: Outside) -> None:
    held = Held()
    outside.host.answers = {f"/{n}": held for n in range(5)}
    sources = outside.sources(max_concurrent=1, max_waiting_per_caller=2)
    images = [(f"[{n}]", by_url(outside.url(f"/{n}"))) for n in range(5)]
    mine = asyncio.create_task(all_loaded(sources, images[:3]))
    await held.wait_for(1)
    with pytest.raises(Overloaded):
        await all_loaded(sources, images[3:4])
    yours = asyncio.create_task(all_loaded(sources, images[4:], "you"))
    held.go.set()
    assert len(await mine) + len(await yours) == 4


async def test_none_begins_while_as_much_as_may_be_waits_to_be_decoded(outside: Outside) -> None:
    outside.host.answers = {"/large": plain(bytes(MAX_BYTES)), "/small": plain(b"1")}
    sources = outside.sources(max_concurrent=1, timeout_s=60)
    async with sources.loaded([("a", by_url(outside.url("/large")))], "me"):
        assert sources._fetcher
        turns = sources._fetcher._turns
        second = asyncio.create_task(loaded(sources, by_url(outside.url("/small"))))
        while not turns._waiting:  # noqa: ASYNC110
            await asyncio.sleep(0)
        assert outside.host.connections == 1
    assert (await second).data == b"1"
    # Also what came to nothing is held no longer.
    outside.host.answers = {"/large": plain(bytes(MAX_BYTES)).replace(b"Content-Length: 1000", b"Content-Length: 1001")}
    with pytest.raises(InvalidField):
        await loaded(sources, by_url(outside.url("/large")))
    assert turns._held_bytes == 0
