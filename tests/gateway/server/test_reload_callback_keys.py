"""Callback keys are rotated under load: no callback with a configured key is rejected."""

import asyncio
from collections import Counter
from dataclasses import dataclass, field
from itertools import count, pairwise
from pathlib import Path

import aiohttp

from tests.support.gateway import family_table
from tests.support.reloadable import Reloadable, reloadable
from tests.support.results import result_body

SENDERS = 8


def keyed(*keys: str) -> str:
    """The provider's table with these callback keys."""
    listed = ", ".join(f'"{key}"' for key in keys)
    return family_table("lucky", "luckymonaco", "http://127.0.0.1:1", callback_keys=f"[{listed}]")


@dataclass
class Senders:
    """Concurrent senders of callbacks, each with the key that is current when it is sent."""

    gateway: Reloadable
    key: str
    answered: Counter[tuple[str, int]] = field(default_factory=Counter)
    """By key and status."""
    in_flight: Counter[str] = field(default_factory=Counter)

    async def send(self, numbers: "count[int]") -> None:
        async with aiohttp.ClientSession() as http:
            while True:
                key = self.key
                self.in_flight[key] += 1
                async with http.post(url(self.gateway, key), data=result_body(f"reference-{next(numbers)}")) as answer:
                    self.answered[key, answer.status] += 1
                    assert answer.status != 200 or b'"error":0' in await answer.read()
                self.in_flight[key] -= 1

    async def use(self, key: str) -> None:
        """Send with this key; wait until all with other keys and a hundred with this one are answered."""
        self.key = key
        wanted = self.answered[key, 200] + 100
        async with asyncio.timeout(60):
            while self.answered[key, 200] < wanted or self.in_flight.total() > self.in_flight[key]:  # noqa: ASYNC110
                await asyncio.sleep(0.01)


def url(gateway: Reloadable, key: str) -> str:
    return f"http://{gateway.serving.ready_message['callbacks']}/callbacks/lucky/{key}/V4/Result"


async def test_keys_rotate_under_a_stream_of_callbacks(tmp_path: Path) -> None:
    """While old and new key are both configured the senders change to the new one, and no callback is rejected."""
    keys = [f"key-{number}-{'k' * 40}" for number in range(4)]
    async with reloadable(tmp_path, keyed(keys[0])) as gateway:
        await gateway.serving.open_account(opening_balance="0")
        senders, numbers = Senders(gateway, keys[0]), count()
        tasks = [asyncio.create_task(senders.send(numbers)) for _ in range(SENDERS)]
        for old, new in pairwise(keys):
            await senders.use(old)
            assert (await gateway.reload(keyed(old, new)))["changed"] == ["providers.lucky.callback_keys"]
            await senders.use(new)
            await gateway.reload(keyed(new))
            await senders.use(new)
        for task in tasks:
            task.cancel()
        ended = await asyncio.gather(*tasks, return_exceptions=True)
        assert {type(end) for end in ended} == {asyncio.CancelledError}
        assert {status for _, status in senders.answered} == {200}
        assert {key for key, _ in senders.answered} == set(keys)
        async with aiohttp.ClientSession() as http, http.post(url(gateway, keys[2]), data=result_body()) as answer:
            assert answer.status == 404
        await gateway.serving.stop()
        log = (tmp_path / "gateway.log").read_text()
        assert "callback rejected" in log
        assert not any(key in log for key in keys)


async def test_an_authenticated_callback_finishes_after_its_key_is_removed(tmp_path: Path) -> None:
    """A callback whose key is removed before its body arrives is credited, and its connection stays open."""
    old, new = "o" * 40, "n" * 40
    body = result_body()
    async with reloadable(tmp_path, keyed(old)) as gateway:
        await gateway.serving.open_account(opening_balance="0")
        host, _, port = gateway.serving.ready_message["callbacks"].partition(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        head = f"POST /callbacks/lucky/{{}}/V4/Result HTTP/1.1\r\nHost: gateway\r\nContent-Length: {len(body)}\r\n"
        writer.write(head.format(old).encode() + b"Expect: 100-continue\r\n\r\n")
        assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"  # it is authenticated
        await gateway.reload(keyed(new))
        writer.write(body)
        assert b'"error":0' in await read_response(reader)
        for key, status in ((new, b"200"), (old, b"404")):
            writer.write(head.format(key).encode() + b"\r\n" + body)
            assert (await read_response(reader)).split()[1] == status
        writer.close()
        await writer.wait_closed()
        assert await gateway.serving.cash() == 10
        await gateway.serving.stop()


async def read_response(reader: asyncio.StreamReader) -> bytes:
    """One response."""
    head = await reader.readuntil(b"\r\n\r\n")
    (length,) = (int(line.split(b":")[1]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length"))
    return head + await reader.readexactly(length)
