"""The rows that the benchmark fills in are those that a gateway would have stored."""

import asyncio

import pytest

from bench import scale
from bench.environment import ENGINES, bench_environment
from bench.sized_gateways import SeededDatabase
from gateway.store.factory import audit_kept

STORED = 100
SECONDS = 0.5


@pytest.mark.parametrize("engine", ENGINES)
async def test_what_is_filled_in_is_known_to_a_gateway(engine: str) -> None:
    """Sent again, a Result is not credited and a close is not sent; with new ids, each is."""
    async with bench_environment((engine,)) as environment:
        database = SeededDatabase(environment, "large", engine, scale.FEW_PROVIDERS)
        await database.grow(STORED)
        await database.grow(3 * STORED)
        async with database.serving() as gateway:
            for name, load in scale.LOADS.items():
                before = await audit_kept(database.url)
                assert (await scale.cost(gateway, load(gateway), SECONDS)).cpu_us > 0
                after = await audit_kept(database.url)
                assert (after.transactions > before.transactions) == (name == scale.RESULT)
        after = await audit_kept(database.url)
    assert [each.field for each in after.discrepancies if each.field != "cash"] == []  # accounts are filled in empty


async def test_children_may_end_while_their_time_is_read() -> None:
    """PostgreSQL's processes end with their connections: the time of the others is read all the same."""
    parent = await asyncio.create_subprocess_exec("/bin/sh", "-c", "while :; do /bin/true; done")
    try:
        assert all(scale.family_cpu_s(parent.pid) >= 0 for _ in range(2000))
    finally:
        parent.kill()
        await parent.wait()
