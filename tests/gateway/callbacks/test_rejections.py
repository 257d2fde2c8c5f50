"""Rejections are all counted, and logged in a bounded number of lines."""

import asyncio
import re
from pathlib import Path

import structlog

from gateway.callbacks.places import PlaceLimits
from gateway.callbacks.rejections import CallbackRejections
from gateway.callbacks.server import ConnectionLimits
from gateway.telemetry.metrics import CallbackRejection, Metrics
from gateway.telemetry.sampling import WINDOW_S
from tests.gateway.callbacks.harness import EXPIRED, MONACO, SUCCESS, HarnessOptions, open_harness
from tests.support.waiting import until


def counted(metrics: Metrics) -> dict[str, int]:
    """The rejections by reason."""
    text = metrics.render()[0].decode()
    found = re.findall(r'^session_gateway_callbacks_rejected_total\{reason="(\w+)"\} ([0-9]+)', text, re.MULTILINE)
    return {reason: int(number) for reason, number in found}


def test_each_is_counted_and_a_sample_is_logged() -> None:
    """Every reason is counted from 0. Of one source and reason the first is logged, and later the number of others."""
    metrics, now = Metrics(), [1000.0]
    assert counted(metrics) == dict.fromkeys(CallbackRejection, 0)
    sampled = CallbackRejections(metrics, lambda: now[0])
    with structlog.testing.capture_logs() as logged:
        for reason in (CallbackRejection.NOT_AUTHENTICATED, CallbackRejection.TOO_SLOW):
            for _ in range(3):
                sampled.add(reason, "192.0.2.1")
        now[0] += WINDOW_S
        sampled.tick()
    events = {"not_authenticated": "callback rejected", "too_slow": "callback connection was too slow"}
    assert [(line["reason"], line.get("suppressed")) for line in logged] == [
        *((reason, None) for reason in events),
        *((reason, 2) for reason in events),
    ]
    assert all((line["event"], line["peer"]) == (events[line["reason"]], "192.0.2.1") for line in logged)
    assert (counted(metrics)["not_authenticated"], counted(metrics)["too_slow"]) == (3, 3)


async def test_a_rejected_connection_is_closed(tmp_path: Path) -> None:
    """After a 404 nothing more is read, for an unknown path with a right key too."""
    async with open_harness(tmp_path) as harness, asyncio.timeout(10):
        for path in ("/nowhere", MONACO.path("Bet")):
            sent = f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n".encode()
            reply = await harness.raw(sent + sent)
            assert reply.count(b"HTTP/1.1 404") == 1
            assert b"Connection: close\r\n" in reply


async def test_an_evicted_connection_is_counted(tmp_path: Path) -> None:
    """A silent connection gives way, and one with an authenticated request behind it stays open."""
    metrics = Metrics()
    limits = ConnectionLimits(PlaceLimits(connections=10, per_source=2))
    async with (
        open_harness(tmp_path, HarnessOptions(limits=limits, metrics=metrics)) as harness,
        harness.connect() as (silent, _),
    ):
        assert (await harness.deliver(MONACO.path("SessionExpired"), EXPIRED)).json == SUCCESS
        connections = set(harness.server.connections)
        async with harness.connect(), harness.connect():
            assert await silent.read() == b""
            await until(lambda: counted(metrics)["source_share"] == 1)
            assert (await harness.deliver(MONACO.path("SessionExpired"), EXPIRED)).json == SUCCESS
            assert len(connections & harness.server.connections) == 1
    assert counted(metrics)["evicted"] == 0


async def test_a_log_line_holds_nothing_of_the_request(tmp_path: Path) -> None:
    """What an unauthenticated caller writes is in no line."""
    async with open_harness(tmp_path) as harness:
        with structlog.testing.capture_logs() as logged:
            await harness.raw(
                b'POST /"injected"%0a\xff HTTP/1.1\r\nHost: injected\r\nX-Forwarded-For: injected\r\n\r\n'
            )
    assert "injected" not in repr(logged)
