"""Paths that lead elsewhere, and files that aren't what their names say."""

import os
from pathlib import Path

import pytest

from service.engines.adapters.folder import AdapterFolder, plain_path
from service.errors import InvalidField, ModelNotLoadable

OUTSIDE = [
    "",
    ".",
    "./",
    "/",
    "//",
    "/etc",
    "//etc",
    "..",
    "../",
    "../outside",
    "inside/..",
    "inside/../..",
    "inside/../../outside",
    "./../outside",
    "inside/./../../outside",
    "..\\outside",
    "inside\\..\\..\\outside",
    "C:\\Windows",
    "\\\\server\\share",
    "inside\0",
    "inside\0/../../outside",
    "inside\n",
    "in\x1b[2Jside",
    "in\u202eside",
    "in\u200bside",
    "x" * 1025,
    "/".join(["a"] * 600),
]
MISSING = [
    "none",
    "~",
    "~root",
    "$HOME",
    "%2e%2e/outside",
    "..%2foutside",
    "file:///etc",
    "http://h/x",
    "...",
    "*",
    "inside/x",
    "x" * 300,
    "INSIDE",
]
LINKS = {
    "up": "..",
    "root": "/",
    "away": "../outside",
    "absolute": "{outside}",
    "twice": "away",
    "inside/deep": "../../outside",
    "inside/out": "../away/sub",
}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "outside" / "sub").mkdir(parents=True)
    root = tmp_path / "root"
    (root / "inside").mkdir(parents=True)
    (root / "inside" / "file").write_text("text")
    for name, target in LINKS.items():
        (root / name).symlink_to(target.format(outside=tmp_path / "outside"))
    return root


@pytest.mark.parametrize("path", OUTSIDE, ids=ascii)
def test_a_path_that_may_leave_the_folder_is_refused_before_it_is_looked_at(path: str) -> None:
    with pytest.raises(InvalidField) as refused:
        plain_path(path)
    assert [violation.field for violation in refused.value.violations] == ["provider_model_id"]


@pytest.mark.parametrize("path", MISSING)
def test_what_isnt_there(root: Path, path: str) -> None:
    with pytest.raises(InvalidField, match="There is no folder"):
        AdapterFolder(root, path)


@pytest.mark.parametrize("link", LINKS)
def test_a_link_that_leaves_the_folder(root: Path, link: str) -> None:
    with pytest.raises(InvalidField, match="leads out of") as refused:
        AdapterFolder(root, link)
    assert str(root.parent) not in str(refused.value)


def test_a_link_that_stays_is_followed(root: Path) -> None:
    (root / "same").symlink_to("inside")
    assert AdapterFolder(root, "same").path == (root / "inside").resolve()


def test_the_root_may_be_a_link_itself(root: Path) -> None:
    link = root.parent / "link"
    link.symlink_to(root)
    assert AdapterFolder(link, "inside").path == (root / "inside").resolve()


def test_links_in_a_circle(root: Path) -> None:
    (root / "a").symlink_to("b")
    (root / "b").symlink_to("a")
    with pytest.raises(InvalidField):
        AdapterFolder(root, "a")


def test_a_file_is_no_folder(root: Path) -> None:
    with pytest.raises(InvalidField, match="not a folder"):
        AdapterFolder(root, "inside/file")


@pytest.mark.parametrize("spelled", ["inside", "./inside", "inside/", "inside/.", "inside//", "./././inside"])
def test_one_path_has_one_spelling(spelled: str) -> None:
    assert plain_path(spelled) == "inside"


def test_a_root_that_is_gone(tmp_path: Path) -> None:
    with pytest.raises(ModelNotLoadable, match=r"adapters\.root"):
        AdapterFolder(tmp_path / "gone", "inside")


class TestFiles:
    def test_one_is_read(self, root: Path) -> None:
        assert AdapterFolder(root, "inside").read("file", 4) == b"text"

    def test_not_one_that_is_too_large(self, root: Path) -> None:
        with pytest.raises(ModelNotLoadable, match="4 bytes; at most 3"):
            AdapterFolder(root, "inside").read("file", 3)

    def test_nor_one_that_a_link_leads_out_to(self, root: Path) -> None:
        (root.parent / "outside" / "secret").write_text("secret")
        (root / "inside" / "link").symlink_to("../../outside/secret")
        with pytest.raises(ModelNotLoadable, match="leads out"):
            AdapterFolder(root, "inside").read("link", 100)

    def test_but_one_that_a_link_leads_to_within(self, root: Path) -> None:
        (root / "blob").write_text("blob")
        (root / "inside" / "link").symlink_to("../blob")
        assert AdapterFolder(root, "inside").read("link", 100) == b"blob"

    def test_a_pipe_is_not_waited_for(self, root: Path) -> None:
        os.mkfifo(root / "inside" / "pipe")
        with pytest.raises(ModelNotLoadable, match="not an ordinary file"):
            AdapterFolder(root, "inside").read("pipe", 100)

    @pytest.mark.parametrize("name", ["none", "folder", "loop"])
    def test_nor_anything_else(self, root: Path, name: str) -> None:
        (root / "inside" / "folder").mkdir()
        (root / "inside" / "loop").symlink_to("loop")
        with pytest.raises(ModelNotLoadable):
            AdapterFolder(root, "inside").read(name, 100)
