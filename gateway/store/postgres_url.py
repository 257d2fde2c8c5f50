"""Where a PostgreSQL database is: what its url says, and how much each connection to it is protected."""

import difflib
import re
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from enum import StrEnum, unique
from ipaddress import ip_address
from pathlib import Path
from typing import Protocol
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

EXAMPLE = "postgresql://user@host:port/database"

_DEFAULT_PORT = 5432
_HOST = re.compile(r"(?:\[(?P<six>[^\]]*)\]|(?P<name>[^:\[\]]*))(?::(?P<port>[0-9]{1,5}))?")

_OPTIONS = ("host", "port", "dbname", "database", "user", "password", "passfile", "search_path", "sslmode")
_INSTEAD = {
    "sslrootcert": 'write [store] tls = { ca = "ca.pem" } instead',
    "sslcert": 'write [store] tls = { cert = "cert.pem", key = "key.pem" } instead',
    "sslkey": 'write [store] tls = { cert = "cert.pem", key = "key.pem" } instead',
    "sslpassword": "a key with a password is not supported: write the key without one, readable by the gateway only",
    "target_session_attrs": "the gateway uses the host that accepts writes: remove it",
    "application_name": "the gateway names its connections itself: remove it",
    "connect_timeout": "the gateway has its own timeouts: remove it",
}


@unique
class SslMode(StrEnum):
    """How a connection is protected: libpq's modes, without `allow` and `prefer`."""

    DISABLE = "disable"
    REQUIRE = "require"
    """TLS with any server: it protects from a listener, and not from a server in between."""
    VERIFY_CA = "verify-ca"
    """TLS with a server that has a certificate of the authority, for any name."""
    VERIFY_FULL = "verify-full"


class ClientTlsFiles(Protocol):
    """PEM files: the authority of the server's certificate, and the client's own certificate and key."""

    @property
    def ca(self) -> Path | None: ...
    @property
    def cert(self) -> Path | None: ...
    @property
    def key(self) -> Path | None: ...


@dataclass(frozen=True, slots=True)
class Host:
    """One server of the url: a host name, an address, or the folder of a Unix socket."""

    name: str
    port: int

    def __str__(self) -> str:
        return f"[{self.name}]:{self.port}" if ":" in self.name else f"{self.name}:{self.port}"

    @property
    def is_socket(self) -> bool:
        """Whether it is a Unix socket, on which PostgreSQL has no TLS."""
        return self.name.startswith("/")

    @property
    def is_local(self) -> bool:
        """Whether no network is in between."""
        try:
            return self.is_socket or ip_address(self.name).is_loopback
        except ValueError:
            return self.name.lower() == "localhost"


@dataclass(frozen=True, slots=True)
class Address:
    """One database. `str` of it is for messages, and never has the user or the password."""

    hosts: tuple[Host, ...]
    """In the order in which they are tried."""
    database: str
    described: str
    user: str | None = field(default=None, repr=False)
    password: str | None = field(default=None, repr=False)
    passfile: str | None = None
    search_path: str | None = None
    sslmode: SslMode | None = None
    """As the url says; None where it does not."""
    tls: ClientTlsFiles | None = None

    def __str__(self) -> str:
        return self.described

    def protection(self, host: Host) -> SslMode:
        """How connections to a host are protected: verify-full unless the host is local, or the url says otherwise."""
        if host.is_socket:
            return SslMode.DISABLE
        if self.sslmode is None and self.tls is None and host.is_local:
            return SslMode.DISABLE
        return self.sslmode or SslMode.VERIFY_FULL

    def with_tls(self, tls: ClientTlsFiles | None) -> "Address":
        """The address with the files of `[store] tls`. Raises ValueError where they contradict the url."""
        if all(host.is_socket for host in self.hosts):
            if tls is not None:
                raise ValueError("[store] url names a Unix socket, which has no TLS: remove tls, or name a host")
        elif tls is not None and self.sslmode is SslMode.DISABLE:
            raise ValueError("[store] url has sslmode=disable, and tls needs TLS: remove one of them")
        elif tls is not None and tls.ca is not None and self.sslmode is SslMode.REQUIRE:
            raise ValueError(
                "[store] url has sslmode=require, which verifies no certificate, and tls has a ca: "
                "write sslmode=verify-full, or remove ca"
            )
        elif self.sslmode is SslMode.VERIFY_CA and (tls is None or tls.ca is None):
            raise ValueError(
                "[store] url has sslmode=verify-ca, with which any certificate of a public authority is accepted: "
                'write sslmode=verify-full, or name your authority in [store] tls = { ca = "ca.pem" }'
            )
        return replace(self, tls=tls)


def split(url: str) -> SplitResult:
    """The parts of a url that may have several hosts. Raises ValueError."""
    # Some releases of Python refuse brackets unless they enclose the only host: they are replaced meanwhile.
    parts = urlsplit(url.translate({ord("["): "\ue000", ord("]"): "\ue001"}))
    if parts.netloc.count("\ue000") != parts.netloc.count("\ue001"):
        raise ValueError("a bracket is missing")
    return parts._replace(netloc=parts.netloc.translate({0xE000: "[", 0xE001: "]"}))


def parse(url: str) -> Address:
    """The address of a `postgresql://` or `postgres://` url, without files.

    Raises ValueError with what to write instead; it repeats no value of the url, where a password may be anywhere.
    """
    if not url.isprintable() or " " in url:
        raise ValueError("the postgresql url holds blanks or control characters: percent-encode them")
    if "#" in url:
        raise ValueError("the postgresql url holds a '#': write it as %23, also in the password")
    try:
        parts = split(url)
        pairs = parse_qsl(parts.query, keep_blank_values=True, strict_parsing=bool(parts.query))
    except ValueError:
        raise ValueError(f"the postgresql url cannot be read: write {EXAMPLE}") from None
    if "@" in parts.path or "@" in parts.query or parts.netloc.count("@") > 1:
        # What looks like a host may be half a password then.
        raise ValueError(
            "the postgresql url has an '@' after its host, or two: write it as %40, and '/' and '?' as %2F and %3F"
        )
    options = _options(pairs)
    credentials, _, netloc = parts.netloc.rpartition("@")
    user, _, password = credentials.partition(":")
    listed = netloc or options.get("host", "")
    hosts = tuple(_hosts(listed, options, in_netloc=bool(netloc)))
    database = _database(parts, options)
    return Address(
        hosts=hosts,
        database=database,
        described=f"{listed}/{database}",
        user=unquote(user) or options.get("user"),
        password=unquote(password) or options.get("password"),
        passfile=options.get("passfile"),
        search_path=options.get("search_path"),
        sslmode=_ssl_mode(options["sslmode"]) if "sslmode" in options else None,
    )


def _options(pairs: list[tuple[str, str]]) -> dict[str, str]:
    options: dict[str, str] = {}
    for key, value in pairs:
        if key == "target_session_attrs" and value == "read-write":
            continue
        if key in options:
            raise ValueError(f"the postgresql url has the option {key} twice: remove one")
        if key not in _OPTIONS:
            raise ValueError(_unknown_option(key, has_password="password" in options))
        options[key] = value
    return options


def _unknown_option(key: str, *, has_password: bool) -> str:
    if key in _INSTEAD:
        return f"the postgresql url has the option {key}: {_INSTEAD[key]}"
    known = f"the options are {', '.join(_OPTIONS)}"
    if has_password:
        # Behind an '&' that is part of a password, what looks like an option is the rest of it.
        return f"the postgresql url has an unknown option after password: {known}; write '&' in a password as %26"
    near = difflib.get_close_matches(key, _OPTIONS, n=1)
    return f"the postgresql url has the unknown option {key!a}: {f'write {near[0]}; ' if near else ''}{known}"


def _ssl_mode(value: str) -> SslMode:
    if value in {"allow", "prefer"}:
        raise ValueError(
            f"the postgresql url has sslmode={value}, which sends the password unencrypted to a server that refuses "
            "TLS: write sslmode=verify-full"
        )
    try:
        return SslMode(value)
    except ValueError:
        raise ValueError(
            f"the postgresql url has another sslmode than {', '.join(SslMode)}: write one of them"
        ) from None


def _hosts(hosts: str, options: dict[str, str], *, in_netloc: bool) -> Iterator[Host]:
    if in_netloc and "host" in options:
        raise ValueError("the postgresql url has hosts before its path and in the option host: remove one")
    names = hosts.split(",")
    ports = options.get("port", "").split(",")
    if len(ports) not in {1, len(names)}:
        raise ValueError("the postgresql url has another number of values in the option port than hosts")
    for index, host in enumerate(names):
        yield _host(unquote(host) if in_netloc else host, ports[index % len(ports)])


def _host(text: str, port: str) -> Host:
    match = None if text.startswith("/") else _HOST.fullmatch(text)
    if not text or (match and not (match["six"] or match["name"])):
        raise ValueError(f"the postgresql url names no host: write {EXAMPLE}")
    name = (match["six"] or match["name"]) if match else text
    digits = (match and match["port"]) or port or str(_DEFAULT_PORT)
    if (match is None and not text.startswith("/")) or not digits.isdecimal() or not 0 < int(digits) < 65536:
        raise ValueError(f"the postgresql url has a port that is none: write {EXAMPLE}")
    return Host(name, int(digits))


def _database(parts: SplitResult, options: dict[str, str]) -> str:
    named = unquote(parts.path[1:]) or options.get("dbname") or options.get("database")
    if not named:
        raise ValueError(f"the postgresql url names no database: write {EXAMPLE}")
    return named
