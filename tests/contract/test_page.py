"""The page of the contract says all that the contract says, links only to what it has, and fits every screen."""

import html
import json
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest
from PIL import Image

from protos.page.contract import Contract, read_contract
from protos.page.prose import Prose
from protos.page.render import render
from tests.contract.descriptors import Declared, declared, files
from tests.toolchains import program

# Of a whole page, in a browser that nobody sees.
PATIENCE_S = 120
WIDTHS = (1280, 375)
OPTIONS = ("--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars")
# Measured by the page itself: what is wider than the window, and what it has drawn.
PROBE = """<script>addEventListener("load", () => {
  const wide = [...document.querySelectorAll("main *")].filter((e) => e.getBoundingClientRect().right > innerWidth + 1);
  const row = document.getElementById("ToolCall.call_id").getBoundingClientRect();
  parent.postMessage(JSON.stringify({
    width: innerWidth, scrolls: document.documentElement.scrollWidth, wide: wide.map((e) => e.outerHTML.slice(0, 80)),
    row: row.height, nav: getComputedStyle(document.querySelector("nav")).display,
  }), "*");
});</script>"""
# No window can be made as narrow as a phone.
FRAME = """<title>waiting</title><script>onmessage = (event) => { document.title = event.data; }</script>
<iframe src="page.html" width="WIDTH" height="900" style="border: 0"></iframe>"""


class Page(HTMLParser):
    """The texts of a page by the anchors they stand behind, its anchors and its links."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.anchors: list[str] = []
        self.links: list[str] = []
        self.loaded: list[str] = []
        self.texts: dict[str, str] = {}
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        if anchor := given.get("id"):
            self.anchors.append(anchor)
            self.texts[anchor] = ""
        if tag == "a":
            self.links.append(given["href"] or "")
        self.loaded += [given[name] or "" for name in ("src", "srcset", "data") if name in given]
        if tag == "link":
            self.loaded.append(str(given))

    def handle_data(self, data: str) -> None:
        if self.anchors:
            self.texts[self.anchors[-1]] += data


@pytest.fixture(scope="module")
def contract() -> Contract:
    return read_contract()


@pytest.fixture(scope="module")
def text(contract: Contract) -> str:
    return render(contract)


@pytest.fixture(scope="module")
def page(text: str) -> Page:
    return Page(text)


def words(text: str) -> str:
    """Without the marks of code, and with one blank wherever there is space."""
    return " ".join(text.replace("`", "").split())


@pytest.mark.parametrize("item", [item for item in declared() if item.kind != "oneof"], ids=lambda item: item.name)
def test_everything_declared_is_there_with_its_comment(page: Page, item: Declared) -> None:
    assert page.anchors.count(item.name) == 1
    assert words(item.comment) in words(page.texts[item.name])


@pytest.mark.parametrize("item", [item for item in declared() if item.kind == "oneof"], ids=lambda item: item.name)
def test_every_oneof_is_there_with_its_comment(text: str, item: Declared) -> None:
    shown = words(html.unescape(re.sub("<[^>]+>", "", text)))
    assert words(f"At most one: {item.name.rpartition('.')[2]} {item.comment}") in shown


def test_fields_tell_their_types_and_whether_unset_differs(page: Page) -> None:
    for field, told in {
        "ChatCompletionRequest.model_id": "1 string default empty",
        "ChatCompletionRequest.messages": "2 list of Message default empty",
        "ChatCompletionRequest.tool_config": "5 ToolConfig optional",
        "ToolConfig.choice": "1 ToolChoice alternative",
        "ToolConfig.tool_prompt_format": "3 ToolPromptFormat default TOOL_PROMPT_FORMAT_UNSPECIFIED",
        "ToolParamDefinition.required": "4 bool optional",
        "BnfGrammar.rules": "1 map of string to string default empty",
        "GetLoadResponse.draining": "3 bool default false",
        "ModelLoad.cache_usage": "4 double default 0",
    }.items():
        assert told in words(page.texts[field])


def test_methods_tell_their_paths_streams_and_statuses(page: Page) -> None:
    shown = words(page.texts["InferenceService.StreamEmbeddings"])
    assert "stream of StreamEmbeddingsRequest → stream of StreamEmbeddingsResponse" in shown
    assert "/inferwire.v1.InferenceService/StreamEmbeddings" in shown
    assert "RESOURCE_EXHAUSTED" in shown
    assert "NOT_FOUND" in words(page.texts["ModelService.GetModel"])


def test_every_reason_stands_with_its_status(contract: Contract) -> None:
    reasons = [value.name for values in contract.reasons.values() for value in values]
    (table,) = (enum for file in files() for enum in file.enum_type if enum.name == "ErrorReason")
    assert sorted(reasons) == sorted(value.name for value in table.value if value.number)


def test_links_lead_somewhere_and_nothing_is_loaded(page: Page, text: str) -> None:
    assert {link.removeprefix("#") for link in page.links} <= set(page.anchors)
    assert len(page.anchors) == len(set(page.anchors))
    assert page.loaded == []
    assert "url(" not in text


class TestProse:
    @pytest.fixture
    def prose(self, contract: Contract) -> Prose:
        return Prose(contract)

    @pytest.mark.parametrize(
        ("comment", "shown"),
        [
            ("One\ntwo.\n\nThree.", "<p>One two.</p>\n<p>Three.</p>"),
            ("a < b & `<c>`", "<p>a &lt; b &amp; <code>&lt;c&gt;</code></p>"),
            ("See ToolConfig.", '<p>See <a href="#ToolConfig">ToolConfig</a>.</p>'),
            ("Model, `Model`", '<p>Model, <code><a href="#Model">Model</a></code></p>'),
            ("NOT_FOUND", '<p><a href="#status-NOT_FOUND">NOT_FOUND</a></p>'),
            ("(DRAINING)", '<p>(<a href="#ErrorReason.ERROR_REASON_DRAINING">DRAINING</a>)</p>'),
            ("NOT_SERVING", "<p>NOT_SERVING</p>"),
        ],
    )
    def test_of_a_comment(self, prose: Prose, comment: str, shown: str) -> None:
        assert prose.html(comment) == shown

    def test_nothing_links_to_itself_and_siblings_need_no_full_name(self, prose: Prose) -> None:
        assert prose.html("ToolConfig says.", "ToolConfig") == "<p>ToolConfig says.</p>"
        linked = prose.html("as `model_id`", "ChatCompletionRequest.messages")
        assert linked == '<p>as <code><a href="#ChatCompletionRequest.model_id">model_id</a></code></p>'


@pytest.fixture
def browser() -> str:
    return program("chromium", "chromium-browser", "google-chrome")


class TestInABrowser:
    def shown(self, browser: str, folder: Path, *arguments: str) -> str:
        fixed = (
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--hide-scrollbars",
            f"--user-data-dir={folder / 'user'}",
        )
        done = subprocess.run(
            [browser, *fixed, *arguments], capture_output=True, text=True, timeout=PATIENCE_S, check=True, cwd=folder
        )
        return done.stdout

    @pytest.mark.parametrize("width", WIDTHS)
    def test_it_fits(self, browser: str, text: str, tmp_path: Path, width: int) -> None:
        (tmp_path / "page.html").write_text(text.replace("</body>", f"{PROBE}</body>"))
        frame = tmp_path / "frame.html"
        frame.write_text(FRAME.replace("WIDTH", str(width)))
        dom = self.shown(browser, tmp_path, "--virtual-time-budget=10000", "--dump-dom", frame.as_uri())
        title = re.search("<title>(.*?)</title>", dom)
        assert title
        measured = json.loads(html.unescape(title[1]))
        assert (measured["width"], measured["scrolls"], measured["wide"]) == (width, width, [])
        assert measured["row"] > 30
        assert measured["nav"] == ("block" if width > 1000 else "none")

    def test_a_picture_is_dark_where_the_reader_wants_it_dark(self, browser: str, text: str, tmp_path: Path) -> None:
        file = tmp_path / "page.html"
        file.write_text(text)
        corners = {}
        for scheme, name in enumerate(("dark", "light")):
            picture = tmp_path / f"{name}.png"
            options = (f"--blink-settings=preferredColorScheme={scheme}", f"--screenshot={picture}")
            self.shown(browser, tmp_path, "--window-size=900,700", *options, file.as_uri())
            with Image.open(picture) as drawn:
                colours = drawn.convert("L")
                corners[name] = colours.getpixel((890, 690))
                assert len(colours.getcolors()) > 20  # letters have been drawn
        assert corners["dark"] < 60 < 200 < corners["light"]


def test_the_command_writes_where_it_is_told(tmp_path: Path, text: str) -> None:
    target = tmp_path / "new" / "page.html"
    subprocess.run([sys.executable, "-m", "protos.page", target], check=True, cwd=Path(__file__).parents[2])
    assert target.read_text() == text
