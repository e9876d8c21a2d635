"""gRPC-Web, by the example page in a browser that has no window."""

import asyncio
import base64
import hashlib
import http.server
import shutil
import ssl
import subprocess
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

import aiohttp
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from deploy.check.proxy import DESCRIPTORS
from tests.credentials import Authority
from tests.mesh.calls import WEB_TOKEN, Mesh
from tests.serving import END_S, LLM, wait_until
from tests.toolchains import program

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "examples" / "clients" / "browser"
# The names in the configuration: where the page is from, and whom it calls.
PAGE, SERVER = "app.example", "inferwire.example"
WAIT_S = 120  # bounds a wait
OPTIONS = (
    "--headless",
    "--no-sandbox",  # root may not have one
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-component-update",
    "--no-first-run",
    "--remote-debugging-port=0",
)
# What the page shows once it is done: a text for each paragraph. Nothing as long as it isn't, or isn't there.
SHOWN = """
new Promise((looked) => setTimeout(() => looked(
    document.getElementById("outcome")?.textContent
        ? Object.fromEntries(Array.from(document.querySelectorAll("p"), (p) => [p.id, p.textContent]))
        : null
), 50))
"""


@dataclass(frozen=True, slots=True)
class Browser:
    """A running one, and where it takes commands."""

    address: str

    async def shows(self, **parameters: str) -> Any:
        """What is in the page's paragraphs in the end, by their ids."""
        page = f"https://{PAGE}/examples/clients/browser/index.html#{urlencode(parameters)}"
        async with asyncio.timeout(WAIT_S), aiohttp.ClientSession(self.address) as session:
            async with session.put(f"/json/new?{quote(page)}") as opened:
                tab = await opened.json()
            async with session.ws_connect(tab["webSocketDebuggerUrl"]) as commands:
                while not (shown := await evaluated(SHOWN, commands)):
                    continue
                return shown


async def evaluated(expression: str, commands: aiohttp.ClientWebSocketResponse) -> Any:
    parameters = {"expression": expression, "awaitPromise": True, "returnByValue": True}
    await commands.send_json({"id": 1, "method": "Runtime.evaluate", "params": parameters})
    answer = await commands.receive_json()
    # None, too, when the page was replaced by another meanwhile.
    return answer.get("result", {}).get("result", {}).get("value")


@pytest.fixture(scope="module")
def browser(
    mesh: Mesh, authorities: dict[str, Authority], files: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Browser]:
    """One that knows the two names, and by their keys who may have them."""
    chromium = program("chromium")
    page, profile = built_page(tmp_path_factory.mktemp("page")), tmp_path_factory.mktemp("profile")
    certificate, key = authorities["callers"].issue("page", PAGE)
    with serving(page, certificate, key) as port:
        names = {PAGE: port, SERVER: mesh.envoy.port}
        rules = ",".join(f"MAP {name}:443 127.0.0.1:{its_port}" for name, its_port in names.items())
        pins = ",".join(map(pin_of, (certificate, files / "callers" / "tls.crt")))
        known = (f"--host-resolver-rules={rules}", f"--ignore-certificate-errors-spki-list={pins}")
        with running_browser([chromium, *OPTIONS, *known, f"--user-data-dir={profile}"], profile) as browser:
            yield browser


@contextmanager
def running_browser(command: Sequence[str], profile: Path) -> Iterator[Browser]:
    listening = profile / "DevToolsActivePort"
    with (profile / "log").open("wb") as log:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    try:
        assert wait_until(lambda: listening.exists() and "\n" in listening.read_text(), WAIT_S)
        yield Browser(f"http://127.0.0.1:{listening.read_text().splitlines()[0]}")
    finally:
        process.terminate()
        process.wait(END_S)


def built_page(root: Path) -> Path:
    """A copy of the example, bundled by what its package-lock.json names."""
    npm = program("npm")
    folder = root / EXAMPLE.relative_to(ROOT)
    shutil.copytree(EXAMPLE, folder, ignore=shutil.ignore_patterns("node_modules", "build"))
    (descriptors := root / DESCRIPTORS.relative_to(ROOT)).parent.mkdir(parents=True)
    shutil.copy(DESCRIPTORS, descriptors)
    for step in (["ci", "--ignore-scripts", "--no-audit", "--no-fund"], ["run", "build"]):
        subprocess.run([npm, *step], cwd=folder, capture_output=True, timeout=WAIT_S, check=True)
    return root


@contextmanager
def serving(folder: Path, certificate: Path, key: Path) -> Iterator[int]:
    """Files over HTTPS, from a port of this machine."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder)))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None: ...


def pin_of(certificate: Path) -> str:
    """The hash of its key, by which a browser can be told to know it."""
    key = x509.load_pem_x509_certificate(certificate.read_bytes()).public_key()
    digest = hashlib.sha256(key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)).digest()
    return base64.b64encode(digest).decode()


async def test_a_page_shows_a_streamed_chat(browser: Browser) -> None:
    shown = await browser.shows(
        server=f"https://{SERVER}", token=WEB_TOKEN, model=LLM, question="What does the fox do?"
    )
    assert shown == {"answer": "The quick brown fox jumps over the lazy dog.", "outcome": "complete"}


async def test_a_page_learns_why_it_is_refused(browser: Browser) -> None:
    shown = await browser.shows(server=f"https://{SERVER}", token="another", model=LLM, question="Who am I?")
    assert shown == {"answer": "", "outcome": "UNAUTHENTICATED"}
    shown = await browser.shows(server=f"https://{SERVER}", token=WEB_TOKEN, model="another", question="Who are you?")
    assert shown == {"answer": "", "outcome": "MODEL_NOT_FOUND"}
