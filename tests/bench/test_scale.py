"""What is filled in stands for what gateways would have kept, and what is measured is what was meant."""

from pathlib import Path

import pytest

from bench import scale, sized_gateways
from gateway.store.factory import audit_kept
from tests.support.postgres import PostgresServer

STORED = 100


@pytest.fixture(params=["sqlite", "postgres"])
def filled(request: pytest.FixtureRequest, tmp_path: Path, postgres: PostgresServer) -> sized_gateways.Filled:
    return sized_gateways.Filled(tmp_path, "large", postgres if request.param == "postgres" else None)


async def test_what_is_filled_in_is_known_to_a_gateway(filled: sized_gateways.Filled) -> None:
    """Sent again, a Result is not credited and a close is not sent; with new ones, each is."""
    async with sized_gateways.provider() as port:
        await filled.grow(STORED, port)
        await filled.grow(3 * STORED, port)
        async with filled.serving(port) as server:
            for load in (scale.results_again, scale.closes_again):
                assert (await scale.cost(server, load, 0.2)).cpu_us > 0
            before = await audit_kept(filled.url)
            assert before.transactions == 3 * STORED
            assert await scale.results(server, 0.2) > 0
            assert await scale.closes(server, 0.2) > 0
        after = await audit_kept(filled.url)
    assert after.transactions > 3 * STORED
    assert [each.field for each in after.discrepancies if each.field != "cash"] == []  # accounts are filled in empty
