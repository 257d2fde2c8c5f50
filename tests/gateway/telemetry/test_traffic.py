"""The metrics that a gateway exports after calls and callbacks."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from uuid import uuid4

import grpc
import pytest

from tests.gateway.telemetry.harness import PROVIDER, TelemetryHarness, telemetry_harness
from tests.support.provider import answering, answering_after, hanging


@pytest.fixture
async def harness(tmp_path: Path) -> AsyncIterator[TelemetryHarness]:
    """A gateway before any traffic."""
    async with telemetry_harness(tmp_path) as harness:
        yield harness


async def test_a_close_with_a_retry_is_one_call(harness: TelemetryHarness) -> None:
    """It has two attempts, two exchanges, one retry, and a provider duration that is the sum of both exchanges."""
    assert await harness.close_in_two_attempts() is grpc.StatusCode.OK
    labels = {"provider": PROVIDER}
    assert await harness.value("session_gateway_calls_total", **labels, outcome="CLOSED") == 1
    failed = {"outcome": "PROVIDER_FAILED", "certainty": "UNKNOWN"}
    assert await harness.value("session_gateway_attempts_total", **labels, **failed) == 1
    assert await harness.value("session_gateway_attempts_total", **labels, outcome="CLOSED", certainty="") == 1
    assert await harness.value("session_gateway_retries_total", **labels, decision="made") == 1
    assert await harness.value("session_gateway_exchange_duration_seconds_count", **labels) == 2
    assert await harness.value("session_gateway_call_duration_seconds_count", **labels) == 1
    whole = await harness.value("session_gateway_call_duration_seconds_sum", **labels)
    providers = await harness.value("session_gateway_call_provider_duration_seconds_sum", **labels)
    assert providers == pytest.approx(await harness.value("session_gateway_exchange_duration_seconds_sum", **labels))
    assert whole == pytest.approx(
        providers + await harness.value("session_gateway_call_gateway_duration_seconds_sum", **labels)
    )


async def assert_mostly_provider_time(harness: TelemetryHarness) -> None:
    """Of the duration of the calls so far, more is the provider's than the gateway's."""
    labels = {"provider": PROVIDER}
    provider = await harness.value("session_gateway_call_provider_duration_seconds_sum", **labels)
    assert provider > await harness.value("session_gateway_call_gateway_duration_seconds_sum", **labels)


async def test_the_wait_for_a_hanging_provider_is_provider_time(harness: TelemetryHarness) -> None:
    """Most of the call's duration is the provider's, although no answer arrived."""
    harness.provider.behaviour = hanging
    assert await harness.close(timeout_s=2) is grpc.StatusCode.DEADLINE_EXCEEDED
    await assert_mostly_provider_time(harness)


async def test_a_caller_that_times_out_before_the_exchange_ends_has_provider_time(
    harness: TelemetryHarness,
) -> None:
    """Most of its duration is the provider's, while the exchange continues for another caller."""
    harness.provider.behaviour = answering_after(release := asyncio.Event())
    request_id = str(uuid4())
    first = asyncio.create_task(harness.close(request_id, timeout_s=2))
    await harness.provider.arrived.wait()
    second = asyncio.create_task(harness.close(request_id, timeout_s=30))
    assert await first is grpc.StatusCode.DEADLINE_EXCEEDED
    assert await harness.value("session_gateway_exchange_duration_seconds_count", provider=PROVIDER) == 0
    await assert_mostly_provider_time(harness)
    release.set()
    assert await second is grpc.StatusCode.OK


async def test_retries_beyond_the_budget_are_counted_as_refused(harness: TelemetryHarness) -> None:
    """A provider that fails every call has refused retries."""
    harness.provider.behaviour = answering(503, b"sorry")
    await asyncio.gather(*(harness.close() for _ in range(20)))
    assert await harness.value("session_gateway_retries_total", provider=PROVIDER, decision="refused") >= 1


async def test_gauges_show_a_call_in_flight(harness: TelemetryHarness) -> None:
    """Calls of the provider and RPCs are 1 during a call and 0 after it."""
    labels = {"provider": PROVIDER}
    during: list[float] = []

    async def scraping(request: object) -> object:
        during.append(await harness.value("session_gateway_provider_calls_in_flight", **labels))
        during.append(await harness.value("session_gateway_rpcs_in_flight"))
        return await answering()(request)  # type: ignore[arg-type]

    harness.provider.behaviour = scraping  # type: ignore[assignment]
    assert await harness.close() is grpc.StatusCode.OK
    assert during == [1, 1]
    assert await harness.value("session_gateway_provider_calls_in_flight", **labels) == 0
    assert await harness.value("session_gateway_rpcs_in_flight") == 0
    assert await harness.value("session_gateway_circuit_breaker_state", **labels, state="CLOSED") == 1
    assert await harness.value("session_gateway_provider_disabled", **labels) == 0


async def test_callbacks_and_commits_are_exported(harness: TelemetryHarness) -> None:
    """Callbacks are counted by answer, with their durations, and commits with their failures."""
    await harness.traffic()
    labels = {"provider": PROVIDER, "path": "V4/Result"}
    assert await harness.value("session_gateway_callbacks_total", **labels, answer="CREDITED") == 2
    assert await harness.value("session_gateway_callbacks_total", **labels, answer="TRY_AGAIN") == 1
    assert await harness.value("session_gateway_callback_duration_seconds_count", **labels) == 6
    assert await harness.value("session_gateway_commit_duration_seconds_count", engine="sqlite") > 10
    assert await harness.value("session_gateway_commit_failures_total", engine="sqlite") >= 1
    assert await harness.value("process_resident_memory_bytes") > 0
    assert await harness.value("session_gateway_event_loop_tasks") > 1
