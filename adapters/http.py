"""HTTP messages as bytes, in either direction. Part of the contract: import them from adapters.contract."""

from dataclasses import dataclass, field

Headers = tuple[tuple[str, str], ...]


def _header(headers: Headers, name: str) -> str | None:
    wanted = name.lower()
    return next((value for key, value in headers if key.lower() == wanted), None)


@dataclass(frozen=True, slots=True)
class HttpRequest:
    """An HTTP request, in either direction. `path` starts with a slash and is relative to the base URL.

    Only method and path show in a repr: a query, a header or a body may carry a credential.
    """

    method: str
    path: str
    query: Headers = field(default=(), repr=False)
    headers: Headers = field(default=(), repr=False)
    body: bytes = field(default=b"", repr=False)

    def header(self, name: str) -> str | None:
        """The first value of a header, its name in any case; None where it is absent."""
        return _header(self.headers, name)


@dataclass(frozen=True, slots=True)
class HttpReply:
    """An HTTP answer, in either direction. Only the status shows in a repr."""

    status: int
    headers: Headers = field(default=(), repr=False)
    body: bytes = field(default=b"", repr=False)

    def header(self, name: str) -> str | None:
        """The first value of a header, its name in any case; None where it is absent."""
        return _header(self.headers, name)
