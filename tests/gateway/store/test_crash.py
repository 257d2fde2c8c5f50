"""A process that is killed while it credits: what it acknowledged is there, and everything there is whole."""

import asyncio
import sys
from contextlib import suppress
from decimal import Decimal

import pytest

from gateway.store.models import Applied, Balance
from tests.gateway.store.conftest import Database
from tests.gateway.store.crediting import AMOUNT
from tests.gateway.store.samples import deliver, posting, published_events


async def acknowledged_until_killed(url: str, lines: int) -> list[str]:
    """Start the crediting process, kill it after that many acknowledgements, and answer all that it gave."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.gateway.store.crediting", url, stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    try:
        async with asyncio.timeout(30):
            printed = [await process.stdout.readline() for _ in range(lines)]
    finally:
        with suppress(ProcessLookupError):
            process.kill()
    rest = await process.stdout.read()
    await process.wait()
    return [line.decode().strip() for line in [*printed, *rest.splitlines(keepends=True)] if line.endswith(b"\n")]


@pytest.mark.parametrize("lines", [1, 60, 300])
async def test_what_was_acknowledged_is_there_after_a_kill(database: Database, lines: int) -> None:
    """Acknowledged references are applied, each applied one has its event and its line, and the sum is the balance."""
    acknowledged = await acknowledged_until_killed(database.url, lines)
    assert len(acknowledged) >= lines

    store = database()
    await store.open()
    applied = [event.reference for event in await published_events(store)]
    assert set(acknowledged) <= set(applied)
    assert len(applied) == len(set(applied)) == len(await store.exchanges(limit=1_000_000))
    balance = AMOUNT * len(applied)
    assert await store.balance("player-1", "EUR") == Balance("EUR", balance)
    for reference in acknowledged:
        again = await deliver(store, posting(reference, amount=AMOUNT))
        assert isinstance(again, Applied)
        assert (again.replayed, again.cash) == (True, balance)
    assert balance > Decimal(0)
    await store.close()
