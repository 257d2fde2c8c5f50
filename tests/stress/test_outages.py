"""Outages, small; those of wallets on SQLite alone."""

import asyncio
from dataclasses import replace
from pathlib import Path

from tests.stress.figures import Figures, failures
from tests.stress.outages import Outage, outage, outages_of
from tests.stress.processes import Engine, StressEnvironment
from tests.support.postgres import postgres_server

AT_ONCE = 32


async def _small(environment: StressEnvironment, what: Outage) -> Figures:
    folder = environment.folder / what.name
    folder.mkdir()
    return await outage(replace(environment, folder=folder), what, deliveries=AT_ONCE, at_once=AT_ONCE)


async def test_outages_around_a_gateway_on_sqlite(tmp_path: Path) -> None:
    """Locked out of its file, or without a wallet that answers, it answers 998 in time, and recovers by itself."""
    environment = StressEnvironment(Engine.SQLITE, tmp_path)
    for figures in await asyncio.gather(*(_small(environment, what) for what in outages_of(Engine.SQLITE))):
        assert not failures(figures)


async def test_outages_around_a_gateway_on_postgres(tmp_path: Path) -> None:
    """Without a server, or with one that hangs, it answers 998 in time, and recovers by itself."""
    with postgres_server() as doomed:
        environment = StressEnvironment(Engine.POSTGRES, tmp_path, doomed)
        for what in (Outage.DATABASE_HUNG, Outage.DATABASE_DOWN):
            assert not failures(await _small(environment, what))
