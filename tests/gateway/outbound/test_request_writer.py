"""A request is serialized byte for byte as the base URL and the adapter say."""

from urllib.parse import parse_qsl, urlsplit

import pytest

from adapters.contract import HttpRequest
from gateway.outbound.request_writer import RequestWriter


def lines_of(base_url: str, request: HttpRequest) -> list[str]:
    """The lines of the head."""
    return RequestWriter(base_url).serialize(request).partition(b"\r\n\r\n")[0].decode().split("\r\n")


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
def test_the_path_is_appended_unchanged(base_url: str, path: str, sent: str, host: str) -> None:
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
def test_the_base_url_defines_where_to_connect(base_url: str, tls: bool, host: str, port: int) -> None:
    """The scheme decides on TLS and on the default port; a name is in its DNS form."""
    writer = RequestWriter(base_url)
    assert (writer.tls, writer.host, writer.port) == (tls, host, port)


def test_the_query_is_encoded() -> None:
    """Names and values may contain any characters."""
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
def test_an_invalid_base_url_is_rejected(base_url: str) -> None:
    """Only http(s)://host[:port][/path] is valid. The error does not contain a credential of the URL."""
    with pytest.raises(ValueError, match="base_url must") as rejected:
        RequestWriter(base_url)
    assert "hunter22" not in str(rejected.value)


@pytest.mark.parametrize("path", ["", "x", "/a b", "/a?b=c", "/a#b", "/é", "/a\r\nHost: x"])
def test_an_invalid_path_is_rejected(path: str) -> None:
    """A path that the provider would read differently is rejected before anything is sent."""
    with pytest.raises(ValueError, match="path"):
        RequestWriter("https://p.example").serialize(HttpRequest("POST", path))


@pytest.mark.parametrize("method", ["", "GET /", "P\r\n"])
def test_an_invalid_method_is_rejected(method: str) -> None:
    """A method that the provider would read differently is rejected before anything is sent."""
    with pytest.raises(ValueError, match="method"):
        RequestWriter("https://p.example").serialize(HttpRequest(method, "/x"))


def test_headers_are_unchanged() -> None:
    """Names keep their case, and only `Accept-Encoding: identity` is added."""
    request = HttpRequest("GET", "/", headers=(("Sessionid", "1"), ("OS", "Android"), ("sessionID", " é ")))
    assert lines_of("https://p.example", request)[2:] == [
        "Sessionid: 1",
        "OS: Android",
        "sessionID:  é ",
        "Accept-Encoding: identity",
    ]


def test_a_given_accept_encoding_is_kept() -> None:
    """No second one is added, whatever the case of its name."""
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
def test_content_length(method: str, body: bytes, length: list[str]) -> None:
    """It is the body's length, 0 where the method usually has a body, and absent otherwise."""
    request = HttpRequest(method, "/", body=body)
    assert lines_of("https://p.example", request)[3:] == length
    assert RequestWriter("https://p.example").serialize(request).endswith(b"\r\n\r\n" + body)


@pytest.mark.parametrize(
    ("name", "value"),
    [("X", "a\r\nB: c"), ("X\n", "a"), ("", "a"), ("a b", "c"), ("X", "a\x00"), ("Content-Length", "3"), ("host", "x")],
)
def test_an_invalid_header_is_rejected(name: str, value: str) -> None:
    """Control characters and headers that frame the message are never sent."""
    with pytest.raises(ValueError, match="header"):
        RequestWriter("https://p.example").serialize(HttpRequest("POST", "/", headers=((name, value),)))
