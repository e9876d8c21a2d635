"""URLs of images elsewhere, as they are read; those that are refused are in hostile_sources."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from yarl import URL

from service.images.remote_urls import RemoteUrl, UnusableUrl, read_url


@pytest.mark.parametrize(
    ("text", "url"),
    [
        ("https://a.test", RemoteUrl("https", "a.test", 443, "/", "")),
        ("HTTPS://A.Test/B?C#D", RemoteUrl("https", "a.test", 443, "/B", "C")),
        ("http://a.test?b", RemoteUrl("http", "a.test", 80, "/", "b")),
        ("https://a.test:8443/?", RemoteUrl("https", "a.test", 8443, "/", "")),
        ("https://xn--caf-dma.test/%C3%A9", RemoteUrl("https", "xn--caf-dma.test", 443, "/%C3%A9", "")),
        ("https://1.a-b.3c.test/@(x):[y]", RemoteUrl("https", "1.a-b.3c.test", 443, "/@(x):[y]", "")),
        (
            "https://a.test/x?sig=a%2Bb/c==&t=//127.0.0.1",
            RemoteUrl("https", "a.test", 443, "/x", "sig=a%2Bb/c==&t=//127.0.0.1"),
        ),
    ],
)
def test_a_plain_url_is_read(text: str, url: RemoteUrl) -> None:
    assert read_url(text) == url


@pytest.mark.parametrize(
    ("location", "path"),
    [("/b", "/b"), ("b", "/x/b"), ("../b", "/b"), ("?b", "/x/y"), ("//a.test:8443/b", "/b"), ("../../../b", "/b")],
)
def test_a_redirect_is_relative_to_where_it_comes_from(location: str, path: str) -> None:
    target = read_url("https://a.test:8443/x/y?z").redirected(location)
    assert (target.host, target.port, target.path) == ("a.test", 8443, path)


@given(
    st.text(alphabet=st.sampled_from("htps:/\\@#?%[]. \tab.test127.0.1:443\uff10\u3002"), max_size=40).map(
        "https://".__add__
    )
)
def test_what_is_read_means_the_same_to_the_library_that_connects(text: str) -> None:
    """And if that one disagreed: it is given the parts, not the text."""
    try:
        url = read_url(text)
    except UnusableUrl:
        return
    assert (URL(text).host, URL(text).port, URL(text).user) == (url.host, url.port, None)
