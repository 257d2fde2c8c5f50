"""What /metrics says of readiness, the store, open items, subscribers and reloads."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from gateway.config import ConfigInvalid, Problem, Settings, load
from gateway.server.health_watch import HealthWatch
from gateway.server.reload import reload
from gateway.store.base import Store
from gateway.store.models import EventFilter
from gateway.store.reconciliation import OpenItemCount, ReconciliationKind
from tests.gateway.telemetry.harness import PROVIDER, TelemetryHarness, telemetry_harness
from tests.support.gateway import locked
from tests.support.waiting import until

LAG = "session_gateway_event_stream_lag_seconds"


async def test_while_the_store_is_down_items_stay_and_grow_older(tmp_path: Path) -> None:
    """The store is not available, the gateway not ready, a scrape answers; afterwards all is as before."""
    async with telemetry_harness(tmp_path) as harness:
        watch, names = harness.gateway.gateway._health_watch, {"provider": PROVIDER, "kind": "RESULT_REFUSED"}
        assert await harness.value("session_gateway_ready") == 1
        assert await harness.value("session_gateway_store_available") == 1
        assert await harness.value("session_gateway_store_disk_size_bytes") > 0
        assert await harness.value("session_gateway_reconciliation_items_open", **names) == 0
        assert await harness.result("r-1", userId="nobody") == 62
        await watch.check()
        with locked(harness.gateway.database):
            await watch.check()
            assert await harness.value("session_gateway_ready") == 0
            assert await harness.value("session_gateway_store_available") == 0
            assert await harness.value("session_gateway_reconciliation_items_open", **names) == 1
            watch._clock = lambda: datetime.now(UTC) + timedelta(hours=1)
            assert await harness.value("session_gateway_reconciliation_items_oldest_age_seconds", **names) >= 3600
        await watch.check()
        assert await harness.value("session_gateway_ready") == 1
        assert await harness.value("session_gateway_store_available") == 1


class HangingStore:
    """A store that never answers."""

    async def open_item_counts(self) -> list[OpenItemCount]:
        await asyncio.Event().wait()
        raise AssertionError


async def test_a_store_that_hangs_is_not_available() -> None:
    """The round ends at its limit, and the items that nobody ever read have no series."""

    async def ready() -> tuple[str, ...]:
        return ()

    store: Store = HangingStore()  # type: ignore[assignment]
    watch = HealthWatch(store, ready, lambda: datetime.now(UTC), None, lambda: ["acme"], time_limit_s=0.01)
    await watch.check()
    assert not watch.health().store_available
    assert watch.health().open_items == ()


async def test_items_of_a_provider_that_is_gone_are_exported(tmp_path: Path) -> None:
    """They wait for a person all the same."""

    class Store:
        async def open_item_counts(self) -> list[OpenItemCount]:
            return [OpenItemCount("gone", "CLOSE_UNKNOWN", 3, datetime.now(UTC))]

        async def ping(self) -> None: ...

    async def ready() -> tuple[str, ...]:
        return ()

    watch = HealthWatch(Store(), ready, lambda: datetime.now(UTC), None, lambda: ["acme"])  # type: ignore[arg-type]
    await watch.check()
    counts = {(each.provider, each.kind): each.count for each in watch.health().open_items}
    assert counts == {**{("acme", kind.value): 0 for kind in ReconciliationKind}, ("gone", "CLOSE_UNKNOWN"): 3}


async def nothing() -> None: ...


@pytest.fixture
async def harness(tmp_path: Path) -> AsyncIterator[TelemetryHarness]:
    async with telemetry_harness(tmp_path) as harness:
        yield harness


async def test_a_subscriber_that_stands_still_is_behind(harness: TelemetryHarness) -> None:
    """The lag is the age of the event that it takes, of the slowest; one that has the newest has none."""
    gateway = harness.gateway.gateway
    await harness.open_account()
    await harness.result("r-1")
    await harness.result("r-2")
    slow = gateway.event_streams.events("", EventFilter(), nothing)
    quick = gateway.event_streams.events("", EventFilter(), nothing)
    first = await anext(slow)
    for _ in range(2):
        await anext(quick)
    waiting = asyncio.ensure_future(anext(quick))
    assert gateway.event_streams.lag_s(first.time + timedelta(minutes=7)) == 420
    assert isinstance(slow, AsyncGenerator)
    await slow.aclose()
    await until(lambda: not gateway.event_streams.lag_s(first.time + timedelta(minutes=7)))
    waiting.cancel()
    assert await harness.value(LAG) == 0


async def test_a_refused_reload_is_exported_until_one_succeeds(harness: TelemetryHarness, tmp_path: Path) -> None:
    """The gauge is 0 and the counter counts; the time of the last success stays."""

    def broken() -> Settings:
        raise ConfigInvalid((Problem("providers", "is missing"),))

    prefix = "session_gateway_config_"
    started = await harness.value(f"{prefix}last_reload_success_timestamp_seconds")
    await reload(harness.gateway.gateway, broken)
    assert await harness.value(f"{prefix}last_reload_successful") == 0
    assert await harness.value(f"{prefix}reload_failures_total") == 1
    assert await harness.value(f"{prefix}last_reload_success_timestamp_seconds") == started
    await reload(harness.gateway.gateway, lambda: load(tmp_path / "gateway.toml", {}))
    assert await harness.value(f"{prefix}last_reload_successful") == 1
    assert await harness.value(f"{prefix}last_reload_success_timestamp_seconds") > started
