"""A name whose servers do not answer holds up no other."""

import asyncio
import socket
import threading
from typing import Any

import pytest

from gateway.outbound.resolver import Resolver


async def test_names_that_hang_hold_up_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    """However many of them there are: more than the loop has threads for."""
    release, look_up = threading.Event(), socket.getaddrinfo

    def hanging(host: str, *args: Any, **kwargs: Any) -> Any:
        if host == "hung.example":
            release.wait(30)
            raise socket.gaierror(socket.EAI_AGAIN, "no name server answers")
        return look_up(host, *args, **kwargs)

    monkeypatch.setattr(socket, "getaddrinfo", hanging)
    resolver = Resolver()
    hung = [asyncio.ensure_future(resolver.resolve("hung.example", 443)) for _ in range(40)]
    try:
        await asyncio.sleep(0)
        async with asyncio.timeout(5):
            found = await resolver.resolve("127.0.0.1", 8080)
        assert [(each["host"], each["port"], each["family"]) for each in found] == [("127.0.0.1", 8080, socket.AF_INET)]
        hung[0].cancel()  # what it comes to is nobody's then
    finally:
        release.set()
    ended = await asyncio.gather(*hung, return_exceptions=True)
    assert isinstance(ended[0], asyncio.CancelledError)
    assert all(isinstance(each, socket.gaierror) for each in ended[1:])
