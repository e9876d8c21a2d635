"""Fetches images from allowed hosts. Each step of the way is checked anew, and each is bounded."""

import asyncio
import logging
import re
import ssl
import time
from concurrent.futures import ThreadPoolExecutor

from aiohttp import ClientConnectorError, ClientError, ClientResponse, ClientResponseError, ClientSession
from yarl import URL

from service.errors import Overloaded
from service.images.fetch_turns import FetchTurns, too_busy
from service.images.loaded import MIME_TYPE, ByteBudget, LoadedImage
from service.images.network import AddressRefused, Network, session
from service.images.remote_urls import RemoteUrl, UnusableUrl, read_url
from service.settings.images import FetchSettings
from service.telemetry.metrics import FetchOutcome, ImageMetrics

logger = logging.getLogger(__name__)

# Asking for names can't be interrupted, so it has threads of its own to hold up.
NAME_THREADS = 8
CHUNK = 64 * 1024
OK = 200
REDIRECTS = {301, 302, 303, 307, 308}
# What stores say of files that they know nothing of.
UNTOLD_TYPES = {"", "application/octet-stream", "binary/octet-stream"}
UNPRINTABLE = re.compile(r"[^\x20-\x7e]+")
LONGEST_REASON = 200
# The same for an address that is refused, one where nobody answers, and a name that nobody knows: callers shall not
# find out with it what there is in the operator's network. The log tells.
UNREACHABLE = "The image's host can't be reached."
GARBLED = "The image's host doesn't answer as HTTP says, or breaks off."


class NotFetched(Exception):
    """The text is a sentence for the caller, `reason` one for the log."""

    def __init__(self, told: str, outcome: FetchOutcome, reason: str = "") -> None:
        super().__init__(told)
        self.outcome = outcome
        self.reason = reason or told


class Fetcher:
    """Fetches images by URL, as far as the operator allows."""

    def __init__(self, rules: FetchSettings, most_bytes: int, metrics: ImageMetrics, network: Network) -> None:
        """`most_bytes` are those of one request's images."""
        self._rules = rules
        self._metrics = metrics
        self._network = network
        self._turns = FetchTurns(
            rules.max_concurrent,
            rules.max_concurrent_per_host,
            rules.max_waiting_per_caller,
            most_bytes=rules.max_concurrent * most_bytes,
        )
        self._tls = network.tls or ssl.create_default_context()
        self._threads = ThreadPoolExecutor(NAME_THREADS, thread_name_prefix="image-hosts")

    async def fetch(self, url: str, caller: str, budget: ByteBudget) -> LoadedImage:
        """Raises NotFetched, and Overloaded when too much is being fetched already."""
        begun_s, outcome = time.monotonic(), FetchOutcome.CANCELLED
        try:
            image = await self._fetched(url, caller, budget)
            outcome = FetchOutcome.FETCHED
            return image
        except NotFetched as failure:
            outcome = failure.outcome
            logger.info("An image was not fetched", extra={"outcome": outcome, "why": failure.reason})
            raise
        except Overloaded:
            outcome = FetchOutcome.OVERLOADED
            raise
        finally:
            self._metrics.record_fetch(outcome, time.monotonic() - begun_s)

    def release(self, budget: ByteBudget) -> None:
        """What was fetched for a request isn't needed any longer."""
        self._turns.release(budget.fetched)

    def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def _fetched(self, text: str, caller: str, budget: ByteBudget) -> LoadedImage:
        """In time, the wait for a turn included."""
        url = self._allowed(_read(text))
        has_turn = False
        try:
            async with asyncio.timeout(self._rules.timeout_s), self._turns.turn(caller, url.host):
                has_turn = True
                return await self._followed(url, budget)
        except TimeoutError:
            if not has_turn:
                raise too_busy() from None
            told = f"The image took longer than {self._rules.timeout_s:g} seconds to be fetched."
            raise NotFetched(told, FetchOutcome.TIMED_OUT) from None

    async def _followed(self, url: RemoteUrl, budget: ByteBudget) -> LoadedImage:
        async with session(self._network, self._tls, self._threads) as client:
            for _ in range(self._rules.max_redirects + 1):
                answer = await self._answer(client, url, budget)
                if isinstance(answer, LoadedImage):
                    return answer
                url = answer
        raise NotFetched(
            f"The image's host redirects more than {self._rules.max_redirects} times.", FetchOutcome.REFUSED
        )

    async def _answer(self, client: ClientSession, url: RemoteUrl, budget: ByteBudget) -> LoadedImage | RemoteUrl:
        """The image, or where the host says that it is."""
        target = URL.build(
            scheme=url.scheme, host=url.host, port=url.port, path=url.path, query_string=url.query, encoded=True
        )
        try:
            async with client.get(target, allow_redirects=False) as response:
                if response.status in REDIRECTS:
                    return self._redirected(url, response.headers.get("Location"))
                mime_type = _image_type(response)
                return LoadedImage(await self._body(response, budget), mime_type)
        except ClientConnectorError as error:
            refused = isinstance(error.__cause__, AddressRefused)
            outcome = FetchOutcome.REFUSED if refused else FetchOutcome.FAILED
            raise NotFetched(UNREACHABLE, outcome, f"{url.host}: {_one_line(str(error.__cause__))}") from None
        except (ClientError, OSError) as error:
            raise NotFetched(GARBLED, FetchOutcome.FAILED, f"{url.host}: {_reason(error)}") from None

    def _redirected(self, url: RemoteUrl, location: str | None) -> RemoteUrl:
        if not location:
            raise NotFetched("The image's host redirects to nowhere.", FetchOutcome.FAILED)
        try:
            target = self._allowed(url.redirected(location))
        except (UnusableUrl, NotFetched) as error:
            told = "The image's host redirects to where this server doesn't fetch from."
            raise NotFetched(told, FetchOutcome.REFUSED, f"{url.host} redirects: {error}") from None
        if url.scheme == "https" and target.scheme != "https":
            raise NotFetched("The image's host redirects to what is not encrypted.", FetchOutcome.REFUSED)
        return target

    def _allowed(self, url: RemoteUrl) -> RemoteUrl:
        if url.scheme == "http" and not self._rules.allow_http:
            raise NotFetched("This server fetches images by `https:` only.", FetchOutcome.REFUSED)
        if not self._rules.allows(url.scheme, url.host, url.port):
            told = "This server fetches no images from this host, or not from this port of it."
            raise NotFetched(told, FetchOutcome.REFUSED)
        return url

    async def _body(self, response: ClientResponse, budget: ByteBudget) -> bytes:
        if not budget.has(response.content_length or 0):
            raise NotFetched(budget.exceeded, FetchOutcome.REFUSED)
        chunks = []
        async for chunk in response.content.iter_chunked(CHUNK):
            if not budget.take(len(chunk)):
                raise NotFetched(budget.exceeded, FetchOutcome.REFUSED)
            budget.fetched += len(chunk)
            self._turns.hold(len(chunk))
            chunks.append(chunk)
        return b"".join(chunks)


def _image_type(response: ClientResponse) -> str | None:
    """Of an answer whose body is one. Raises NotFetched."""
    if response.status != OK:
        raise NotFetched(f"The image's host answers with status {response.status}.", FetchOutcome.FAILED)
    if any(coding.strip().lower() != "identity" for coding in response.headers.getall("Content-Encoding", ())):
        # It could be any number of times as large as what arrives.
        raise NotFetched("The image's host sends it compressed, which was not asked for.", FetchOutcome.REFUSED)
    mime_type = response.headers.get("Content-Type", "").partition(";")[0].strip().lower()
    if mime_type in UNTOLD_TYPES:
        return None
    if not MIME_TYPE.fullmatch(mime_type):
        raise NotFetched("What the host answers with is not an image.", FetchOutcome.REFUSED)
    return mime_type


def _read(url: str) -> RemoteUrl:
    try:
        return read_url(url)
    except UnusableUrl as error:
        raise NotFetched(str(error), FetchOutcome.REFUSED) from None


def _reason(error: Exception) -> str:
    # The text of this one tells the whole URL, which may hold a key.
    text = f"{error.status}, {error.message}" if isinstance(error, ClientResponseError) else str(error)
    return _one_line(text)


def _one_line(text: str) -> str:
    """For the log, as a stranger may have had a say in it."""
    return UNPRINTABLE.sub(" ", text)[:LONGEST_REASON]
