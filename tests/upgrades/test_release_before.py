"""The release before, its own code, and this one: on a database that either has written and this one migrated."""

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path

import aiohttp
import grpc
import pytest

from gateway.v1 import reconciliation_service_pb2 as reconciliation
from gateway.v1 import session_service_pb2 as sessions
from gateway.v1 import transaction_service_pb2 as transactions
from gateway.v1.reconciliation_service_pb2_grpc import ReconciliationServiceStub
from gateway.v1.transaction_service_pb2_grpc import TransactionServiceStub
from tests.support.process import Serving, run, serving
from tests.support.provider import ScriptedProvider, hanging, scripted_provider
from tests.support.results import result_body
from tests.upgrades.operating import (
    close_session,
    configured,
    events,
    release_before,
    serving_before,
)

CLOSED_BEFORE = "6a0b1f0e-8f7b-4a53-9d57-3f4f0d1f1a01"
CLOSED_AFTER = "6a0b1f0e-8f7b-4a53-9d57-3f4f0d1f1a02"
CUT_OFF = "6a0b1f0e-8f7b-4a53-9d57-3f4f0d1f1a03"


@pytest.fixture
def before(tmp_path: Path) -> Path:
    """The release before, unpacked."""
    return release_before(tmp_path)


@pytest.fixture
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as session:
        yield session


@pytest.fixture
async def provider() -> AsyncIterator[ScriptedProvider]:
    async with scripted_provider() as provider:
        yield provider


async def open_items(gateway: Serving) -> list[tuple[str, str]]:
    """Open items, as (fault, reference or request_id)."""
    async with grpc.aio.insecure_channel(gateway.ready_message["grpc"]) as channel:
        listed = await ReconciliationServiceStub(channel).ListItems(reconciliation.ListItemsRequest())
        return [(item.fault, item.reference or item.request_id) for item in listed.items]


async def credited(gateway: Serving, user_id: str = "421") -> list[str]:
    """The references of a player's transactions, oldest first."""
    async with grpc.aio.insecure_channel(gateway.ready_message["grpc"]) as channel:
        request = transactions.ListTransactionsRequest(user_id=user_id)
        listed = await TransactionServiceStub(channel).ListTransactions(request)
        return [each.reference for each in reversed(listed.transactions)]


async def books_add_up(config: Path) -> None:
    ended = await run("verify", "--config", str(config))
    assert ended.code == 0, ended.err
    assert "the ledger balances" in ended.out


async def test_the_release_before_works_on_the_migrated_database(
    tmp_path: Path, before: Path, http: aiohttp.ClientSession, provider: ScriptedProvider
) -> None:
    """It starts on it after a rollback, replays what this release credited, credits, refuses and closes; and this
    release, started again, finds all of it.
    """
    config = configured(tmp_path, base_url=provider.base_url)
    async with serving(config) as gateway:
        await gateway.open_account()
        first = await gateway.deliver(http, result_body("r1"))
        assert first["error"] == 0
        assert (await gateway.deliver(http, result_body("r2", userId="422")))["error"] == 62
        assert (await close_session(gateway, CLOSED_BEFORE)).outcome == sessions.OUTCOME_CLOSED
        await gateway.stop()

    async with serving_before(before, config) as gateway:
        assert await gateway.deliver(http, result_body("r1")) == first
        assert (await gateway.deliver(http, result_body("r1", amount="11")))["error"] == 999
        second = await gateway.deliver(http, result_body("r3"))
        assert second["error"] == 0
        await gateway.open_account("422")
        assert (await gateway.deliver(http, result_body("r2", userId="422")))["error"] == 0
        assert (await close_session(gateway, CLOSED_BEFORE)).replayed
        assert (await close_session(gateway, CLOSED_AFTER)).outcome == sessions.OUTCOME_CLOSED
        await gateway.stop()

    await books_add_up(config)
    async with serving(config) as gateway:
        assert await gateway.deliver(http, result_body("r3")) == second
        assert (await close_session(gateway, CLOSED_AFTER)).replayed
        assert await gateway.cash() == 21
        assert await gateway.cash("422") == 11
        assert await credited(gateway) == ["r1", "r3"]
        assert await open_items(gateway) == [("REFERENCE_REUSED", "r1")]
        assert await events(gateway, 7) == [
            ("RESULT_CREDITED", "r1"),
            ("RESULT_REFUSED", "r2"),
            ("SESSION_CLOSED", CLOSED_BEFORE),
            ("RESULT_REFUSED", "r1"),
            ("RESULT_CREDITED", "r3"),
            ("RESULT_CREDITED", "r2"),
            ("SESSION_CLOSED", CLOSED_AFTER),
        ]
        await gateway.stop()
    await books_add_up(config)


async def test_this_release_works_on_the_data_of_the_one_before(
    tmp_path: Path, before: Path, http: aiohttp.ClientSession, provider: ScriptedProvider
) -> None:
    """A database full of the old release's data is migrated in place: what it kept is found, its attempt that was cut
    off is reported, and nothing is paid again.
    """
    config = configured(tmp_path, base_url=provider.base_url)
    async with serving_before(before, config) as gateway:
        await gateway.open_account()
        answers = await asyncio.gather(*(gateway.deliver(http, result_body(f"r{number}")) for number in range(100)))
        assert {answer["error"] for answer in answers} == {0}
        assert (await gateway.deliver(http, result_body("lost", userId="422")))["error"] == 62
        provider.behaviour = hanging
        closing_now = asyncio.ensure_future(close_session(gateway, CUT_OFF))
        await provider.arrived.wait()
        gateway.process.kill()
        with pytest.raises(grpc.aio.AioRpcError):
            await closing_now
    with closing(sqlite3.connect(tmp_path / "gateway.db")) as db:
        assert db.execute("SELECT 1 FROM sqlite_schema WHERE name = 'wallet_credits'").fetchone() is None

    await books_add_up(config)  # also as it is, before it is migrated
    async with serving(config) as gateway:
        again = await asyncio.gather(*(gateway.deliver(http, result_body(f"r{number}")) for number in range(100)))
        assert [answer["transactionId"] for answer in again] == [answer["transactionId"] for answer in answers]
        assert await gateway.cash() == 1001
        assert len(await credited(gateway)) == 100
        async with asyncio.timeout(60):
            while len(found := await open_items(gateway)) < 2:  # noqa: ASYNC110 - another process's
                await asyncio.sleep(0.05)
        assert found == [("ACCOUNT_UNKNOWN", "lost"), ("CLOSE_UNKNOWN", CUT_OFF)]
        await gateway.open_account("422")
        assert (await gateway.deliver(http, result_body("lost", userId="422")))["error"] == 0
        assert await open_items(gateway) == [("CLOSE_UNKNOWN", CUT_OFF)]
        await gateway.stop()
    await books_add_up(config)
