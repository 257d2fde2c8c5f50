"""A shortage of this host is distinguished from a failure of the provider."""

import errno
import os
import resource
import socket
from collections.abc import Iterator
from functools import cache

import pytest

from gateway.outbound import tls
from gateway.outbound.client import ExchangeFault
from gateway.outbound.connection import Connection
from gateway.outbound.connection_pool import ConnectionPool
from gateway.outbound.shortage import shortage
from tests.gateway.outbound.harness import client, exchange, failure
from tests.gateway.outbound.raw_provider import Peer, answer, raw_provider


@pytest.fixture
def file_limit() -> Iterator[None]:
    """The test may lower the limit of open files."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, before)


def at_the_limit() -> None:
    """Allow no file more than are open."""
    lowest_free = os.dup(0)
    os.close(lowest_free)
    resource.setrlimit(resource.RLIMIT_NOFILE, (lowest_free, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))


async def test_without_a_file_nothing_is_sent_and_the_host_is_named(file_limit: None) -> None:
    """For real: the next connection finds no free file, and once there is one the call succeeds."""

    async def provider(peer: Peer) -> None:
        while await peer.request():
            await peer.send(answer())

    async with raw_provider(provider) as provided, client(provided.base_url) as c:
        allowed = resource.getrlimit(resource.RLIMIT_NOFILE)
        at_the_limit()
        failed = await failure(c)
        resource.setrlimit(resource.RLIMIT_NOFILE, allowed)
        assert (failed.fault, failed.sent) == (ExchangeFault.HOST_SHORT, False)
        assert "this host is short of open files" in failed.detail
        assert "ulimit -n" in failed.detail
        assert (await exchange(c)).status == 200


@pytest.mark.parametrize(
    "error", [socket.gaierror(socket.EAI_NONAME, "x"), socket.gaierror(socket.EAI_AGAIN, "x"), OSError("two addresses")]
)
def test_an_error_that_hides_its_cause_is_examined(file_limit: None, error: OSError) -> None:
    """A resolver that could open no file says that it knows no such name; several addresses have no one errno."""
    assert shortage(error) == ""
    at_the_limit()
    assert shortage(error).startswith("open files")
    assert shortage(TimeoutError()) == ""


def test_tls_settings_without_an_authority_are_not_kept(file_limit: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Made while no file is left they would refuse every provider until a restart: the next call makes them again."""
    monkeypatch.setattr(tls, "create_tls_context", cache(tls.create_tls_context.__wrapped__))
    allowed = resource.getrlimit(resource.RLIMIT_NOFILE)
    at_the_limit()
    with pytest.raises(OSError, match=os.strerror(errno.EMFILE)):
        tls.tls_context()
    resource.setrlimit(resource.RLIMIT_NOFILE, allowed)
    assert tls.tls_context() is tls.tls_context()


@pytest.mark.parametrize(
    ("error", "what"),
    [
        (OSError(errno.ENFILE, "x"), "open files of the whole system"),
        (OSError(errno.EADDRNOTAVAIL, "x"), "local ports"),
        (OSError(errno.ENOBUFS, "x"), "memory for sockets"),
        (MemoryError(), "memory"),
        (RuntimeError("can't start new thread"), "threads"),
        (socket.gaierror(socket.EAI_MEMORY, "x"), "memory"),
    ],
)
async def test_each_shortage_is_named(monkeypatch: pytest.MonkeyPatch, error: Exception, what: str) -> None:
    """Ports, memory and threads are as much this host's as files."""

    async def acquire(_: ConnectionPool) -> Connection:
        raise error

    monkeypatch.setattr(ConnectionPool, "acquire", acquire)
    async with client("http://127.0.0.1:1") as c:
        failed = await failure(c)
    assert (failed.fault, failed.sent) == (ExchangeFault.HOST_SHORT, False)
    assert f"this host is short of {what}" in failed.detail


@pytest.mark.parametrize(
    "error",
    [
        ConnectionRefusedError(errno.ECONNREFUSED, "x"),
        TimeoutError(),
        socket.gaierror(socket.EAI_NONAME, "x"),
        OSError(),
    ],
)
def test_other_errors_are_no_shortage(error: Exception) -> None:
    """A provider that is down, or a name that is unknown, is not this host's fault."""
    assert shortage(error) == ""
