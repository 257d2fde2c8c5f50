"""Rejections are all counted, and logged in a bounded number of lines."""

import asyncio
import re
from pathlib import Path

import pytest
import structlog

from gateway.callbacks import rejections
from gateway.callbacks.places import PlaceLimits
from gateway.callbacks.rejections import MAX_SAMPLES, WINDOW_S, CallbackRejections
from gateway.callbacks.server import ConnectionLimits
from gateway.telemetry.metrics import CallbackRejection, Metrics
from tests.gateway.callbacks.harness import EXPIRED, MONACO, SUCCESS, HarnessOptions, open_harness
from tests.support.waiting import until


class Clock:
    """A clock that tests set."""

    def __init__(self) -> None:
        self.at = 1000.0

    def __call__(self) -> float:
        return self.at


def counted(metrics: Metrics) -> dict[str, int]:
    """The rejections by reason."""
    text = metrics.render()[0].decode()
    found = re.findall(r'^session_gateway_callbacks_rejected_total\{reason="(\w+)"\} ([0-9]+)', text, re.MULTILINE)
    return {reason: int(number) for reason, number in found}


def test_the_first_of_each_source_is_logged_and_then_a_line_a_minute() -> None:
    """The others of the minute are one line with their number, and all are counted from 0."""
    metrics, clock = Metrics(), Clock()
    assert counted(metrics) == dict.fromkeys(CallbackRejection, 0)
    sampled = CallbackRejections(metrics, clock)
    with structlog.testing.capture_logs() as logged:
        for peer in ("192.0.2.1", "192.0.2.1", "192.0.2.2", "192.0.2.1", "2001:db8::1", "2001:db8::2"):
            sampled.add(CallbackRejection.NOT_AUTHENTICATED, peer)
        sampled.tick()
        assert [line["peer"] for line in logged] == ["192.0.2.1", "192.0.2.2", "2001:db8::1"]
        assert {line["event"] for line in logged} == {"callback rejected"}
        assert {line["reason"] for line in logged} == {"not_authenticated"}
        clock.at += WINDOW_S
        sampled.tick()
        assert [(line["peer"], line["suppressed"]) for line in logged[3:]] == [("192.0.2.1", 2), ("2001:db8::1", 1)]
        clock.at += WINDOW_S
        sampled.tick()
        assert len(logged) == 5
        sampled.add(CallbackRejection.NOT_AUTHENTICATED, "192.0.2.1")
        assert logged[5].get("suppressed") is None  # it was quiet for a minute: the next is a first one
    assert counted(metrics)["not_authenticated"] == 7


def test_a_flood_from_many_sources_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Beyond the number that is remembered, all new sources share one line."""
    monkeypatch.setattr(rejections, "MAX_SAMPLES", 10)
    assert MAX_SAMPLES >= 1000
    sampled = CallbackRejections(None, Clock())
    with structlog.testing.capture_logs() as logged:
        for number in range(1000):
            sampled.add(CallbackRejection.EVICTED, f"192.0.{number // 250}.{number % 250}")
    assert len(logged) == 11
    assert logged[-1]["peer"] == "many sources"


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
