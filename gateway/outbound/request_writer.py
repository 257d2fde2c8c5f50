"""From a base URL and an adapter's request to what goes on the wire, byte for byte as they say."""

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
_NO_BODY_MEANT = frozenset({"GET", "HEAD", "OPTIONS", "TRACE"})
"""Methods whose requests say no length where they have no body; all others say that it is 0."""


class RequestWriter:
    """Where a provider is reached. Raises ValueError for a base URL that is not http(s)://host[:port][/path]."""

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
        """The name to resolve, and to find in the certificate; an IPv6 address without brackets."""
        self.port = origin.port
        self.where = f"{origin.host_subcomponent}:{origin.port}"
        """host:port, as errors name it."""
        self._host_header = f"Host: {origin.host_port_subcomponent}\r\n"
        self._path = parts.path.rstrip("/")

    def message(self, request: HttpRequest) -> bytes:
        """The whole request: its path behind the base URL's as it stands, its query percent-encoded, headers as given.

        Added are Host, `Accept-Encoding: identity` where the request says nothing else, and its length. Raises
        ValueError for what HTTP cannot carry as it stands, and for a header that frames the message, which is not an
        adapter's to say.
        """
        head = [self._line(request), self._host_header]
        encoding_said = False
        for name, value in request.headers:
            encoding_said |= _checked_name(name) == "accept-encoding"
            if _CONTROL.search(value):
                raise ValueError(f"header {name!r} cannot be sent: it has a control character")
            head.append(f"{name}: {value}\r\n")
        if not encoding_said:
            head.append("Accept-Encoding: identity\r\n")
        if request.body or request.method not in _NO_BODY_MEANT:
            head.append(f"Content-Length: {len(request.body)}\r\n")
        head.append("\r\n")
        return "".join(head).encode() + request.body

    def _line(self, request: HttpRequest) -> str:
        if not _TOKEN.fullmatch(request.method):
            raise ValueError(f"method {request.method!r} cannot be sent: it is no HTTP method")
        if not _is_plain(request.path):
            raise ValueError("a request's path starts with a slash, is visible ASCII, and holds no ? and no #")
        query = ""
        if request.query:
            query = "?" + "&".join(f"{quote(name, safe='')}={quote(value, safe='')}" for name, value in request.query)
        return f"{request.method} {self._path}{request.path}{query} HTTP/1.1\r\n"


@lru_cache(maxsize=256)
def _checked_name(name: str) -> str:
    """The header's name in lower case. Adapters name the same few again and again."""
    if not _TOKEN.fullmatch(name):
        raise ValueError(f"header {name!r} cannot be sent: it is not a header's name")
    lowered = name.lower()
    if lowered in _FRAMING:
        raise ValueError(f"header {name!r} is the gateway's to set")
    return lowered


def _is_plain(path: str) -> bool:
    return _VISIBLE_PATH.fullmatch(path) is not None and "?" not in path and "#" not in path
