"""An operator's wallet that hangs, or a store that does behind it: who waits for how long, and what is kept of it."""

import asyncio
import gc
import json
import tracemalloc
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from time import monotonic
from typing import Any

import asyncpg

from gateway.store.models import ReconciliationKind
from gateway.v1 import wallet_service_pb2 as pb
from tests.gateway.callbacks.clients import a_scene
from tests.gateway.callbacks.harness import (
    SEND_AGAIN,
    House,
)
from tests.support.results import RESULT
from tests.support.wallet import answering, hanging


async def test_a_wallet_that_hangs_is_answered_within_four_seconds(tmp_path: Path) -> None:
    """With the usual limits a wallet that does not answer costs 998 within 4 s, with its line and its item."""
    async with a_scene(tmp_path) as scene:
        scene.wallet.behaviour = hanging
        began = monotonic()
        assert await scene.deliver() == SEND_AGAIN
        assert 2.5 < monotonic() - began < 4
        assert len(await scene.house.journal()) == len(await scene.house.items()) == 1


async def test_an_outcome_that_nobody_waited_for_is_for_a_person(tmp_path: Path) -> None:
    """Where the time is over while the wallet is asked, as after a body that came slowly, it leaves line and item."""

    async def dripping() -> AsyncIterator[bytes]:
        body = json.dumps(RESULT).encode()
        yield body[:9]
        await asyncio.sleep(0.3)
        yield body[9:]

    async with a_scene(tmp_path, time_limit_s=0.5, credit_timeout_s=0.4) as scene:
        scene.wallet.behaviour = hanging
        assert await scene.deliver(dripping()) == SEND_AGAIN
        await scene.house.store.ping()  # written behind it
        items = await scene.house.items()
        assert [(item.kind, item.reference) for item in items] == [
            (ReconciliationKind.RESULT_UNKNOWN, RESULT["reference"])
        ]
        assert [(line.id, line.verdict) for line in await scene.house.journal()] == [
            (items[0].exchange_id, "TRY_AGAIN")
        ]
        scene.wallet.behaviour = answering()
        assert (await scene.deliver())["error"] == 0
        assert not await scene.house.items()


@asynccontextmanager
async def held_up(house: House, url: str) -> AsyncIterator[None]:
    """Somebody else has the database."""
    if not url:
        other = house.lock()
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


async def test_a_store_that_is_held_up_after_the_credit_is_mended_by_the_next_delivery(
    tmp_path: Path, url: str
) -> None:
    """Where the wallet has credited and the store takes nothing, the provider sends again, and gets the one answer."""
    async with a_scene(tmp_path, url=url, time_limit_s=0.5) as scene:
        async with held_up(scene.house, url):
            assert await scene.deliver() == SEND_AGAIN
        assert (await scene.deliver())["transactionId"] == "wallet-1"
        assert await scene.told() == ["RESULT_CREDITED"]


async def test_a_credit_stored_too_late_has_a_further_line(tmp_path: Path) -> None:
    """Where the store commits a credit after the time limit, a further line says that 998 was answered."""
    async with a_scene(tmp_path, time_limit_s=0.5) as scene:
        async with held_up(scene.house, ""):
            assert await scene.deliver() == SEND_AGAIN
        assert (await scene.deliver())["error"] == 0
        stored, late, again = await scene.house.journal()
        assert (late.verdict, json.loads(late.reply.body)) == ("TRY_AGAIN", SEND_AGAIN)
        assert f"line {stored.id} may be stored" in late.detail
        assert (stored.verdict, again.verdict) == ("CREDITED", "CREDITED")


async def test_a_limit_shorter_than_the_wallets_patience_leaves_no_task(tmp_path: Path) -> None:
    """A delivery whose time is over ends its call to the wallet; what that committed, the next delivery is told."""
    async with a_scene(tmp_path, time_limit_s=0.2, credit_timeout_s=30, attempt_timeout_s=30) as scene:
        assert (await scene.deliver())["error"] == 0
        gone = asyncio.Event()

        async def noticing(request: pb.ApplyResultRequest, context: Any) -> bytes:
            try:
                return await hanging(request, context)
            finally:
                gone.set()

        scene.wallet.behaviour = noticing
        before = asyncio.all_tasks()
        assert await scene.deliver() == SEND_AGAIN
        await asyncio.wait_for(gone.wait(), 5)
        # The scripted wallet lives on this loop too: what it waits for its next call with is not ours.
        ours = [task for task in asyncio.all_tasks() - before if "AioServer" not in repr(task)]
        if ours:
            await asyncio.wait(ours, timeout=5)
        assert not [task for task in ours if not task.done()]
        scene.wallet.behaviour = answering(replayed=True)
        assert (await scene.deliver())["transactionId"] == "wallet-1"
        assert len(await scene.house.events()) == 1


async def test_a_wallet_that_hangs_costs_no_memory(tmp_path: Path) -> None:
    """Three hundred deliveries that come to nothing leave neither tasks nor memory behind."""
    async with a_scene(tmp_path, attempt_timeout_s=0.05, credit_timeout_s=0.15) as scene:
        scene.wallet.behaviour = hanging

        async def fifty(name: str) -> None:
            bodies = [{**RESULT, "reference": f"{name}-{number}"} for number in range(50)]
            assert await asyncio.gather(*map(scene.deliver, bodies)) == [SEND_AGAIN] * 50
            scene.wallet.received.clear()
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
        # One delivery that stayed, with its task, its call and its body, would be ten times as much.
        assert after - before < 250 * 2000, f"{after - before} bytes"
