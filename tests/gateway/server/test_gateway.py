"""Settings reach the parts that they configure."""

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
    """A journal line that ended this long ago."""
    at = datetime.now(UTC) - age
    message = Message("a head", b"a body")
    return Exchange(id, Direction.INBOUND, "lucky", "V4/Result", at, at, "CREDITED", request=message, reply=message)


async def test_old_bodies_are_removed_after_body_retention_days(tmp_path: Path, store_url: str) -> None:
    """The bodies of lines older than body_retention_days are removed; newer bodies and all facts stay."""
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


async def test_pool_size_limits_connections_to_postgresql(tmp_path: Path, postgres_url: str) -> None:
    """Under concurrent queries the gateway has no more connections than [store] pool_size."""
    config_url = f'{postgres_url}"\npool_size = 3\n#"'
    async with running_gateway(tmp_path, LUCKY, store=config_url) as gateway:
        await asyncio.gather(*(gateway.store.newest_event_id() for _ in range(50)))
        db = await asyncpg.connect(postgres_url)
        held = await db.fetchval(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
        await db.close()
    assert held == 3


async def test_providers_share_the_known_secrets(tmp_path: Path) -> None:
    """All providers' masks use the same known secrets, which take megabytes with hundreds of providers."""
    other = family_table("other", "luckymonaco", "http://127.0.0.1:9", token='"another-token"')
    async with running_gateway(tmp_path, LUCKY, other) as gateway:
        masks = [provider.mask for provider in gateway.gateway.providers.values()]
    assert len({id(mask._known) for mask in masks}) == 1
    assert all(mask.text("said another-token") == "said ***" for mask in masks)
