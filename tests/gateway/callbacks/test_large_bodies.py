"""Large bodies are worked on beside the event loop, and no provider has to wait behind another's."""

import asyncio
import json
import threading
from pathlib import Path
from typing import Any

import pytest

from adapters.contract import Account, HttpRequest
from adapters.luckymonaco import ADAPTER as LUCKYMONACO
from gateway.callbacks.large_bodies import LARGE_BYTES, LargeBodies
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


class Work:
    """Work that takes until it is released, and counts how many run."""

    def __init__(self) -> None:
        self.running = 0
        self.most = 0
        self.released = threading.Event()
        self._lock = threading.Lock()

    def __call__(self) -> str:
        with self._lock:
            self.running += 1
            self.most = max(self.most, self.running)
        self.released.wait(30)
        with self._lock:
            self.running -= 1
        return threading.current_thread().name


async def test_a_small_body_is_worked_on_at_once() -> None:
    """It takes less time than a thread's start."""
    assert await LargeBodies().run("one", LARGE_BYTES, lambda: threading.current_thread().name) == "MainThread"
    assert await LargeBodies().run("one", LARGE_BYTES + 1, lambda: threading.current_thread().name) != "MainThread"


async def test_one_of_a_provider_and_few_of_all_run_at_once() -> None:
    """A second provider is served beside the queue of the first."""
    bodies, first, second = LargeBodies(), Work(), Work()
    queue = [asyncio.create_task(bodies.run("one", MIB, first)) for _ in range(5)]
    await until(lambda: first.running == 1)
    other = asyncio.create_task(bodies.run("two", MIB, second))
    await until(lambda: second.running == 1)
    second.released.set()
    assert await other != "MainThread"
    first.released.set()
    await asyncio.gather(*queue)
    assert first.most == 1


async def test_cancelled_work_keeps_its_place_until_it_ends() -> None:
    """Otherwise callbacks that are too late would pile up threads."""
    bodies, work = LargeBodies(), Work()
    cancelled = asyncio.create_task(bodies.run("one", MIB, work))
    await until(lambda: work.running == 1)
    cancelled.cancel()
    await asyncio.wait({cancelled})
    waiting = asyncio.create_task(bodies.run("one", MIB, work))
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(asyncio.shield(waiting), 0.05)
    work.released.set()
    await waiting
    assert work.most == 1


async def test_large_bodies_of_one_provider_do_not_stop_another(tmp_path: Path) -> None:
    """Six of a mebibyte at once are 57 or must be sent again, and another provider is answered meanwhile."""
    body = b"[" + b"1," * (MIB // 2 - 1) + b"1]"
    async with open_harness(tmp_path, HarnessOptions(body_limit=2 * MIB)) as harness:
        large = [asyncio.create_task(harness.deliver(MONACO.path("Result"), body)) for _ in range(6)]
        await asyncio.wait(large, return_when=asyncio.FIRST_COMPLETED)
        assert (await harness.deliver(KYREN_EU.path("SessionExpired"), EXPIRED)).json == SUCCESS
        for reply in await asyncio.gather(*large):
            assert reply.json in (UNREADABLE, SEND_AGAIN)


async def test_large_bodies_are_decoded_and_masked_on_threads(tmp_path: Path) -> None:
    """Small ones are not: a thread would take longer than the work."""
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
        for size in (LARGE_BYTES, LARGE_BYTES + 1):
            body = json.dumps(EXPIRED).encode().ljust(size)
            assert (await harness.deliver(MONACO.path("SessionExpired"), body)).json == SUCCESS
    assert decoded == masked == [True, False]
