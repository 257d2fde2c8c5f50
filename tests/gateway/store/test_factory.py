"""From the configuration's url to a store."""

from pathlib import Path

import pytest

from gateway.store.base import StoreUnavailable
from gateway.store.factory import describe, open_store, store_location
from gateway.store.postgres_url import parse


@pytest.mark.parametrize(
    ("url", "path"),
    [
        ("sqlite:///gateway.db", "gateway.db"),
        ("sqlite:///data/gateway 1%20#.db", "data/gateway 1%20#.db"),
        ("sqlite:////var/lib/gateway.db", "/var/lib/gateway.db"),
    ],
)
def test_a_sqlite_url_names_a_file(url: str, path: str) -> None:
    """Three slashes are relative to the working folder, four are absolute, and the path is taken as it is written."""
    assert store_location(url) == path


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("gateway.db", "no scheme"),
        ("", "no scheme"),
        ("://x", "no scheme"),
        ("mysql://gateway:hunter2@db/gateway", "neither of SQLite nor of PostgreSQL"),
        ("SQLITE:///x", "neither of SQLite nor of PostgreSQL"),
        ("sqlite://gateway.db", "three slashes"),
        ("sqlite://", "three slashes"),
        ("sqlite:///", "names no file"),
        ("sqlite:///folder/", "names no file"),
        ("sqlite:///:memory:", "in memory"),
        ("sqlite:///gateway.db?mode=ro", "no options"),
        ("sqlite:///a\0b", "no NUL"),
    ],
)
def test_a_url_that_cannot_be_served_is_refused(url: str, says: str) -> None:
    """The message says what to write instead, and never repeats a password."""
    for read in (store_location, open_store):
        with pytest.raises(ValueError, match=says) as caught:
            read(url)
        assert "hunter2" not in str(caught.value)


async def test_a_relative_url_is_relative_to_the_working_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The file appears where the process was started."""
    monkeypatch.chdir(tmp_path)
    store = open_store("sqlite:///gateway.db")
    assert not (tmp_path / "gateway.db").exists()
    await store.open()
    assert (tmp_path / "gateway.db").exists()
    await store.close()


async def test_a_store_that_is_not_open_says_so(tmp_path: Path) -> None:
    """Before `open` nothing is read or written, and closing is harmless."""
    store = open_store(f"sqlite:///{tmp_path}/gateway.db")
    with pytest.raises(StoreUnavailable, match="not open"):
        await store.ping()
    await store.close()


@pytest.mark.parametrize(
    ("url", "described"),
    [
        ("sqlite:///gateway.db", "gateway.db"),
        ("postgresql://db.example/gateway", "db.example/gateway"),
        ("postgres://u:hunter2@db.example:5433/gateway?sslmode=require", "db.example:5433/gateway"),
        ("postgresql://u:hunter2@[::1]:5433/gateway", "[::1]:5433/gateway"),
        ("postgresql://u:hunter2@a:1,b:2/gateway", "a:1,b:2/gateway"),
        ("postgresql://u:p%40ss%2Fhunter2@db/gate%20way", "db/gate way"),
        ("postgresql://u@/gateway?host=/run/postgresql&password=hunter2", "/run/postgresql/gateway"),
        ("postgresql://u@db?dbname=gateway&password=hunter2", "db/gateway"),
    ],
)
def test_a_database_is_described_without_its_password(url: str, described: str) -> None:
    """Messages name where a database is, and neither who asks nor by which password."""
    assert describe(url) == described
    assert "hunter2" not in repr(open_store(url))
    if url.startswith("postgres"):
        assert "hunter2" not in f"{parse(url)} {parse(url)!r}"


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("postgresql://", "names no host"),
        ("postgresql:///gateway", "names no host"),
        ("postgresql://u:hunter2@db", "names no database"),
        ("postgresql://u:hunter2@db/", "names no database"),
        ("postgresql://u:hunter2@db:port/gateway", "port"),
        ("postgresql://u:hunter2@db:0/gateway", "port"),
        ("postgresql://u:hunter2@db:99999/gateway", "port"),
        ("postgresql://u:hunter2@a,b:x/gateway", "port"),
        ("postgresql://u:hunter2@[::1/gateway", "cannot be read"),
        ("postgresql://u:hunter2@db/gateway?option", "cannot be read"),
        ("postgresql://u:hunter2#@db/gateway", "'#'"),
        ("postgresql://u:hun/ter2@db/gateway", "'@'"),
        ("postgresql://u:hun?ter2@db/gateway", "cannot be read"),
        ("postgresql://u:hunter2@db/gate way", "blanks"),
        ("postgresql://u:hunter2@db/gate\nway", "control"),
        ("postgresql://u:hun@ter2@db/gateway", "'@'"),
        ("postgresql://u:hunter2@db,/gateway", "names no host"),
        ("postgresql://u:hunter2@:5432/gateway", "names no host"),
        ("postgresql://u:hunter2@db/gateway?host=other", "option host: remove one"),
        ("postgresql://u:hunter2@a,b,c/gateway?port=1,2", "option port"),
        ("postgresql://u:hunter2@db/gateway?port=0", "port"),
        ("postgresql://u:hunter2@db/gateway?sslmode=disable&sslmode=require", "sslmode twice"),
        ("postgresql://u:hunter2@db/gateway?sslmode=", "another sslmode"),
        ("postgresql://u:hunter2@db/gateway?sslmode=prefer", "sslmode=prefer.*verify-full"),
        ("postgresql://u:hunter2@db/gateway?sslcert=a.pem", "sslcert: write .*tls"),
        ("postgresql://u:hunter2@db/gateway?target_session_attrs=any", "target_session_attrs: .*remove"),
        ("postgresql://u:hunter2@db/gateway?fsync=off", "unknown option 'fsync'"),
        ("postgresql://u@db/gateway?password=hun&ter2=x", "after password"),
    ],
)
def test_a_postgresql_url_that_cannot_be_read_is_refused(url: str, says: str) -> None:
    """The message says what to write instead, and repeats no part of what may be a password."""
    for read in (describe, open_store):
        with pytest.raises(ValueError, match=says) as caught:
            read(url)
        assert not any(part in str(caught.value) for part in ("hunter2", "hun", "ter2"))


@pytest.mark.parametrize(
    ("hosts", "protected"),
    [
        ("db.example", "verify-full"),
        ("10.0.0.1,[2001:db8::1]", "verify-full verify-full"),
        ("localhost,LOCALHOST:1,127.0.0.1,127.9.9.9,[::1]", "disable disable disable disable disable"),
        ("localhost.example,127.0.0.1.example,0.0.0.0", "verify-full verify-full verify-full"),
        ("%2Frun%2Fpostgresql,db,localhost", "disable verify-full disable"),
    ],
)
def test_each_host_has_its_own_default(hosts: str, protected: str) -> None:
    """By default TLS is verified for every host that is not local; a mode in the url applies to all but sockets."""
    address = parse(f"postgresql://u@{hosts}/gateway")
    assert " ".join(address.protection(host) for host in address.hosts) == protected
    required = parse(f"postgresql://u@{hosts}/gateway?sslmode=require")
    assert {required.protection(host) for host in required.hosts if not host.is_socket} == {"require"}


def test_a_url_is_read_as_a_whole() -> None:
    """Hosts, ports, credentials and the understood options arrive decoded."""
    found = parse("postgresql://u%40x:p%2F%40@a:1,b,[::1]:3/db?search_path=wallets&target_session_attrs=read-write")
    assert [str(host) for host in found.hosts] == ["a:1", "b:5432", "[::1]:3"]
    assert (found.user, found.password, found.database, found.search_path) == ("u@x", "p/@", "db", "wallets")
    assert [host.port for host in parse("postgresql:///db?host=/run/a,b&port=1,2").hosts] == [1, 2]


async def test_a_postgresql_store_that_is_not_open_says_so() -> None:
    """Before `open` nothing is connected, and closing is harmless."""
    store = open_store("postgresql://u:hunter2@db/gateway")
    for work in (store.ping(), store.newest_event_id(), store.events_committed(-1), store.discrepancies()):
        with pytest.raises(StoreUnavailable, match="db/gateway is not open"):
            await work
    await store.close()
