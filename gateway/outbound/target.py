"""From a base URL and an adapter's request to what goes on the wire, byte for byte as they say."""

import re
from urllib.parse import quote, urlencode, urlsplit

from multidict import CIMultiDict
from yarl import URL

from adapters.contract import HttpRequest

_VISIBLE_PATH = re.compile(r"/[!-~]*")
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f\ud800-\udfff]")
_FRAMING = frozenset(
    {"connection", "content-length", "expect", "host", "te", "trailer", "transfer-encoding", "upgrade"}
)


class Target:
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
        self.where = f"{origin.host_subcomponent}:{origin.port}"
        """host:port, as errors name it."""
        self._base = f"{origin}{parts.path.rstrip('/')}"

    def url(self, request: HttpRequest) -> URL:
        """The request's path appended to the base URL as it stands, and its query percent-encoded.

        Raises ValueError for a path that could not travel as it stands.
        """
        if not _TOKEN.fullmatch(request.method):
            raise ValueError(f"method {request.method!r} cannot be sent: it is no HTTP method")
        if not _is_plain(request.path):
            raise ValueError("a request's path starts with a slash, is visible ASCII, and holds no ? and no #")
        query = f"?{urlencode(request.query, quote_via=quote, safe='')}" if request.query else ""
        return URL(f"{self._base}{request.path}{query}", encoded=True)


def headers_of(request: HttpRequest) -> CIMultiDict[str]:
    """The request's headers as given, and `Accept-Encoding: identity` where it says nothing else.

    Raises ValueError for a header that HTTP cannot carry, or that frames the message and so is not an adapter's to say.
    """
    spelled: dict[str, str] = {}  # aiohttp drops a header that comes again in other letters
    headers = CIMultiDict[str]()
    for name, value in request.headers:
        if not _TOKEN.fullmatch(name) or _CONTROL.search(value):
            raise ValueError(f"header {name!r} cannot be sent: a control character, or not a header's name")
        if name.lower() in _FRAMING:
            raise ValueError(f"header {name!r} is the gateway's to set")
        headers.add(spelled.setdefault(name.lower(), name), value)
    headers.setdefault("Accept-Encoding", "identity")
    return headers


def _is_plain(path: str) -> bool:
    return _VISIBLE_PATH.fullmatch(path) is not None and "?" not in path and "#" not in path
