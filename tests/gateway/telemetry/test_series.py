"""Every series exists from 0: `increase()` does not see a counter whose first value is 1."""

import asyncio
from pathlib import Path

import grpc
import pytest

from gateway.config import load
from gateway.v1.session_service_pb2 import WatchEventsRequest
from tests.gateway.telemetry.harness import PROVIDER, TelemetryHarness, telemetry_harness
from tests.support.gateway import configuration, family_table
from tests.support.provider import answering

Series = tuple[str, tuple[tuple[str, str], ...]]


async def series_of(harness: TelemetryHarness) -> frozenset[Series]:
    """The names and labels of all samples of /metrics."""
    return frozenset(
        (sample.name, tuple(sorted(sample.labels.items())))
        for family in await harness.exposition()
        for sample in family.samples
    )


async def all_kinds_of_calls(harness: TelemetryHarness) -> None:
    """Closes that end in each way that a provider's answer decides, callbacks, subscribers, a refused request."""
    await harness.traffic()
    for status, body in (
        (200, b'{"error": 17, "description": "none"}'),
        (200, b'{"error": 62, "description": "who?"}'),
        (200, b'{"error": 54, "description": "credentials"}'),
        (200, b'{"error": 999, "description": "internal"}'),
        (200, b'{"error": 12345, "description": "unlisted"}'),
        (200, b"not the dialect"),
        (302, b""),
        (429, b"slower"),
        (401, b"who"),
    ):
        harness.provider.behaviour = answering(status, body)
        await harness.close()
    harness.provider.behaviour = answering()
    await harness.close(session_id="unsupported")
    await harness.gateway.gateway.providers[PROVIDER].client.close()
    await harness.close()
    stream = harness.gateway.sessions.WatchEvents(WatchEventsRequest())
    await stream.read()
    stream.cancel()
    await harness.result("")
    await harness.result("r-5", amount="much")
    await harness.result("r-6", currency="EUR")
    await harness.gateway.callback(PROVIDER, "V4/Result", b"{")
    await harness.gateway.callback(PROVIDER, "V4/Nothing", b"{}")


@pytest.fixture(params=["sqlite", "postgres"])
def store(request: pytest.FixtureRequest) -> str:
    """The url of an empty PostgreSQL database; '' for SQLite."""
    if request.param == "sqlite":
        return ""
    url: str = request.getfixturevalue("emptied_url")
    return url


async def test_no_series_appears_later(store: str, tmp_path: Path) -> None:
    """The series of a gateway are the same before any call and after calls and callbacks of each kind."""
    async with telemetry_harness(tmp_path, store=store) as harness:
        before = await series_of(harness)
        if store:
            await harness.open_account()
            await harness.close()
            await harness.result("r-1")
            await harness.result("r-2", userId="nobody")
        else:
            await all_kinds_of_calls(harness)
        await harness.gateway.gateway._health_watch.check()
        after = await series_of(harness)
    assert sorted(after - before) == []
    assert sorted(before - after) == []


async def test_a_provider_of_a_reload_has_its_series_from_0(tmp_path: Path) -> None:
    """They exist before its first call; those of a provider that is gone keep their values."""
    async with telemetry_harness(tmp_path) as harness:
        assert await harness.close() is grpc.StatusCode.OK
        table = family_table("second", "luckymonaco", harness.provider.base_url)
        await harness.gateway.gateway.reload(load(configuration(tmp_path, table), {}))
        before = await series_of(harness)
        closed = {"outcome": "CLOSED", "certainty": ""}
        assert await harness.value("session_gateway_calls_total", provider=PROVIDER, **closed) == 1
        assert await harness.close(provider="second") is grpc.StatusCode.OK
        assert await series_of(harness) == before
        assert await harness.value("session_gateway_calls_total", provider="second", **closed) == 1


async def test_a_name_that_is_not_configured_is_no_label(tmp_path: Path) -> None:
    """A success that is stored for a provider that is gone is counted without its name."""
    async with telemetry_harness(tmp_path) as harness:
        request_id = "0b9e1f5e-5a66-4f0a-9d0b-2f4f2f3c9a11"
        assert await harness.close(request_id, provider=PROVIDER) is grpc.StatusCode.OK
        table = family_table("second", "luckymonaco", harness.provider.base_url)
        await harness.gateway.gateway.reload(load(configuration(tmp_path, table), {}))
        assert await harness.close(request_id) is grpc.StatusCode.OK
        assert await harness.value("session_gateway_calls_total", provider="", outcome="CLOSED") == 1


async def test_the_number_of_series_is_bounded(tmp_path: Path) -> None:
    """A provider with two callbacks has 250 series at most; names that callers make up have none."""
    async with telemetry_harness(tmp_path) as harness:
        before = await series_of(harness)
        await asyncio.gather(*(harness.close(provider=f"made-up-{number}") for number in range(20)))
        assert await series_of(harness) == before
        assert len([labels for _, labels in before if ("provider", PROVIDER) in labels]) <= 250
