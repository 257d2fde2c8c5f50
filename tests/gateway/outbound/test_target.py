"""What goes on the wire is what the base URL and the adapter say, byte for byte."""

import pytest

from adapters.contract import HttpRequest
from gateway.outbound.target import Target, headers_of


@pytest.mark.parametrize(
    ("base_url", "path", "url"),
    [
        ("https://p.example", "/V4/CloseSession", "https://p.example/V4/CloseSession"),
        ("https://p.example/", "/V4/CloseSession", "https://p.example/V4/CloseSession"),
        ("http://p.example:80/api/v2/", "/x", "http://p.example/api/v2/x"),
        ("https://p.example/a%2fb", "/c%2Fd/../e//f", "https://p.example/a%2fb/c%2Fd/../e//f"),
        ("https://[2606:4700::1111]:8443", "/x", "https://[2606:4700::1111]:8443/x"),
        ("https://bücher.example", "/x", "https://xn--bcher-kva.example/x"),
    ],
)
def test_the_path_is_appended_as_it_stands(base_url: str, path: str, url: str) -> None:
    """Neither the base URL's path nor the request's is decoded, normalised or encoded again."""
    assert str(Target(base_url).url(HttpRequest("POST", path))) == url


def test_the_query_is_encoded() -> None:
    """Names and values with any characters arrive as they were given."""
    request = HttpRequest("GET", "/x", query=(("a b", "c&d=e"), ("a b", "é/+%"), ("empty", "")))
    url = Target("https://p.example").url(request)
    assert url.raw_query_string == "a%20b=c%26d%3De&a%20b=%C3%A9%2F%2B%25&empty="
    assert list(url.query.items()) == list(request.query)


@pytest.mark.parametrize(
    "base_url",
    [
        "",
        "p.example",
        "ftp://p.example",
        "https://",
        "https://user:hunter22@p.example",
        "https://p.example/?key=hunter22",
        "https://p.example/#x",
        "https://p.example/a b",
    ],
)
def test_a_base_url_that_cannot_be_used_is_refused(base_url: str) -> None:
    """Anything but http(s)://host[:port][/path] is refused, without repeating a credential in it."""
    with pytest.raises(ValueError, match="base_url must") as refused:
        Target(base_url)
    assert "hunter22" not in str(refused.value)


@pytest.mark.parametrize("path", ["", "x", "/a b", "/a?b=c", "/a#b", "/é", "/a\r\nHost: x"])
def test_a_path_that_cannot_travel_is_refused(path: str) -> None:
    """A path that would become something else on the wire is refused before anything is sent."""
    with pytest.raises(ValueError, match="path"):
        Target("https://p.example").url(HttpRequest("POST", path))


def test_headers_are_as_given() -> None:
    """Names keep their letters, values their order, and only the request for an unencoded answer is added."""
    request = HttpRequest("POST", "/", headers=(("Sessionid", "1"), ("OS", "Android"), ("sessionID", "2")))
    assert list(headers_of(request).items()) == [
        ("Sessionid", "1"),
        ("OS", "Android"),
        ("Sessionid", "2"),
        ("Accept-Encoding", "identity"),
    ]


@pytest.mark.parametrize(
    ("name", "value"),
    [("X", "a\r\nB: c"), ("X\n", "a"), ("", "a"), ("a b", "c"), ("X", "a\x00"), ("Content-Length", "3"), ("host", "x")],
)
def test_a_header_that_would_break_the_message_is_refused(name: str, value: str) -> None:
    """Control characters, and headers that frame the message, never reach the wire."""
    with pytest.raises(ValueError, match="header"):
        headers_of(HttpRequest("POST", "/", headers=((name, value),)))
