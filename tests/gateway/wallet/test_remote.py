"""An operator's wallet that is slow, away, or gone: asked again in time, and never twice for one credit."""

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager, suppress
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import grpc
import pytest

from gateway.rpc.wallet_service import WalletService
from gateway.store.base import StoreUnavailable
from gateway.store.models import Applied, Balance
from gateway.store.sqlite import SqliteStore
from gateway.v1 import wallet_service_pb2 as pb
from gateway.wallet.base import PostingOutcome, WalletUnavailable
from gateway.wallet.builtin import BuiltinWallet
from gateway.wallet.channel import WalletAddress
from gateway.wallet.remote import CREDIT_TIMEOUT_S, RemoteWallet, _backoff_s
from gateway.wallet.remote_codec import InconclusiveAnswer
from tests.gateway.wallet.harness import SHORT_TIMEOUTS, RemoteWalletHarness, remote_wallet
from tests.gateway.wallet.journal import NOW, PRIZE, RESULT
from tests.support.actors import ADA
from tests.support.ports import held_port
from tests.support.wallet import Behaviour, answering, failing, hanging, in_turn, scripted_wallet


@asynccontextmanager
async def a_ledger(folder: Path) -> AsyncIterator[WalletService]:
    """The built-in ledger with the player's account, as an operator would copy it."""
    store = SqliteStore(str(folder / "wallet.db"))
    await store.open()
    ledger = BuiltinWallet(store, lambda: NOW)
    await ledger.open_account("421", "USD", Decimal(100), ADA)
    try:
        yield WalletService(ledger, lambda: 10, lambda _: False)
    finally:
        await store.close()


async def holds(ledger: WalletService) -> Decimal:
    balance = await ledger._wallet.balance("421", "USD")
    assert isinstance(balance, Balance)
    return balance.cash


async def unready(gateway: RemoteWalletHarness) -> None:
    """Wait until the gateway has noticed that its wallet has hung up."""
    async with asyncio.timeout(60):
        with suppress(WalletUnavailable):
            while True:
                await gateway.wallet.ready()
                await asyncio.sleep(0)


def and_then(first: Behaviour, then: Behaviour) -> Behaviour:
    """Do the first, and answer as the other: the wallet has credited, and its answer is lost."""

    async def behave(request: pb.ApplyResultRequest, context: Any) -> pb.ApplyResultResponse | bytes:
        await first(request, context)
        return await then(request, context)

    return behave


@pytest.mark.parametrize(
    "lost",
    [hanging, failing(grpc.StatusCode.UNAVAILABLE), failing(grpc.StatusCode.INTERNAL, "WHATEVER")],
    ids=["hangs", "unavailable", "internal"],
)
async def test_an_answer_that_was_lost_is_asked_for_again(tmp_path: Path, lost: Behaviour) -> None:
    """A wallet that credits and does not say so is asked again, and what it says then is a credit made once."""
    async with (
        a_ledger(tmp_path) as ledger,
        scripted_wallet() as wallet,
        remote_wallet(tmp_path, wallet.target, attempt_timeout_s=1.0, credit_timeout_s=30) as gateway,
    ):
        wallet.behaviour = in_turn(and_then(ledger.ApplyResult, lost), ledger.ApplyResult)
        first = await gateway.credit(replace(RESULT, promo=PRIZE))
        assert isinstance(first, Applied)
        assert (first.cash, first.replayed) == (Decimal("112.5"), True)
        assert await gateway.credit(replace(RESULT, promo=PRIZE)) == first
        assert await holds(ledger) == Decimal("112.5")
        assert len(wallet.received) == 3
        assert [event.type for event in await gateway.events()] == ["RESULT_CREDITED"]


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Grows by the seconds of each sleep between two attempts."""
    backoffs: set[float] = set()
    slept: list[float] = []
    sleep = asyncio.sleep

    def recorded(attempt: int, answer: InconclusiveAnswer) -> float:
        backoff = _backoff_s(attempt, answer)
        backoffs.add(backoff)
        return backoff

    async def recording(seconds: float) -> None:
        if seconds in backoffs:
            slept.append(seconds)
        await sleep(seconds)

    monkeypatch.setattr("gateway.wallet.remote._backoff_s", recorded)
    monkeypatch.setattr(asyncio, "sleep", recording)
    return slept


async def test_the_outcome_is_unknown_after_the_credit_timeout(tmp_path: Path) -> None:
    """A wallet that hangs is given up within the credit timeout, after as many attempts as fit."""
    async with scripted_wallet() as wallet, remote_wallet(tmp_path, wallet.target, **SHORT_TIMEOUTS) as gateway:
        wallet.behaviour = hanging
        assert "DEADLINE_EXCEEDED" in await gateway.fails()
        assert len(wallet.received) in {1, 2}  # of a second each


async def test_the_default_timeout_leaves_time_to_store_the_outcome(tmp_path: Path) -> None:
    """By default a wallet that hangs is given up in time to answer the provider, who waits four seconds."""
    assert CREDIT_TIMEOUT_S + 0.5 < 4
    async with scripted_wallet() as wallet, remote_wallet(tmp_path, wallet.target) as gateway:
        wallet.behaviour = hanging
        await gateway.fails()
        assert len(wallet.received) in {2, 3}  # of a second each


@pytest.mark.parametrize("code", [grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.RESOURCE_EXHAUSTED])
async def test_a_wallet_that_wants_time_is_given_it(tmp_path: Path, code: grpc.StatusCode, pauses: list[float]) -> None:
    """The wallet's RetryInfo is waited for where it fits into the credit timeout."""
    async with scripted_wallet() as wallet, remote_wallet(tmp_path, wallet.target) as gateway:
        wallet.behaviour = in_turn(failing(code, retry_after_s=0.4), answering())
        assert isinstance(await gateway.credit(), Applied)
        (pause,) = pauses
        assert 0.4 < pause < 0.5


async def test_a_wallet_that_wants_more_time_than_there_is_is_left_alone(tmp_path: Path, pauses: list[float]) -> None:
    """Where RetryInfo is longer than the credit timeout, the outcome is unknown at once."""
    async with scripted_wallet() as wallet, remote_wallet(tmp_path, wallet.target) as gateway:
        wallet.behaviour = failing(grpc.StatusCode.UNAVAILABLE, retry_after_s=30)
        await gateway.fails()
        assert not pauses
        assert len(wallet.received) == 1


@pytest.mark.parametrize("retry_after_s", [None, -100.0])
async def test_a_wallet_that_fails_at_once_is_not_hammered(
    tmp_path: Path, retry_after_s: float | None, pauses: list[float]
) -> None:
    """Pauses between attempts grow: a failing wallet is asked a few times, not hundreds, whatever it asks for."""
    async with scripted_wallet() as wallet, remote_wallet(tmp_path, wallet.target, credit_timeout_s=3.0) as gateway:
        wallet.behaviour = failing(grpc.StatusCode.UNAVAILABLE, retry_after_s=retry_after_s)
        await gateway.fails()
        assert len(wallet.received) == len(pauses) + 1
    assert 3 < len(pauses) < 15  # the shortest pauses: 0.025, 0.05, 0.1, 0.2 s, and then 0.25 s each
    assert pauses[-1] > 2 * pauses[0]


def test_no_two_callers_come_back_together() -> None:
    """A pause is drawn from a range that grows to half a second, and comes on top of what the wallet asks for."""
    for attempt, most in ((1, 0.05), (2, 0.1), (4, 0.4), (5, 0.5), (9, 0.5)):
        pauses = {_backoff_s(attempt, InconclusiveAnswer("", retry_after_s=2)) for _ in range(20)}
        assert len(pauses) == 20
        assert all(2 + most / 2 <= pause <= 2 + most for pause in pauses)


async def credited(gateway: RemoteWalletHarness, reference: str) -> PostingOutcome:
    """Deliver a Result as a provider does: again until its outcome is known."""
    while True:
        with suppress(WalletUnavailable):
            return await gateway.credit(replace(RESULT, reference=reference))


async def test_a_wallet_that_comes_up_late_is_found(tmp_path: Path) -> None:
    """A wallet that is down for a while when the gateway starts, and again later, is found soon after it comes up."""
    with ExitStack() as down:
        port = down.enter_context(held_port())
        async with remote_wallet(tmp_path, f"dns:///127.0.0.1:{port}") as gateway:
            for _ in range(2):
                assert "UNAVAILABLE" in await gateway.fails()
            with pytest.raises(WalletUnavailable, match=r"127\.0\.0\.1:\d+ cannot be reached \(.*\): see that it runs"):
                await gateway.wallet.ready()
            for reference in ("first", "second"):
                delivery = asyncio.create_task(credited(gateway, reference))
                await asyncio.sleep(0)
                down.close()
                async with scripted_wallet(port), asyncio.timeout(60):
                    assert isinstance(await delivery, Applied)
                    await gateway.wallet.ready()
                down.enter_context(held_port(port))
                await unready(gateway)


async def test_connections_that_are_dropped_leave_the_outcome_unknown(tmp_path: Path) -> None:
    """What takes connections and hangs up, before a word or in the middle of a call, is no answer."""

    async def hang_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.transport.abort()

    server = await asyncio.start_server(hang_up, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        async with remote_wallet(tmp_path, f"dns:///127.0.0.1:{port}", **SHORT_TIMEOUTS) as gateway:
            assert "UNAVAILABLE" in await gateway.fails()
            with pytest.raises(WalletUnavailable):
                await gateway.wallet.ready()


async def test_a_cancelled_credit_leaves_nothing_behind(tmp_path: Path) -> None:
    """A credit whose time is over ends with its call to the wallet, and leaves no task, and its place to others."""
    async with (
        scripted_wallet() as wallet,
        remote_wallet(tmp_path, wallet.target, attempt_timeout_s=30, credit_timeout_s=30, max_in_flight=1) as gateway,
    ):
        gone = asyncio.Event()

        async def noticing(request: pb.ApplyResultRequest, context: Any) -> bytes:
            try:
                return await hanging(request, context)
            finally:
                gone.set()

        assert isinstance(await gateway.credit(), Applied)
        before = asyncio.all_tasks()
        wallet.behaviour = noticing
        wallet.arrived.clear()
        delivery = asyncio.create_task(gateway.credit())
        await wallet.arrived.wait()
        delivery.cancel()
        with pytest.raises(asyncio.CancelledError):
            await delivery
        await asyncio.wait_for(gone.wait(), 60)
        # The scripted wallet lives on this loop too: what it waits for its next call with is not ours.
        ours = [task for task in asyncio.all_tasks() - before if "AioServer" not in repr(task)]
        if ours:
            await asyncio.wait(ours, timeout=60)
        assert not [task for task in ours if not task.done()]
        wallet.behaviour = answering()
        assert isinstance(await gateway.credit(), Applied)


async def test_credits_in_flight_are_limited(tmp_path: Path) -> None:
    """A Result above the limit is rejected without a call to the wallet; those in flight are credited."""
    async with (
        scripted_wallet() as wallet,
        remote_wallet(tmp_path, wallet.target, attempt_timeout_s=60, credit_timeout_s=60, max_in_flight=3) as gateway,
    ):
        full, release = asyncio.Event(), asyncio.Event()

        async def when_released(request: pb.ApplyResultRequest, context: Any) -> pb.ApplyResultResponse | bytes:
            if len(wallet.received) == 3:
                full.set()
            await release.wait()
            return await answering(transaction_id=request.reference)(request, context)

        wallet.behaviour = when_released
        names = [f"reference-{number}" for number in range(3)]
        in_flight = [asyncio.create_task(gateway.credit(replace(RESULT, reference=name))) for name in names]
        await asyncio.wait_for(full.wait(), 60)
        with pytest.raises(WalletUnavailable, match="too slow") as raised:
            await gateway.credit()
        assert not raised.value.asked
        assert len(wallet.received) == 3
        release.set()
        credited = await asyncio.gather(*in_flight)
        assert [outcome.transaction_id for outcome in credited if isinstance(outcome, Applied)] == names
        assert isinstance(await gateway.credit(), Applied)


async def test_a_credit_that_the_store_did_not_take_is_returned_again(tmp_path: Path) -> None:
    """Where the wallet has credited and the store is locked, the next delivery gets that credit, with its one event."""
    async with (
        a_ledger(tmp_path) as ledger,
        scripted_wallet() as wallet,
        remote_wallet(tmp_path, wallet.target) as gateway,
    ):
        wallet.behaviour = ledger.ApplyResult
        other = sqlite3.connect(gateway.path, isolation_level=None)
        other.execute("BEGIN EXCLUSIVE")
        with pytest.raises(StoreUnavailable):
            await gateway.credit()
        other.close()
        assert await holds(ledger) == Decimal(110)
        assert not await gateway.events()
        again = await gateway.credit()
        assert isinstance(again, Applied)
        assert again.replayed
        assert [event.type for event in await gateway.events()] == ["RESULT_CREDITED"]
        kept = await gateway.store.credit("monaco", RESULT.reference)
        assert kept is not None
        assert kept.transaction_id == again.transaction_id
        assert await holds(ledger) == Decimal(110)


async def test_a_wallet_that_is_not_started_or_closed_is_not_asked(tmp_path: Path) -> None:
    """Before its start and after its end there is no connection, and it says so; closing twice is harmless."""
    store = SqliteStore(str(tmp_path / "gateway.db"))
    wallet = RemoteWallet(WalletAddress("dns:///127.0.0.1:1"), store, lambda: NOW)
    for _ in range(2):
        with pytest.raises(WalletUnavailable, match="closed"):
            await wallet.ready()
        await wallet.start()
        channel = wallet._open()
        await wallet.close()
        await wallet.close()
        assert channel.get_state() is grpc.ChannelConnectivity.SHUTDOWN
