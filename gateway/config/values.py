"""Parsers of single values: from what TOML gave to the typed value. Each raises InvalidValue.

A message shows a value only where that cannot hold a secret: never a URL, which can hold a password.
"""

import re
from collections.abc import Callable
from decimal import Decimal
from ipaddress import ip_address, ip_network
from pathlib import Path
from urllib.parse import SplitResult, urlsplit

from gateway.config.problems import InvalidValue
from gateway.config.settings import GrpcServerKind, Listen, Network
from gateway.store import postgres_url
from gateway.wallet import formats

_HOST = re.compile(r"(?=.{1,253}$)[A-Za-z0-9_]([A-Za-z0-9_-]{0,62})(\.[A-Za-z0-9_]([A-Za-z0-9_-]{0,62}))*\.?")
_LISTEN = re.compile(r"(?:\[(?P<six>[^\]]*)\]|(?P<host>[^:\[\]]*)):(?P<port>[0-9]{1,5})")
_SOCKET_PATH = re.compile(r"/[A-Za-z0-9._~@+,=:/-]*")
"""gRPC reads the address as a URI, and the native server reads it as it is: others would be encoded for one of them."""

_MAX_SOCKET_PATH = 107
"""In bytes; the paths are ASCII."""

_URL_PATH = re.compile(r"(/[A-Za-z0-9._~!$&'()*+,;=:@%-]*)*")
_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}")
_ROLE = re.compile(r"[a-z]+|[A-Za-z]+/[A-Za-z]+")
_GRPC_TARGET = re.compile(r"[!-~]*[A-Za-z0-9\]]")
_LEVELS = ("debug", "info", "warning", "error")


def type_name(value: object) -> str:
    """The type of a TOML value, for a message."""
    match value:
        case bool():
            return "true or false"
        case str():
            return "a string"
        case int() | float():
            return "a number"
        case list():
            return "a list"
        case dict():
            return "a table"
        case _:
            return "a date or time"


def text(value: object) -> str:
    """A string that is not empty."""
    if not isinstance(value, str):
        raise InvalidValue(f"must be a string in quotes, not {type_name(value)}")
    if not value:
        raise InvalidValue("must not be empty")
    return value


def boolean(value: object) -> bool:
    """true or false."""
    if not isinstance(value, bool):
        raise InvalidValue(f"must be true or false without quotes, not {type_name(value)}")
    return value


def number(minimum: float, maximum: float, unit: str = "") -> Callable[[object], float]:
    """A number, whole or not, between two bounds."""

    def parse(value: object) -> float:
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise InvalidValue(f"must be a number{unit and f' of {unit}'}, not {type_name(value)}")
        if not minimum <= value <= maximum:
            raise InvalidValue(f"must be between {minimum:g} and {maximum:g}{unit and f' {unit}'}")
        return float(value)

    return parse


def seconds(minimum: float, maximum: float) -> Callable[[object], float]:
    """A duration in seconds, whole or not, between two bounds."""
    return number(minimum, maximum, "seconds")


def whole_number(minimum: int, maximum: int) -> Callable[[object], int]:
    """A whole number between two bounds."""

    def parse(value: object) -> int:
        if isinstance(value, bool) or not isinstance(value, int):
            raise InvalidValue(f"must be a whole number without quotes, not {type_name(value)}")
        if not minimum <= value <= maximum:
            raise InvalidValue(f"must be between {minimum} and {maximum}")
        return value

    return parse


def listen(value: object) -> Listen:
    """`host:port`, with an IPv6 address in brackets."""
    match = _LISTEN.fullmatch(text(value))
    if match is None:
        raise InvalidValue('must be host:port, for example "127.0.0.1:8080" or "[::1]:8080"')
    port = int(match["port"])
    if port > 65535:
        raise InvalidValue("the port must be between 0 and 65535; 0 lets the system choose one")
    if match["six"] is not None:
        return Listen(_ipv6(match["six"]), port)
    if not match["host"]:
        raise InvalidValue(f'names no host; write "0.0.0.0:{port}" to listen on every address')
    if not _HOST.fullmatch(match["host"]):
        raise InvalidValue("the part before the port is neither an address nor a host name")
    return Listen(match["host"], port)


def unix_socket_path(path: Path) -> Path:
    """The absolute path of a Unix socket, as the system and gRPC accept it."""
    if path.name in {"", ".", ".."} or path.is_dir():
        raise InvalidValue('names no file: write the path of the socket, for example "unix:/run/gateway.sock"')
    if not _SOCKET_PATH.fullmatch(str(path)):
        raise InvalidValue(
            f"is the path {str(path)!a}: a Unix socket's path may hold only letters, digits and / . _ ~ @ + , = : -"
        )
    if len(str(path)) > _MAX_SOCKET_PATH:
        raise InvalidValue(
            f"is a path of {len(str(path))} bytes, with the configuration's folder: the system allows a Unix socket "
            f"{_MAX_SOCKET_PATH}; use a shorter one"
        )
    return path


def _ipv6(value: str) -> str:
    try:
        address = ip_address(value)
    except ValueError:
        address = None
    if address is None or address.version != 6:
        raise InvalidValue("between the brackets must be an IPv6 address")
    return value


def network(value: object) -> Network:
    """An IP network in CIDR notation; an address alone is a network of one."""
    shown = text(value)
    try:
        found = ip_network(shown, strict=False)
    except ValueError:
        raise InvalidValue('must be a network such as "203.0.113.0/24" or "2001:db8::/32"') from None
    try:
        return ip_network(shown)
    except ValueError:
        address = shown.split("/")[0]
        raise InvalidValue(f'has bits set beyond its prefix; write "{found}", or "{address}" for one address') from None


def base_url(value: object) -> str:
    """A provider's URL: http or https, host, optional port and path prefix; a slash at the end is removed."""
    url = text(value)
    if not re.fullmatch(r"[!-~]+", url):
        raise InvalidValue("must be ASCII without spaces; write a host name in another alphabet in its xn-- form")
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise InvalidValue("is not a URL: its host or its port cannot be read") from None
    if parts.scheme not in {"http", "https"}:
        raise InvalidValue('must begin with "https://"')
    if "@" in parts.netloc:
        raise InvalidValue("must not hold a user or password; write credentials in token or in the adapter's keys")
    if "?" in url or "#" in url:
        raise InvalidValue('must not hold a query or a fragment; it ends before "?" and "#"')
    if port == 0 or parts.netloc.endswith(":"):
        raise InvalidValue("the port after the host must be between 1 and 65535, or left out with its colon")
    if not _is_host(parts):
        raise InvalidValue('names no host that can be called; write "https://host" and, where there is one, a path')
    if not _URL_PATH.fullmatch(parts.path):
        raise InvalidValue("its path holds characters that a URL cannot; write them percent-encoded")
    return f"{parts.scheme}://{parts.netloc.lower()}{parts.path.rstrip('/')}"


def _is_host(parts: SplitResult) -> bool:
    host = parts.hostname or ""
    if "[" not in parts.netloc:
        return _HOST.fullmatch(host) is not None
    try:
        return ip_address(host).version == 6
    except ValueError:
        return False


def store_url(value: object) -> str:
    """`sqlite:///` and a path, or `postgresql://` with a host and a database."""
    url = text(value)
    if url.startswith(("postgresql://", "postgres://")):
        try:
            postgres_url.parse(url)
        except ValueError as error:  # its message holds no value of the url
            raise InvalidValue(str(error)) from None
        return url
    if not url.startswith("sqlite:///"):
        raise InvalidValue(
            'must be "sqlite:///relative/path", "sqlite:////absolute/path" or "postgresql://user@host:port/database"'
        )
    path = url.removeprefix("sqlite:///")
    if not path or path.endswith("/") or path == ":memory:":
        raise InvalidValue(
            'must name a database file, for example "sqlite:///gateway.db"; nothing in memory is durable'
        )
    if "?" in path or "#" in path or "\0" in path:
        raise InvalidValue('must end with the path; a sqlite url takes no options after "?" or "#"')
    return url


def wallet_target(value: object) -> str:
    """`builtin`, or a gRPC target."""
    target = text(value)
    if target.startswith(("http:", "https:", "grpc:", "grpcs:")):
        raise InvalidValue('is a URL, not a gRPC target; write "dns:///host:port", and tls = { ca = "…" } for TLS')
    if target != "builtin" and not _GRPC_TARGET.fullmatch(target):
        raise InvalidValue('must be "builtin", or a gRPC target such as "dns:///wallet.example.com:443"')
    return target


def money(value: object) -> Decimal:
    """An amount in quotes: a number of TOML would be a binary float."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        raise InvalidValue('must be an amount in quotes, such as "100" or "99.50", not a number')
    amount = formats.money(text(value))
    if amount is None:
        raise InvalidValue(
            "is not an amount: write digits, with at most 18 after the point and 32 in all, no sign and no exponent, "
            'such as "99.50"'
        )
    return amount


def is_currency(text: str) -> bool:
    """Whether it is a currency code."""
    return formats.is_currency(text)


def grpc_server(value: object) -> GrpcServerKind:
    """A gRPC server."""
    try:
        return GrpcServerKind(text(value))
    except ValueError:
        raise InvalidValue(f"must be one of {', '.join(GrpcServerKind)}") from None


def log_level(value: object) -> str:
    """A log level."""
    level = text(value)
    if level not in _LEVELS:
        raise InvalidValue(f"must be one of {', '.join(_LEVELS)}")
    return level


def is_name(name: str) -> bool:
    """Whether this is a valid name of a provider or a caller: they are part of URLs, metrics and payment keys."""
    return _NAME.fullmatch(name) is not None


def certificate_name(value: object) -> str:
    """A subject alternative name with its kind. What DNS compares without case is returned in lower case."""
    shown = printable(value)
    kind, _, name = shown.partition(":")
    if kind not in {"dns", "uri", "email"} or not name:
        raise InvalidValue(
            'must be a subject alternative name with its kind, such as "dns:launcher.internal", '
            '"uri:spiffe://example.org/launcher" or "email:launcher@example.org"'
        )
    return shown if kind == "uri" else shown.lower()


def role(value: object) -> str:
    """The form of a role, or of a single method."""
    name = text(value)
    if not _ROLE.fullmatch(name):
        raise InvalidValue('must be a role such as "reader", or a method such as "SessionService/CloseSession"')
    return name


def printable(value: object) -> str:
    """ASCII text without blanks or control characters, of at most 255 characters."""
    shown = text(value)
    if not re.fullmatch(r"[!-~]{1,255}", shown):
        raise InvalidValue("must be at most 255 characters of ASCII without blanks")
    return shown
