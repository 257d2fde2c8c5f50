"""What a gateway's own traffic makes of its metrics, as a scraper sees them."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from uuid import uuid4

import grpc
import pytest

from tests.gateway.telemetry.harness import PROVIDER, Stage, a_stage
from tests.support.provider import answering, answering_after, hanging


@pytest.fixture
async def stage(tmp_path: Path) -> AsyncIterator[Stage]:
    """A gateway without traffic yet."""
    async with a_stage(tmp_path) as stage:
        yield stage


async def test_a_close_of_two_attempts_is_one_call(stage: Stage) -> None:
    """Two attempts, two exchanges, one retry, and one call whose provider's part is both exchanges."""
    assert await stage.close_in_two_attempts() is grpc.StatusCode.OK
    of = {"provider": PROVIDER}
    assert await stage.value("session_gateway_calls_total", **of, outcome="CLOSED") == 1
    failed = {"outcome": "PROVIDER_FAILED", "certainty": "UNKNOWN"}
    assert await stage.value("session_gateway_attempts_total", **of, **failed) == 1
    assert await stage.value("session_gateway_attempts_total", **of, outcome="CLOSED", certainty="") == 1
    assert await stage.value("session_gateway_retries_total", **of, decision="made") == 1
    assert await stage.value("session_gateway_exchange_seconds_count", **of) == 2
    assert await stage.value("session_gateway_call_seconds_count", **of) == 1
    whole = await stage.value("session_gateway_call_seconds_sum", **of)
    providers = await stage.value("session_gateway_call_provider_seconds_sum", **of)
    assert providers == pytest.approx(await stage.value("session_gateway_exchange_seconds_sum", **of))
    assert whole == pytest.approx(providers + await stage.value("session_gateway_call_gateway_seconds_sum", **of))


async def test_a_provider_that_hangs_takes_none_of_the_gateways_own_time(stage: Stage) -> None:
    """The time that it was waited for is its own, though no answer ever came."""
    stage.provider.behaviour = hanging
    assert await stage.close(timeout_s=0.5) is grpc.StatusCode.DEADLINE_EXCEEDED
    assert await stage.value("session_gateway_call_provider_seconds_sum", provider=PROVIDER) > 0.35
    assert await stage.value("session_gateway_call_gateway_seconds_sum", provider=PROVIDER) < 0.15


async def test_a_caller_that_leaves_while_the_provider_is_asked_waited_for_the_provider(stage: Stage) -> None:
    """Another caller of the same request has more time, so that the exchange goes on when the first one is answered."""
    stage.provider.behaviour = answering_after(release := asyncio.Event())
    mine = str(uuid4())
    first = asyncio.create_task(stage.close(mine, timeout_s=0.5))
    await stage.provider.arrived.wait()
    second = asyncio.create_task(stage.close(mine, timeout_s=10))
    assert await first is grpc.StatusCode.DEADLINE_EXCEEDED
    assert await stage.value("session_gateway_exchange_seconds_count", provider=PROVIDER) == 0
    assert await stage.value("session_gateway_call_provider_seconds_sum", provider=PROVIDER) > 0.2
    assert await stage.value("session_gateway_call_gateway_seconds_sum", provider=PROVIDER) < 0.15
    release.set()
    assert await second is grpc.StatusCode.OK


async def test_retries_beyond_the_budget_are_counted_as_refused(stage: Stage) -> None:
    """So that a provider that fails as a whole is seen to be spared."""
    stage.provider.behaviour = answering(503, b"sorry")
    await asyncio.gather(*(stage.close() for _ in range(20)))
    assert await stage.value("session_gateway_retries_total", provider=PROVIDER, decision="refused") >= 1


async def test_providers_and_rpcs_are_seen_while_a_call_is_under_way(stage: Stage) -> None:
    """A gauge is what it is at the scrape."""
    of = {"provider": PROVIDER}
    seen: list[float] = []

    async def looking(request: object) -> object:
        seen.append(await stage.value("session_gateway_provider_calls_under_way", **of))
        seen.append(await stage.value("session_gateway_rpcs_under_way"))
        return await answering()(request)  # type: ignore[arg-type]

    stage.provider.behaviour = looking  # type: ignore[assignment]
    assert await stage.close() is grpc.StatusCode.OK
    assert seen == [1, 1]
    assert await stage.value("session_gateway_provider_calls_under_way", **of) == 0
    assert await stage.value("session_gateway_rpcs_under_way") == 0
    assert await stage.value("session_gateway_circuit", **of, state="CLOSED") == 1
    assert await stage.value("session_gateway_provider_switched_off", **of) == 0


async def test_callbacks_and_commits_show(stage: Stage) -> None:
    """By their answer, with their duration; what the database took, and what it did not."""
    await stage.traffic()
    of = {"provider": PROVIDER, "path": "V4/Result"}
    assert await stage.value("session_gateway_callbacks_total", **of, answer="CREDITED") == 2
    assert await stage.value("session_gateway_callbacks_total", **of, answer="TRY_AGAIN") == 1
    assert await stage.value("session_gateway_callback_seconds_count", **of) == 6
    assert await stage.value("session_gateway_commit_seconds_count", engine="sqlite") > 10
    assert await stage.value("session_gateway_commit_failures_total", engine="sqlite") >= 1
    assert await stage.value("process_resident_memory_bytes") > 0
    assert await stage.value("session_gateway_tasks") > 1
