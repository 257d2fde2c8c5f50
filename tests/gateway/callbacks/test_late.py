"""Outcomes that come after the provider was told to send again: the journal tells both, what came and what was said."""

import asyncio
import json
import tempfile
import time
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path

import asyncpg

from adapters.contract import Result
from gateway.store.models import Exchange
from gateway.wallet.base import PostingOutcome
from gateway.wallet.builtin import BuiltinWallet
from tests.gateway.callbacks.harness import MONACO, SEND_AGAIN, Furnishing, House, clock, open_house
from tests.gateway.store.postgres.proxy import proxied
from tests.support.postgres import PostgresServer
from tests.support.results import RESULT


class Slow(BuiltinWallet):
    """Its transaction takes a while after the line was made."""

    async def credit(
        self, provider: str, result: Result, narrate: Callable[[PostingOutcome], Exchange]
    ) -> PostingOutcome:
        def slowly(outcome: PostingOutcome) -> Exchange:
            line = narrate(outcome)
            time.sleep(0.6)  # on the writer's thread
            return line

        return await super().credit(provider, result, slowly)


async def told_twice(house: House, detail: str = "says CREDITED") -> None:
    """The credit stands; its line says CREDITED, and a line behind it says that 998 was answered."""
    async with asyncio.timeout(5):
        while len(await house.journal()) < 2:  # noqa: ASYNC110 - nobody tells of a line
            await asyncio.sleep(0.02)
    lines = {line.verdict: line for line in await house.journal()}
    assert set(lines) == {"CREDITED", "TRY_AGAIN"}
    assert json.loads(lines["TRY_AGAIN"].reply.body) == SEND_AGAIN
    assert detail in lines["TRY_AGAIN"].detail
    assert lines["TRY_AGAIN"].request == lines["CREDITED"].request
    assert await house.cash() == 110
    assert not await house.items()
    assert len(await house.journal()) == 2


async def test_a_commit_that_comes_too_late(tmp_path: Path) -> None:
    """On SQLite, where the disk is slow once the line is made."""
    furnishing = Furnishing(wallet=lambda store: Slow(store, clock), time_limit_s=0.3)
    async with open_house(tmp_path, furnishing) as house:
        await house.open_account()
        assert (await house.deliver(MONACO.path("Result"), RESULT)).json == SEND_AGAIN
        await told_twice(house)


async def test_a_commit_that_comes_too_late_on_postgres(tmp_path: Path, postgres_url: str) -> None:
    """On PostgreSQL, where somebody holds the journal up once the line is made."""
    async with open_house(tmp_path, Furnishing(url=postgres_url, time_limit_s=0.3)) as house:
        await house.open_account()
        other = await asyncpg.connect(postgres_url)
        async with other.transaction():
            await other.execute("LOCK TABLE exchanges IN SHARE MODE")
            assert (await house.deliver(MONACO.path("Result"), RESULT)).json == SEND_AGAIN
        await other.close()
        async with asyncio.timeout(5):
            while "TRY_AGAIN" not in [line.verdict for line in await house.journal()]:  # noqa: ASYNC110 - as above
                await asyncio.sleep(0.02)
        # A batch that is tried again tells its line again, which says by itself what was answered.
        assert {json.loads(line.reply.body)["error"] for line in await house.journal()} <= {0, 998}
        assert not await house.items()
        assert (await house.deliver(MONACO.path("Result"), RESULT)).json["cash"] == Decimal(110)


async def test_a_commit_whose_answer_is_lost(tmp_path: Path, postgres: PostgresServer, postgres_url: str) -> None:
    """The line that is kept by a COMMIT that nobody heard of has one behind it as well."""
    with tempfile.TemporaryDirectory() as folder:
        furnishing = Furnishing(url=postgres_url.replace(str(postgres.folder), folder))
        async with proxied(postgres.folder, Path(folder)) as proxy, open_house(tmp_path, furnishing) as house:
            await house.open_account()
            proxy.commits_to_lose = 1
            assert (await house.deliver(MONACO.path("Result"), RESULT)).json == SEND_AGAIN
            await told_twice(house, "the store did not take it")
