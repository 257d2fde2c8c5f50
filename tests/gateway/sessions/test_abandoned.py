"""Nothing is sent without a waiting caller, or with too little time left."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from gateway.outbound.admission import MIN_ATTEMPT_TIME_S
from gateway.store.base import Store
from tests.gateway.sessions.harness import THREE_ATTEMPTS, CloseHarness, close_harness, close_request
from tests.support.gateway import family_table, running_gateway
from tests.support.provider import answering, answering_after, scripted_provider
from tests.support.waiting import until


def hold_failures(store: Store, monkeypatch: pytest.MonkeyPatch) -> tuple[asyncio.Event, asyncio.Event]:
    """Hold up the records of failed attempts. The first event is set when one is held, the second releases them."""
    fail_close, held, release = store.fail_close, asyncio.Event(), asyncio.Event()

    async def fail_later(*args: Any) -> None:
        held.set()
        await release.wait()
        await fail_close(*args)

    monkeypatch.setattr(store, "fail_close", fail_later)
    return held, release


async def test_no_retry_where_the_caller_left_while_the_failure_was_recorded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A retry that was decided on is not made once the last caller has left."""
    async with close_harness(tmp_path, retry=THREE_ATTEMPTS) as harness:
        held, release = hold_failures(harness.store, monkeypatch)
        harness.provider.behaviour = answering(503)
        await harness.call_and_cancel(close_request(), held.wait)
        release.set()
        await harness.service.drain()
        assert len(harness.provider.received) == 1


async def test_nothing_is_sent_after_the_last_waiting_callers_deadline(tmp_path: Path) -> None:
    """The longer deadline of a caller that has left does not count, and the last caller receives NOT_SENT."""
    async with close_harness(tmp_path, limits="{ max_concurrent_calls = 1, max_queued_calls = 1 }") as harness:
        release = asyncio.Event()
        harness.provider.behaviour = answering_after(release)
        first = harness.start(close_request(), 60)
        await harness.provider.arrived.wait()
        request = close_request()
        long = harness.call(request, 60)
        execution = await harness.execution(request)
        short = asyncio.ensure_future(harness.fails_by(request, 2))
        await until(lambda: execution.waiters == 2)
        long.cancel()
        assert (await short).certainty == "NOT_SENT"
        release.set()
        await first
        await harness.service.drain()
        assert len(harness.provider.received) == 1


async def test_no_retry_where_the_store_used_up_the_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An attempt that would be cut off at once is not made: it would make a certain outcome uncertain."""
    section = family_table("lucky", "luckymonaco", "http://127.0.0.1:1", retry=THREE_ATTEMPTS)
    async with scripted_provider() as unused, running_gateway(tmp_path, section) as gateway:
        harness = CloseHarness(gateway, unused)
        held, release = hold_failures(harness.store, monkeypatch)
        request = close_request()
        failing = asyncio.ensure_future(harness.fails(request, 60))
        await held.wait()
        execution = await harness.execution(request)
        execution.deadline.cap(asyncio.get_running_loop().time() + MIN_ATTEMPT_TIME_S)
        release.set()
        assert (await failing).certainty == "NOT_SENT"
        await harness.service.drain()
        assert len(await harness.store.exchanges(request_id=request.request_id)) == 1
