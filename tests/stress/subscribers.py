"""Subscribers: several of them over several replicas, one replica ends by SIGKILL, and none misses an event."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from itertools import count
from time import monotonic

from grpc import aio

from gateway.v1.session_service_pb2 import WatchEventsRequest
from gateway.v1.session_service_pb2_grpc import SessionServiceStub
from tests.stress.figures import Figures, at_least, exactly, none_of, stated
from tests.stress.ledger import audit, read_ledger, twice
from tests.stress.processes import Engine, Served, StressEnvironment, kill_process, launch, open_accounts, serving
from tests.stress.sending import PAUSE_S, Load, provider

CATCHING_UP_S = 30


@dataclass
class Subscriber:
    """Watches at one replica, and goes on at the next from its last event where that one is gone."""

    addresses: Callable[[], Sequence[str]]
    turn: int
    seen: list[str] = field(default_factory=list)
    resumed: int = 0

    async def watch(self) -> None:
        """Watch until cancelled."""
        for turn in count(self.turn):
            if addresses := self.addresses():
                with suppress(aio.AioRpcError):
                    await self._watch_at(addresses[turn % len(addresses)])
                self.resumed += 1
            await asyncio.sleep(PAUSE_S)

    async def _watch_at(self, address: str) -> None:
        async with aio.insecure_channel(address) as channel:
            after = self.seen[-1] if self.seen else ""
            async for received in SessionServiceStub(channel).WatchEvents(WatchEventsRequest(after_event_id=after)):
                self.seen.append(received.event.id)


async def subscribers(
    environment: StressEnvironment, *, watching: int = 4, replicas: int = 3, events: int = 3000
) -> Figures:
    """Write at all replicas, and kill one in the middle; on SQLite the only process is killed, and comes back."""
    url = await environment.database()
    replicas = 1 if environment.engine is Engine.SQLITE else replicas
    async with AsyncExitStack() as stack:
        gateways = [await _replica(environment, url, stack) for _ in range(replicas)]
        await open_accounts(gateways[0].grpc)
        sender = await stack.enter_async_context(provider(lambda: [each.callbacks for each in gateways]))
        crowd = [Subscriber(lambda: [each.grpc for each in gateways], number) for number in range(watching)]
        await stack.enter_async_context(_at_work(crowd))
        async with Load(sender).running() as load:
            await load.more(events // 2)
            doomed = gateways.pop()
            doomed.kill()
            await doomed.ended()
            environment.report(f"a replica is killed, {len(load.acknowledged)} acknowledged")
            if not gateways:
                gateways.append(await _replica(environment, url, stack))
            await load.more(events // 2)
        state = await read_ledger(url)
        expected = [event.id for event in state.events]
        caught_up = await _caught_up(crowd, len(expected))
        resumed = sum(each.resumed > 0 for each in crowd)
        for gateway in gateways:
            await gateway.stop()
    after = await read_ledger(url)
    return (
        stated("events", len(expected)),
        exactly("subscribers that saw all of them in time", watching, caught_up),
        none_of("missed", (event for each in crowd for event in set(expected) - set(each.seen))),
        none_of("seen twice", (event for each in crowd for event in twice(each.seen))),
        none_of("subscribers that saw another order", (each.turn for each in crowd if each.seen != expected)),
        exactly("events whose place changed", [], _moved(expected, [event.id for event in after.events])),
        at_least("subscribers that went on elsewhere", 1, resumed),
        exactly("answers that contradict another", [], load.contradictions[:3]),
        *await audit(url, load.sent, load.acknowledged),
    )


async def _replica(environment: StressEnvironment, url: str, stack: AsyncExitStack) -> Served:
    config = environment.configure(url)
    process = await launch(config)
    stack.push_async_callback(kill_process, process)
    return await serving(process, config)


@asynccontextmanager
async def _at_work(crowd: Sequence[Subscriber]) -> AsyncIterator[None]:
    watching = [asyncio.create_task(each.watch()) for each in crowd]
    try:
        yield
    finally:
        for task in watching:
            task.cancel()
        await asyncio.gather(*watching, return_exceptions=True)


async def _caught_up(crowd: Sequence[Subscriber], events: int) -> int:
    """How many have seen as many events, once all have or the time is over."""
    until = monotonic() + CATCHING_UP_S
    while True:
        done = sum(len(each.seen) >= events for each in crowd)
        if done == len(crowd) or monotonic() > until:
            return done
        await asyncio.sleep(PAUSE_S)


def _moved(expected: Sequence[str], after: Sequence[str]) -> list[str]:
    return [one for one, other in zip(expected, after, strict=False) if one != other][:3]
