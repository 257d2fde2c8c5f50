"""What the configuration says reaches the part that it is about."""

import asyncio
from datetime import UTC, datetime, timedelta
from pathlib import Path

import asyncpg

from gateway.store.factory import open_store
from gateway.store.models import Direction, Exchange, Message
from tests.support.gateway import family_table, running_gateway
from tests.support.waiting import until

LUCKY = family_table("lucky", "luckymonaco", "http://127.0.0.1:9")


def line(id: str, age: timedelta) -> Exchange:
    """A line of the journal that ended so long ago."""
    at = datetime.now(UTC) - age
    said = Message("a head", b"a body")
    return Exchange(id, Direction.INBOUND, "lucky", "V4/Result", "POST", "/", said, at, at, "CREDITED", reply=said)


async def test_old_bodies_are_taken_away_where_the_configuration_says_so(tmp_path: Path, store_url: str) -> None:
    """With body_retention_days the bodies of older lines go soon after the start, younger ones and all facts stay."""
    store = open_store(store_url)
    await store.open()
    await store.record_exchange(line("old", timedelta(days=2)))
    await store.record_exchange(line("young", timedelta(hours=23)))
    await store.close()
    async with running_gateway(tmp_path, LUCKY, "[journal]\nbody_retention_days = 1", store=store_url) as gateway:

        async def trimmed() -> bool:
            return all(kept.trimmed for kept in await gateway.store.exchanges() if kept.id == "old")

        await until(trimmed)
        old, young = await gateway.store.exchanges()
    assert (old.request.body, old.reply.body, old.verdict) == (b"", b"", "CREDITED")
    assert (young.request.body, young.trimmed) == (b"a body", False)


async def test_pool_size_bounds_a_gateways_connections(tmp_path: Path, postgres_url: str) -> None:
    """However much is asked at once, the gateway holds no more connections than [store] pool_size."""
    config_url = f'{postgres_url}"\npool_size = 3\n#"'
    async with running_gateway(tmp_path, LUCKY, store=config_url) as gateway:
        await asyncio.gather(*(gateway.store.newest_event_id() for _ in range(50)))
        db = await asyncpg.connect(postgres_url)
        held = await db.fetchval(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
        await db.close()
    assert held == 3


async def test_providers_share_what_is_known_of_their_secrets(tmp_path: Path) -> None:
    """With hundreds of providers it takes megabytes, and each provider's messages are searched for all of it."""
    other = family_table("other", "luckymonaco", "http://127.0.0.1:9", token='"another-token"')
    async with running_gateway(tmp_path, LUCKY, other) as gateway:
        masks = [provider.mask for provider in gateway.gateway.providers.values()]
    assert len({id(mask._known) for mask in masks}) == 1
    assert all(mask.text("said another-token") == "said ***" for mask in masks)
