"""What goes on the wire is what the base URL and the adapter say, byte for byte."""

from urllib.parse import parse_qsl, urlsplit

import pytest

from adapters.contract import HttpRequest
from gateway.outbound.request_writer import RequestWriter


def lines_of(base_url: str, request: HttpRequest) -> list[str]:
    """The head as it travels, line by line."""
    return RequestWriter(base_url).message(request).partition(b"\r\n\r\n")[0].decode().split("\r\n")


@pytest.mark.parametrize(
    ("base_url", "path", "sent", "host"),
    [
        ("https://p.example", "/V4/CloseSession", "/V4/CloseSession", "p.example"),
        ("https://p.example/", "/V4/CloseSession", "/V4/CloseSession", "p.example"),
        ("http://p.example:80/api/v2/", "/x", "/api/v2/x", "p.example"),
        ("http://p.example:443", "/x", "/x", "p.example:443"),
        ("https://p.example/a%2fb", "/c%2Fd/../e//f", "/a%2fb/c%2Fd/../e//f", "p.example"),
        ("https://[2606:4700::1111]:8443", "/x", "/x", "[2606:4700::1111]:8443"),
        ("https://bücher.example", "/x", "/x", "xn--bcher-kva.example"),
    ],
)
def test_the_path_is_appended_as_it_stands(base_url: str, path: str, sent: str, host: str) -> None:
    """Neither the base URL's path nor the request's is decoded, normalised or encoded again."""
    line, host_header, *_ = lines_of(base_url, HttpRequest("POST", path))
    assert (line, host_header) == (f"POST {sent} HTTP/1.1", f"Host: {host}")


@pytest.mark.parametrize(
    ("base_url", "tls", "host", "port"),
    [
        ("http://p.example", False, "p.example", 80),
        ("https://p.example", True, "p.example", 443),
        ("https://[2606:4700::1111]:8443", True, "2606:4700::1111", 8443),
        ("https://bücher.example", True, "xn--bcher-kva.example", 443),
    ],
)
def test_the_base_url_says_where_to_connect(base_url: str, tls: bool, host: str, port: int) -> None:
    """The scheme decides on TLS and on the port that is not said; a name is resolved as DNS writes it."""
    target = RequestWriter(base_url)
    assert (target.tls, target.host, target.port) == (tls, host, port)


def test_the_query_is_encoded() -> None:
    """Names and values with any characters arrive as they were given."""
    request = HttpRequest("GET", "/x", query=(("a b", "c&d=e"), ("a b", "é/+%"), ("empty", "")))
    sent = lines_of("https://p.example", request)[0].split()[1]
    assert sent == "/x?a%20b=c%26d%3De&a%20b=%C3%A9%2F%2B%25&empty="
    assert parse_qsl(urlsplit(sent).query, keep_blank_values=True) == list(request.query)


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
        RequestWriter(base_url)
    assert "hunter22" not in str(refused.value)


@pytest.mark.parametrize("path", ["", "x", "/a b", "/a?b=c", "/a#b", "/é", "/a\r\nHost: x"])
def test_a_path_that_cannot_travel_is_refused(path: str) -> None:
    """A path that would become something else on the wire is refused before anything is sent."""
    with pytest.raises(ValueError, match="path"):
        RequestWriter("https://p.example").message(HttpRequest("POST", path))


@pytest.mark.parametrize("method", ["", "GET /", "P\r\n"])
def test_what_is_no_method_is_refused(method: str) -> None:
    """A method that would become something else on the wire is refused before anything is sent."""
    with pytest.raises(ValueError, match="method"):
        RequestWriter("https://p.example").message(HttpRequest(method, "/x"))


def test_headers_are_as_given() -> None:
    """Names keep their letters, values their order, and only the request for an unencoded answer is added."""
    request = HttpRequest("GET", "/", headers=(("Sessionid", "1"), ("OS", "Android"), ("sessionID", " é ")))
    assert lines_of("https://p.example", request)[2:] == [
        "Sessionid: 1",
        "OS: Android",
        "sessionID:  é ",
        "Accept-Encoding: identity",
    ]


def test_an_encoding_that_was_asked_for_is_not_contradicted() -> None:
    """Whoever names an encoding, in any letters, has named it alone."""
    request = HttpRequest("GET", "/", headers=(("accept-encoding", "br"),))
    assert lines_of("https://p.example", request)[2:] == ["accept-encoding: br"]


@pytest.mark.parametrize(
    ("method", "body", "length"),
    [
        ("POST", b"abc", ["Content-Length: 3"]),
        ("POST", b"", ["Content-Length: 0"]),
        ("DELETE", b"", ["Content-Length: 0"]),
        ("GET", b"", []),
        ("HEAD", b"", []),
        ("GET", b"abc", ["Content-Length: 3"]),
    ],
)
def test_a_length_is_said_where_a_body_is_meant(method: str, body: bytes, length: list[str]) -> None:
    """The length is the body's, 0 where a body could be expected, and absent where it would mean a body."""
    request = HttpRequest(method, "/", body=body)
    assert lines_of("https://p.example", request)[3:] == length
    assert RequestWriter("https://p.example").message(request).endswith(b"\r\n\r\n" + body)


@pytest.mark.parametrize(
    ("name", "value"),
    [("X", "a\r\nB: c"), ("X\n", "a"), ("", "a"), ("a b", "c"), ("X", "a\x00"), ("Content-Length", "3"), ("host", "x")],
)
def test_a_header_that_would_break_the_message_is_refused(name: str, value: str) -> None:
    """Control characters, and headers that frame the message, never reach the wire."""
    with pytest.raises(ValueError, match="header"):
        RequestWriter("https://p.example").message(HttpRequest("POST", "/", headers=((name, value),)))
