"""Large bodies are worked on beside the event loop, and no provider has to wait behind another's."""

import asyncio
import json
import threading
from pathlib import Path
from typing import Any

import pytest

from adapters.contract import Account, HttpRequest
from adapters.luckymonaco import ADAPTER as LUCKYMONACO
from gateway.callbacks.processor import SMALL_BYTES
from gateway.masking.mask import Mask
from tests.gateway.callbacks.harness import (
    EXPIRED,
    KYREN_EU,
    MONACO,
    SEND_AGAIN,
    SUCCESS,
    UNREADABLE,
    HarnessOptions,
    altered,
    open_harness,
)
from tests.support.waiting import until

MIB = 1024 * 1024


async def test_large_bodies_of_one_provider_do_not_stop_another(tmp_path: Path) -> None:
    """Six of a mebibyte at once are 57 or must be sent again, and another provider is answered meanwhile."""
    body = b"[" + b"1," * (MIB // 2 - 1) + b"1]"
    async with open_harness(tmp_path, HarnessOptions(body_limit=2 * MIB)) as harness:
        large = [asyncio.create_task(harness.deliver(MONACO.path("Result"), body)) for _ in range(6)]
        await asyncio.wait(large, return_when=asyncio.FIRST_COMPLETED)
        assert (await harness.deliver(KYREN_EU.path("SessionExpired"), EXPIRED)).json == SUCCESS
        for reply in await asyncio.gather(*large):
            assert reply.json in (UNREADABLE, SEND_AGAIN)


@pytest.mark.parametrize("work", ["decode", "mask"])
async def test_a_large_body_does_not_wait_for_another_provider(tmp_path: Path, work: str) -> None:
    """While several of one provider are worked on or wait for it, that of another one is answered."""
    begun, release = threading.Event(), threading.Event()

    def block(body: bytes) -> None:
        if body.endswith(b" "):
            begun.set()
            release.wait(30)

    def decode(account: Account[Any], request: HttpRequest) -> Any:
        block(request.body)
        return LUCKYMONACO.callbacks["V4/SessionExpired"].decode(account, request)

    class BlockingMask(Mask):
        def body(self, body: bytes) -> bytes:
            block(body)
            return super().body(body)

    options = {
        "decode": HarnessOptions(adapter=altered(LUCKYMONACO, decode=decode)),
        "mask": HarnessOptions(mask=BlockingMask),
    }
    body = json.dumps(EXPIRED).encode()
    async with open_harness(tmp_path, options[work]) as harness:
        blocked = [
            asyncio.create_task(harness.deliver(MONACO.path("SessionExpired"), body.ljust(SMALL_BYTES + 1)))
            for _ in range(3)
        ]
        await until(begun.is_set)
        try:
            reply = await harness.deliver(KYREN_EU.path("SessionExpired"), body.rjust(SMALL_BYTES + 1))
        finally:
            release.set()
        await asyncio.gather(*blocked)
    assert reply.json == SUCCESS


async def test_large_bodies_are_decoded_and_masked_on_threads(tmp_path: Path) -> None:
    """Large headers are masked there, too. Small bodies are not: a thread would take longer than the work."""
    decoded, masked = [], []

    class WatchedMask(Mask):
        def body(self, body: bytes) -> bytes:
            if len(body) > 1000:  # no reply
                masked.append(threading.current_thread() is threading.main_thread())
            return super().body(body)

    def decode(account: Account[Any], request: HttpRequest) -> Any:
        decoded.append(threading.current_thread() is threading.main_thread())
        return LUCKYMONACO.callbacks["V4/SessionExpired"].decode(account, request)

    options = HarnessOptions(adapter=altered(LUCKYMONACO, decode=decode), mask=WatchedMask)
    async with open_harness(tmp_path, options) as harness:
        for size, headers in ((SMALL_BYTES // 2, {}), (SMALL_BYTES + 1, {}), (2000, {"X-Filling": "\\" * 8000})):
            body = json.dumps(EXPIRED).encode().ljust(size)
            assert (await harness.deliver(MONACO.path("SessionExpired"), body, headers=headers)).json == SUCCESS
    assert decoded == [True, False, True]
    assert masked == [True, False, False]
