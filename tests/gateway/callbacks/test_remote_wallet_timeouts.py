"""A remote wallet that hangs, or a store that hangs after it: replies, records, tasks and memory."""

import asyncio
import gc
import json
import tracemalloc
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import asyncpg

from gateway.callbacks.handler import TIME_LIMIT_S
from gateway.store.reconciliation import ReconciliationKind
from gateway.v1 import wallet_service_pb2 as pb
from gateway.wallet.remote import CREDIT_TIMEOUT_S
from tests.gateway.callbacks.harness import (
    SEND_AGAIN,
    CallbackHarness,
)
from tests.gateway.callbacks.wallet_harness import open_wallet_harness
from tests.support.results import RESULT
from tests.support.waiting import until
from tests.support.wallet import answering, hanging


async def test_a_wallet_that_hangs_is_998_before_the_time_limit(tmp_path: Path) -> None:
    """With the default timeouts a wallet that hangs is 998 with its line and its item, and its timeout is the shorter
    one.
    """
    assert CREDIT_TIMEOUT_S + 0.5 <= TIME_LIMIT_S
    async with open_wallet_harness(tmp_path, time_limit_s=60) as wallet_harness:
        wallet_harness.wallet.behaviour = hanging
        assert await wallet_harness.deliver() == SEND_AGAIN
        (line,) = await wallet_harness.callbacks.journal()
        assert "the wallet is unavailable" in line.detail  # and not the callback's time limit
        assert len(await wallet_harness.callbacks.items()) == 1


async def test_a_time_limit_during_the_credit_leaves_an_item(tmp_path: Path) -> None:
    """If the time limit passes while the wallet is called, a line and an item are recorded."""
    async with open_wallet_harness(
        tmp_path, time_limit_s=2, credit_timeout_s=30, attempt_timeout_s=30
    ) as wallet_harness:
        wallet_harness.wallet.behaviour = hanging
        assert await wallet_harness.deliver() == SEND_AGAIN
        await until(wallet_harness.callbacks.items)
        items = await wallet_harness.callbacks.items()
        assert [(item.kind, item.reference) for item in items] == [
            (ReconciliationKind.RESULT_UNKNOWN, RESULT["reference"])
        ]
        assert [(line.id, line.verdict) for line in await wallet_harness.callbacks.journal()] == [
            (items[0].exchange_id, "TRY_AGAIN")
        ]
        wallet_harness.wallet.behaviour = answering()
        assert (await wallet_harness.deliver())["error"] == 0
        assert not await wallet_harness.callbacks.items()


@asynccontextmanager
async def locked(harness: CallbackHarness, url: str) -> AsyncIterator[None]:
    """Another connection locks the database."""
    if not url:
        other = harness.lock()
        yield
        other.close()
        return
    connection = await asyncpg.connect(url)
    try:
        async with connection.transaction():
            await connection.execute("LOCK TABLE wallet_credits, exchanges")
            yield
    finally:
        await connection.close()


async def test_a_store_that_hangs_after_the_credit_is_998(tmp_path: Path, url: str) -> None:
    """If the wallet has credited and the store records nothing, the next delivery gets the same transaction."""
    async with open_wallet_harness(tmp_path, url=url, time_limit_s=2) as wallet_harness:
        async with locked(wallet_harness.callbacks, url):
            assert await wallet_harness.deliver() == SEND_AGAIN
        assert (await wallet_harness.deliver())["transactionId"] == "wallet-1"
        assert await wallet_harness.event_types() == ["RESULT_CREDITED"]


async def test_a_credit_stored_too_late_has_a_further_line(tmp_path: Path) -> None:
    """If the store commits a credit after the time limit, a further line says that 998 was answered."""
    async with open_wallet_harness(tmp_path, time_limit_s=2) as wallet_harness:
        async with locked(wallet_harness.callbacks, ""):
            assert await wallet_harness.deliver() == SEND_AGAIN
        assert (await wallet_harness.deliver())["error"] == 0
        stored, late, again = await wallet_harness.callbacks.journal()
        assert (late.verdict, json.loads(late.reply.body)) == ("TRY_AGAIN", SEND_AGAIN)
        assert f"line {stored.id} may be stored" in late.detail
        assert (stored.verdict, again.verdict) == ("CREDITED", "CREDITED")


async def test_a_time_limit_shorter_than_the_wallet_s_leaves_no_task(tmp_path: Path) -> None:
    """The time limit cancels the call to the wallet, and the next delivery gets what it committed."""
    async with open_wallet_harness(
        tmp_path, time_limit_s=2, credit_timeout_s=30, attempt_timeout_s=30
    ) as wallet_harness:
        assert (await wallet_harness.deliver())["error"] == 0
        gone = asyncio.Event()

        async def noticing(request: pb.ApplyResultRequest, context: Any) -> bytes:
            try:
                return await hanging(request, context)
            finally:
                gone.set()

        wallet_harness.wallet.behaviour = noticing
        before = asyncio.all_tasks()
        assert await wallet_harness.deliver() == SEND_AGAIN
        await asyncio.wait_for(gone.wait(), 30)
        # The scripted wallet runs on this loop too: its own tasks do not count.
        tasks = [task for task in asyncio.all_tasks() - before if "AioServer" not in repr(task)]
        await until(lambda: all(task.done() for task in tasks))
        wallet_harness.wallet.behaviour = answering(replayed=True)
        assert (await wallet_harness.deliver())["transactionId"] == "wallet-1"
        assert len(await wallet_harness.callbacks.events()) == 1


async def test_a_wallet_that_hangs_leaves_no_memory(tmp_path: Path) -> None:
    """Three hundred deliveries without an outcome leave neither tasks nor memory behind."""
    async with open_wallet_harness(tmp_path, attempt_timeout_s=0.05, credit_timeout_s=0.15) as wallet_harness:
        wallet_harness.wallet.behaviour = hanging

        async def fifty(name: str) -> None:
            bodies = [{**RESULT, "reference": f"{name}-{number}"} for number in range(50)]
            assert await asyncio.gather(*map(wallet_harness.deliver, bodies)) == [SEND_AGAIN] * 50
            wallet_harness.wallet.received.clear()
            gc.collect()

        await fifty("first")
        tasks = len(asyncio.all_tasks())
        tracemalloc.start()
        try:
            await fifty("warm")
            before, _ = tracemalloc.get_traced_memory()
            for round_ in range(5):
                await fifty(f"round-{round_}")
            after, _ = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert len(asyncio.all_tasks()) <= tasks + 2
        # One delivery that remains, with its task, its call and its body, takes ten times as much.
        assert after - before < 250 * 2000, f"{after - before} bytes"
