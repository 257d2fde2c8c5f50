"""Outages, small: those of wallets beside SQLite alone."""

import asyncio
from dataclasses import replace
from pathlib import Path

from tests.stress.figures import Figures, shortfalls
from tests.stress.outages import Outage, outage, outages_of
from tests.stress.resilience_harness import Engine, Stage
from tests.support.postgres import postgres_server

AT_ONCE = 32


async def _small(stage: Stage, what: Outage) -> Figures:
    folder = stage.folder / what.name
    folder.mkdir()
    return await outage(replace(stage, folder=folder), what, deliveries=AT_ONCE, at_once=AT_ONCE)


async def test_outages_around_a_gateway_on_sqlite(tmp_path: Path) -> None:
    """Locked out of its file, or without a wallet that answers, it says 998 in time, and recovers by itself."""
    stage = Stage(Engine.SQLITE, tmp_path)
    for figures in await asyncio.gather(*(_small(stage, what) for what in outages_of(Engine.SQLITE))):
        assert not shortfalls(figures)


async def test_outages_around_a_gateway_on_postgres(tmp_path: Path) -> None:
    """Without a server, or with one that hangs, it says 998 in time, and recovers by itself."""
    with postgres_server() as doomed:
        stage = Stage(Engine.POSTGRES, tmp_path, doomed)
        for what in (Outage.DATABASE_HUNG, Outage.DATABASE_DOWN):
            assert not shortfalls(await _small(stage, what))
