"""Serializes an adapter's request to a provider, byte for byte as the adapter and the base URL say."""

import re
from functools import lru_cache
from urllib.parse import quote, urlsplit

from yarl import URL

from adapters.contract import HttpRequest

_VISIBLE_PATH = re.compile(r"/[!-~]*")
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f\ud800-\udfff]")
_FRAMING = frozenset(
    {"connection", "content-length", "expect", "host", "te", "trailer", "transfer-encoding", "upgrade"}
)
_METHODS_WITHOUT_BODY = frozenset({"GET", "HEAD", "OPTIONS", "TRACE"})
"""Methods whose requests have no Content-Length where they have no body; all others have `Content-Length: 0`."""


class RequestWriter:
    """Serializes requests to one base URL. Raises ValueError if that is not http(s)://host[:port][/path]."""

    def __init__(self, base_url: str) -> None:
        parts = urlsplit(base_url)
        if parts.scheme not in {"http", "https"} or not parts.hostname:
            raise ValueError("base_url must be http(s)://host[:port][/path]")
        if parts.username is not None or parts.password is not None or parts.query or parts.fragment:
            raise ValueError("base_url must have no credentials, no query and no fragment")
        if parts.path and not _is_plain(parts.path):
            raise ValueError("base_url must have a path of visible ASCII, percent-encoded where it needs to be")
        origin = URL(base_url).origin()
        if not origin.raw_host or not origin.port or not origin.host_port_subcomponent:
            raise ValueError("base_url must be http(s)://host[:port][/path]")
        self.tls = parts.scheme == "https"
        self.host = origin.raw_host
        """The name to resolve and to check in the certificate; an IPv6 address without brackets."""
        self.port = origin.port
        self.address = f"{origin.host_subcomponent}:{origin.port}"
        """host:port, for error texts."""
        self._host_header = f"Host: {origin.host_port_subcomponent}\r\n"
        self._path = parts.path.rstrip("/")

    def serialize(self, request: HttpRequest) -> bytes:
        """The whole request: the path appended to the base URL's unchanged, the query percent-encoded, the headers
        unchanged.

        Adds Host, `Accept-Encoding: identity` where the request has no Accept-Encoding, and the length. Raises
        ValueError for what HTTP cannot represent, and for a header that frames the message.
        """
        head = [self._request_line(request), self._host_header]
        has_encoding = False
        for name, value in request.headers:
            has_encoding |= _checked_name(name) == "accept-encoding"
            if _CONTROL.search(value):
                raise ValueError(f"header {name!r} cannot be sent: it has a control character")
            head.append(f"{name}: {value}\r\n")
        if not has_encoding:
            head.append("Accept-Encoding: identity\r\n")
        if request.body or request.method not in _METHODS_WITHOUT_BODY:
            head.append(f"Content-Length: {len(request.body)}\r\n")
        head.append("\r\n")
        return "".join(head).encode() + request.body

    def _request_line(self, request: HttpRequest) -> str:
        if not _TOKEN.fullmatch(request.method):
            raise ValueError(f"method {request.method!r} cannot be sent: it is not an HTTP method")
        if not _is_plain(request.path):
            raise ValueError("a request's path starts with a slash, is visible ASCII, and holds no ? and no #")
        query = ""
        if request.query:
            query = "?" + "&".join(f"{quote(name, safe='')}={quote(value, safe='')}" for name, value in request.query)
        return f"{request.method} {self._path}{request.path}{query} HTTP/1.1\r\n"


@lru_cache(maxsize=256)
def _checked_name(name: str) -> str:
    """The header's name in lower case. Cached: adapters use the same few names."""
    if not _TOKEN.fullmatch(name):
        raise ValueError(f"header {name!r} cannot be sent: it is not a valid header name")
    lowered = name.lower()
    if lowered in _FRAMING:
        raise ValueError(f"header {name!r} is set by the gateway: remove it from the adapter's request")
    return lowered


def _is_plain(path: str) -> bool:
    return _VISIBLE_PATH.fullmatch(path) is not None and "?" not in path and "#" not in path
