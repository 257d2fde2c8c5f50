"""Alerts of docs/prometheus-rules.yml against scrapes of a real gateway: in an incident, and in a quiet hour."""

import asyncio
import sys
from collections.abc import AsyncGenerator
from datetime import UTC, datetime, timedelta
from pathlib import Path

from gateway.config import ConfigInvalid, Problem, Settings, load
from gateway.server.reload import reload
from gateway.store.models import Actor, EventFilter
from gateway.store.reconciliation import ItemFilter
from tests.gateway.telemetry.harness import TelemetryHarness, telemetry_harness
from tests.stress.figures import Figures, exactly
from tests.stress.processes import StressEnvironment
from tests.stress.promtool import RULES, Recording, promtool
from tests.support.gateway import locked
from tests.support.provider import answering

_ALL = ItemFilter()
_OPERATOR = Actor("operator")


class Watched:
    """A gateway whose clock advances with the rules' time, and the recording of its scrapes."""

    def __init__(self, harness: TelemetryHarness, recording: Recording) -> None:
        self.harness = harness
        self.recording = recording
        self._requests = 0
        gateway = harness.gateway.gateway
        gateway._health_watch._clock = self.now
        gateway._metrics.watch_event_streams(lambda: gateway.event_streams.lag_s(self.now()))

    def now(self) -> datetime:
        return datetime.now(UTC) + timedelta(minutes=self.recording.minute)

    async def minutes(self, count: int = 1, *, closes: int = 0) -> None:
        """One scrape a minute, after a check of health and these closes; the last minutes repeat the last scrape."""
        await asyncio.gather(*(self.harness.close() for _ in range(closes)))
        await self.harness.gateway.gateway._health_watch.check()
        await self.recording.scrape(self.harness.gateway.http, self.harness.gateway.listening.admin, count)

    async def results(self, count: int, **members: object) -> list[int]:
        self._requests += count
        numbers = range(self._requests - count, self._requests)
        return await asyncio.gather(*(self.harness.result(f"r-{number}", **members) for number in numbers))


async def quiet_hour(folder: Path) -> Recording:
    """Closes and Results that succeed, a few refusals, a restart, a reload: nothing fires."""
    recording = Recording()
    for part in range(2):  # the second is the replica after a deployment
        async with telemetry_harness(folder) as harness:
            watched = Watched(harness, recording)
            if part == 0:
                await harness.open_account()
            watched._requests = 1000 * part
            for _ in range(10):
                await watched.results(2)
                await watched.minutes(3, closes=1)
            await watched.results(1, userId="nobody")
            path = folder / "gateway.toml"
            await reload(harness.gateway.gateway, lambda path=path: load(path, {}))  # type: ignore[misc]
            item = (await harness.gateway.store.open_item_counts())[0]
            assert item.count == 1
            for each in (await harness.gateway.store.items(_ALL)).entries:
                await harness.gateway.store.resolve_item(each.id, _OPERATOR, "paid", datetime.now(UTC))
            await watched.minutes(3, closes=1)
        recording.no_answer(1)
    recording.ever_fired()
    return recording


async def incident(folder: Path) -> Recording:
    """One fault after the other, the first in the first minutes after the start."""
    recording = Recording()
    async with telemetry_harness(folder) as harness:
        watched = Watched(harness, recording)
        await harness.open_account()
        await watched.minutes(2)
        recording.firing()

        with locked(harness.gateway.database):
            assert set(await watched.results(15)) == {998}
            await watched.minutes(4)
        recording.firing("CallbacksNotAccepted", "NotReady", "StoreUnavailable")
        await watched.minutes(10, closes=1)
        recording.firing()

        harness.provider.behaviour = answering(503, b"sorry")
        for _ in range(3):
            await watched.minutes(closes=20)
        await watched.minutes(2)
        recording.firing("CircuitOpen", "ClosesFail", "OutcomesUnknown")
        harness.provider.behaviour = answering()
        await watched.minutes(30)
        for each in (await harness.gateway.store.items(_ALL)).entries:
            await harness.gateway.store.resolve_item(each.id, _OPERATOR, "closed by hand", datetime.now(UTC))
        await asyncio.sleep(harness.gateway.gateway._bindings["lucky"].settings.breaker.open_s)
        await harness.close()
        await watched.minutes(10)
        recording.firing()

        assert set(await watched.results(6, userId="nobody")) == {62}
        await watched.minutes(2)
        recording.firing("ResultsRefused")
        for _ in range(2):
            await watched.minutes(40)
        await watched.minutes(7)
        recording.firing("ItemsWait")
        for each in (await harness.gateway.store.items(_ALL)).entries:
            await harness.gateway.store.resolve_item(each.id, _OPERATOR, "paid", datetime.now(UTC))
        await watched.minutes(2)
        recording.firing()

        await reload(harness.gateway.gateway, _bad_file)
        await watched.minutes(3)
        recording.firing("ReloadFailed")
        await reload(harness.gateway.gateway, lambda: load(folder / "gateway.toml", {}))
        await watched.minutes(2)
        recording.firing()

        await watched.results(3)
        stream = harness.gateway.gateway.event_streams.events("", EventFilter(), _nothing)
        await anext(stream)
        await watched.minutes(2)
        await watched.minutes(7)
        recording.firing("SubscriberBehind")
        assert isinstance(stream, AsyncGenerator)
        await stream.aclose()
        await watched.minutes(2)
        recording.firing()

        url = f"http://{harness.gateway.listening.callbacks}/callbacks/lucky/{'x' * 40}/V4/Result"
        for _ in range(400):
            async with harness.gateway.http.post(url) as response:
                assert response.status == 404
        await watched.minutes(4)
        recording.firing("CallbacksRejected")
        await watched.minutes(6)
        recording.firing()
    recording.no_answer(4)
    recording.firing("Down")
    return recording


async def alerts(environment: StressEnvironment) -> Figures:
    """promtool's verdict on the rules, the incident and the quiet hour; its output goes to standard error."""
    checked = await promtool("check", "rules", str(RULES))
    results = {"rules": checked}
    for name, scenario in (("incident", incident), ("quiet hour", quiet_hour)):
        folder = environment.folder / name.replace(" ", "-")
        folder.mkdir()
        results[name] = await (await scenario(folder)).verify(folder)
    for name, (_, output) in results.items():
        sys.stderr.write(f"promtool, {name}:\n{output}\n")
    return tuple(exactly(f"promtool, {name}", 0, code) for name, (code, _) in results.items())


def _bad_file() -> Settings:
    raise ConfigInvalid((Problem("providers", "is missing"),))


async def _nothing() -> None: ...
