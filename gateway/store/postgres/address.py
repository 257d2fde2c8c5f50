"""Where a PostgreSQL database is: the url to connect to, and a description without secrets."""

import re
from dataclasses import dataclass, field
from urllib.parse import SplitResult, parse_qs, unquote, urlsplit

_PORT = re.compile(r"(?:\[[^\]]*\]|[^:\[\]]*)(?::(?P<port>[0-9]{1,5}))?")


@dataclass(frozen=True, slots=True)
class Address:
    """One database. `str` of it is for messages, and never has the user or the password."""

    url: str = field(repr=False)
    described: str

    def __str__(self) -> str:
        return self.described


def parse(url: str) -> Address:
    """The address of a `postgresql://` or `postgres://` url.

    Raises ValueError with what to write instead; it repeats no part of the url, whose password may be anywhere.
    """
    if not url.isprintable() or " " in url:
        raise ValueError("the postgresql url holds blanks or control characters: percent-encode them")
    if "#" in url:
        raise ValueError("the postgresql url holds a '#': write it as %23, also in the password")
    try:
        parts = urlsplit(url)
        options = parse_qs(parts.query, strict_parsing=bool(parts.query))
    except ValueError:
        raise ValueError("the postgresql url cannot be read: write postgresql://user@host:port/database") from None
    if "@" in parts.path or "@" in parts.query:
        # What looks like a host may be half a password then.
        raise ValueError(
            "the postgresql url has an '@' after its host: write it as %40, and '/' and '?' as %2F and %3F"
        )
    return Address(url, f"{_hosts(parts, options)}/{_database(parts, options)}")


def _hosts(parts: SplitResult, options: dict[str, list[str]]) -> str:
    hosts = parts.netloc.rpartition("@")[2]
    for host in hosts.split(","):
        match = _PORT.fullmatch(host)
        if match is None or not 0 < int(match["port"] or 5432) < 65536:
            raise ValueError("the postgresql url has a port that is none: write postgresql://user@host:port/database")
    hosts = hosts or ",".join(options.get("host", []))
    if not hosts:
        raise ValueError("the postgresql url names no host: write postgresql://user@host:port/database")
    return hosts


def _database(parts: SplitResult, options: dict[str, list[str]]) -> str:
    named = unquote(parts.path[1:]) or next((options[key][0] for key in ("dbname", "database") if key in options), "")
    if not named:
        raise ValueError("the postgresql url names no database: write postgresql://user@host:port/database")
    return named
