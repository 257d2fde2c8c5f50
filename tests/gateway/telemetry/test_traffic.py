"""What a gateway's own traffic makes of its metrics, as a scraper sees them."""

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
    """A gateway without traffic yet."""
    async with telemetry_harness(tmp_path) as harness:
        yield harness


async def test_a_close_of_two_attempts_is_one_call(harness: TelemetryHarness) -> None:
    """Two attempts, two exchanges, one retry, and one call whose provider's part is both exchanges."""
    assert await harness.close_in_two_attempts() is grpc.StatusCode.OK
    of = {"provider": PROVIDER}
    assert await harness.value("session_gateway_calls_total", **of, outcome="CLOSED") == 1
    failed = {"outcome": "PROVIDER_FAILED", "certainty": "UNKNOWN"}
    assert await harness.value("session_gateway_attempts_total", **of, **failed) == 1
    assert await harness.value("session_gateway_attempts_total", **of, outcome="CLOSED", certainty="") == 1
    assert await harness.value("session_gateway_retries_total", **of, decision="made") == 1
    assert await harness.value("session_gateway_exchange_duration_seconds_count", **of) == 2
    assert await harness.value("session_gateway_call_duration_seconds_count", **of) == 1
    whole = await harness.value("session_gateway_call_duration_seconds_sum", **of)
    providers = await harness.value("session_gateway_call_provider_duration_seconds_sum", **of)
    assert providers == pytest.approx(await harness.value("session_gateway_exchange_duration_seconds_sum", **of))
    assert whole == pytest.approx(
        providers + await harness.value("session_gateway_call_gateway_duration_seconds_sum", **of)
    )


async def test_a_provider_that_hangs_takes_none_of_the_gateways_own_time(harness: TelemetryHarness) -> None:
    """The time that it was waited for is its own, though no answer ever came."""
    harness.provider.behaviour = hanging
    assert await harness.close(timeout_s=0.5) is grpc.StatusCode.DEADLINE_EXCEEDED
    assert await harness.value("session_gateway_call_provider_duration_seconds_sum", provider=PROVIDER) > 0.35
    assert await harness.value("session_gateway_call_gateway_duration_seconds_sum", provider=PROVIDER) < 0.15


async def test_a_caller_that_leaves_while_the_provider_is_asked_waited_for_the_provider(
    harness: TelemetryHarness,
) -> None:
    """Another caller of the same request has more time, so that the exchange goes on when the first one is answered."""
    harness.provider.behaviour = answering_after(release := asyncio.Event())
    mine = str(uuid4())
    first = asyncio.create_task(harness.close(mine, timeout_s=0.5))
    await harness.provider.arrived.wait()
    second = asyncio.create_task(harness.close(mine, timeout_s=10))
    assert await first is grpc.StatusCode.DEADLINE_EXCEEDED
    assert await harness.value("session_gateway_exchange_duration_seconds_count", provider=PROVIDER) == 0
    assert await harness.value("session_gateway_call_provider_duration_seconds_sum", provider=PROVIDER) > 0.2
    assert await harness.value("session_gateway_call_gateway_duration_seconds_sum", provider=PROVIDER) < 0.15
    release.set()
    assert await second is grpc.StatusCode.OK


async def test_retries_beyond_the_budget_are_counted_as_refused(harness: TelemetryHarness) -> None:
    """So that a provider that fails as a whole is seen to be spared."""
    harness.provider.behaviour = answering(503, b"sorry")
    await asyncio.gather(*(harness.close() for _ in range(20)))
    assert await harness.value("session_gateway_retries_total", provider=PROVIDER, decision="refused") >= 1


async def test_providers_and_rpcs_are_seen_while_a_call_is_under_way(harness: TelemetryHarness) -> None:
    """A gauge is what it is at the scrape."""
    of = {"provider": PROVIDER}
    seen: list[float] = []

    async def looking(request: object) -> object:
        seen.append(await harness.value("session_gateway_provider_calls_in_flight", **of))
        seen.append(await harness.value("session_gateway_rpcs_in_flight"))
        return await answering()(request)  # type: ignore[arg-type]

    harness.provider.behaviour = looking  # type: ignore[assignment]
    assert await harness.close() is grpc.StatusCode.OK
    assert seen == [1, 1]
    assert await harness.value("session_gateway_provider_calls_in_flight", **of) == 0
    assert await harness.value("session_gateway_rpcs_in_flight") == 0
    assert await harness.value("session_gateway_circuit_breaker_state", **of, state="CLOSED") == 1
    assert await harness.value("session_gateway_provider_disabled", **of) == 0


async def test_callbacks_and_commits_show(harness: TelemetryHarness) -> None:
    """By their answer, with their duration; what the database took, and what it did not."""
    await harness.traffic()
    of = {"provider": PROVIDER, "path": "V4/Result"}
    assert await harness.value("session_gateway_callbacks_total", **of, answer="CREDITED") == 2
    assert await harness.value("session_gateway_callbacks_total", **of, answer="TRY_AGAIN") == 1
    assert await harness.value("session_gateway_callback_duration_seconds_count", **of) == 6
    assert await harness.value("session_gateway_commit_duration_seconds_count", engine="sqlite") > 10
    assert await harness.value("session_gateway_commit_failures_total", engine="sqlite") >= 1
    assert await harness.value("process_resident_memory_bytes") > 0
    assert await harness.value("session_gateway_event_loop_tasks") > 1
