"""Outcomes that come after the provider was answered 998: the journal has a line of each."""

import json
import tempfile
import threading
from collections.abc import Callable
from datetime import datetime
from decimal import Decimal
from pathlib import Path

import asyncpg

from adapters.contract import Result
from gateway.store.base import RecordsT
from gateway.store.ceilings import Ceiling
from gateway.store.sqlite import SqliteStore
from gateway.wallet.base import PostingOutcome
from gateway.wallet.builtin import BuiltinWallet
from tests.gateway.callbacks.harness import MONACO, SEND_AGAIN, CallbackHarness, HarnessOptions, clock, open_harness
from tests.gateway.store.postgres.proxy import proxied
from tests.support.postgres import PostgresServer
from tests.support.results import RESULT
from tests.support.waiting import until


class SlowWallet(BuiltinWallet):
    """Its transaction waits for `answered` once its records are made."""

    def __init__(self, store: SqliteStore, answered: threading.Event) -> None:
        super().__init__(store, clock)
        self._answered = answered

    async def credit(
        self,
        provider: str,
        result: Result,
        records_of: Callable[[datetime, PostingOutcome], RecordsT],
        ceiling: Ceiling | None = None,
    ) -> RecordsT:
        def slow(ended_at: datetime, outcome: PostingOutcome) -> RecordsT:
            made = records_of(ended_at, outcome)
            assert self._answered.wait(10)  # on the writer's thread
            return made

        return await super().credit(provider, result, slow, ceiling)


async def assert_two_lines(harness: CallbackHarness, detail: str) -> None:
    """The credit is stored; its line says CREDITED, and a further line says that 998 was answered."""

    async def both_recorded() -> bool:
        return len(await harness.journal()) >= 2

    await until(both_recorded)
    lines = {line.verdict: line for line in await harness.journal()}
    assert set(lines) == {"CREDITED", "TRY_AGAIN"}
    assert json.loads(lines["TRY_AGAIN"].reply.body) == SEND_AGAIN
    assert detail in lines["TRY_AGAIN"].detail
    assert lines["TRY_AGAIN"].request == lines["CREDITED"].request
    assert await harness.cash() == 110
    assert not await harness.items()
    assert len(await harness.journal()) == 2


async def test_a_commit_that_comes_too_late(tmp_path: Path) -> None:
    """On SQLite, a commit after the time limit leaves a line CREDITED and a further line that says 998."""
    answered = threading.Event()
    options = HarnessOptions(wallet=lambda store: SlowWallet(store, answered), time_limit_s=2)
    async with open_harness(tmp_path, options) as harness:
        await harness.open_account()
        assert (await harness.deliver(MONACO.path("Result"), RESULT)).json == SEND_AGAIN
        answered.set()
        await assert_two_lines(harness, "may be stored")


async def test_a_commit_that_comes_too_late_on_postgres(tmp_path: Path, postgres_url: str) -> None:
    """On PostgreSQL, a commit that waits for a locked journal leaves a line that says 998 as well."""
    async with open_harness(tmp_path, HarnessOptions(url=postgres_url, time_limit_s=1)) as harness:
        await harness.open_account()
        other = await asyncpg.connect(postgres_url)
        async with other.transaction():
            await other.execute("LOCK TABLE exchanges IN SHARE MODE")
            assert (await harness.deliver(MONACO.path("Result"), RESULT)).json == SEND_AGAIN
        await other.close()

        async def failure_recorded() -> bool:
            return "TRY_AGAIN" in [line.verdict for line in await harness.journal()]

        await until(failure_recorded)
        assert {json.loads(line.reply.body)["error"] for line in await harness.journal()} <= {0, 998}
        assert not await harness.items()
        assert (await harness.deliver(MONACO.path("Result"), RESULT)).json["cash"] == Decimal(110)


async def test_a_commit_whose_answer_is_lost(tmp_path: Path, postgres: PostgresServer, postgres_url: str) -> None:
    """A line stored by a COMMIT whose answer was lost has a further line too."""
    with tempfile.TemporaryDirectory() as folder:
        options = HarnessOptions(url=postgres_url.replace(str(postgres.folder), folder))
        async with proxied(postgres.folder, Path(folder)) as proxy, open_harness(tmp_path, options) as harness:
            await harness.open_account()
            proxy.commits_to_lose = 1
            assert (await harness.deliver(MONACO.path("Result"), RESULT)).json == SEND_AGAIN
            await assert_two_lines(harness, "the store did not record it")
