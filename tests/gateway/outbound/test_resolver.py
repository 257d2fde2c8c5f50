"""A DNS server that hangs for one name delays no other."""

import asyncio
import socket
import threading
from typing import Any

import pytest

from gateway.outbound.resolver import resolve


async def test_hanging_queries_delay_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    """There may be more of them than the loop has threads."""
    release, getaddrinfo = threading.Event(), socket.getaddrinfo

    def hanging(host: str, port: int, family: int, *args: Any) -> Any:
        assert family == socket.AF_UNSPEC, "IPv6 too"
        if host == "hung.example":
            release.wait(30)
            raise socket.gaierror(socket.EAI_AGAIN, "no name server answers")
        return getaddrinfo(host, port, family, *args)

    monkeypatch.setattr(socket, "getaddrinfo", hanging)
    hung = [asyncio.ensure_future(resolve("hung.example", 443)) for _ in range(40)]
    try:
        await asyncio.sleep(0)
        async with asyncio.timeout(60):
            found = await resolve("127.0.0.1", 8080)
        assert [(family, address) for family, _, _, _, address in found] == [(socket.AF_INET, ("127.0.0.1", 8080))]
        hung[0].cancel()  # its result is ignored then
    finally:
        release.set()
    ended = await asyncio.gather(*hung, return_exceptions=True)
    assert isinstance(ended[0], asyncio.CancelledError)
    assert all(isinstance(each, socket.gaierror) for each in ended[1:])
