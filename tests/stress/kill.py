"""Kill: processes end by SIGKILL in the middle of Results, and providers send again what nobody answered."""

import asyncio
import sys
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from itertools import cycle, islice
from pathlib import Path

from tests.stress.books import audit
from tests.stress.crash_points import START, Point
from tests.stress.figures import Figures, at_least, exactly, stated
from tests.stress.resilience_harness import STARTING_S, Served, Stage, bury, free_port, launch, open_accounts, serving
from tests.stress.sending import Load, provider

HITS_AT_LEAST = 10
"""At each point, of a hundred kills."""


@dataclass
class Victim:
    """A process that is killed and started again. The next one is loaded while the present one serves."""

    role: str
    config: Path
    served: Served | None = None
    hits: Counter[str] = field(default_factory=Counter)
    _next: asyncio.subprocess.Process | None = None

    async def start(self, *, is_last: bool = False) -> Served:
        """Serve, and have the next one loaded."""
        process, self._next = self._next or await self._load(), None
        assert process.stdin is not None
        process.stdin.write(f"{START}\n".encode())
        self.served = await serving(process, self.config)
        if not is_last:
            self._next = await self._load()
        return self.served

    async def die(self, at: Point, passage: int, *, is_last: bool) -> None:
        """Have it kill itself under the load that is on it, and start it again."""
        served = self.served
        assert served is not None
        process = served.process
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(f"die {at} {passage}\n".encode())
        said = await asyncio.wait_for(process.stdout.read(), STARTING_S)
        code = await served.ended()
        self.served = None
        self.hits[f"{self.role} {said.decode().strip() or 'nowhere'} by signal {-code}"] += 1
        await self.start(is_last=is_last)

    async def stop(self) -> None:
        """End it well."""
        if self.served:
            await self.served.stop()

    async def bury(self) -> None:
        """Leave nothing of it."""
        for process in (self._next, self.served.process if self.served else None):
            if process is not None:
                await bury(process)

    async def _load(self) -> asyncio.subprocess.Process:
        return await launch(self.config, (sys.executable, "-m", "tests.stress.crash_points", self.role))


@asynccontextmanager
async def victim(role: str, config: Path) -> AsyncIterator[Victim]:
    """A process that serves and can be killed."""
    killable = Victim(role, config)
    try:
        await killable.start()
        yield killable
    finally:
        await killable.bury()


async def kill(stage: Stage, *, kills: int = 100, operators_wallet: bool = False) -> Figures:
    """Kill under load; with the operator's wallet as a process of its own it is killed too, in turn."""
    url = await stage.database()
    ledger = await stage.database() if operators_wallet else ""
    async with AsyncExitStack() as stack:
        victims = []
        wallet_at = f"127.0.0.1:{free_port()}" if ledger else ""
        if ledger:
            victims.append(await stack.enter_async_context(victim("wallet", stage.configure(ledger, grpc=wallet_at))))
        gateway = await stack.enter_async_context(victim("gateway", stage.configure(url, wallet=wallet_at)))
        victims.append(gateway)
        assert victims[0].served is not None
        await open_accounts(victims[0].served.grpc)
        sender = await stack.enter_async_context(
            provider(lambda: [gateway.served.callbacks] if gateway.served is not None else [])
        )
        points = [
            (each, at) for each in victims for at in Point if not (each.role == "wallet" and at is Point.AFTER_JOURNAL)
        ]
        # Idle at times: what was told too early is lost only where nothing comes behind it.
        async with Load(sender, idle_s=0.05).running() as load:
            for number, (each, at) in enumerate(islice(cycle(points), kills), 1):
                await each.die(at, 1 + number * 7 % 60, is_last=number > kills - len(points))
                stage.say(f"{number} of {kills} killed, {len(load.acknowledged)} acknowledged")
            await load.more(1)
        for each in victims:
            await each.stop()
    hits = sum((each.hits for each in victims), Counter[str]())
    share = kills // len(points)
    demanded = min(HITS_AT_LEAST, share)
    return (
        exactly("SIGKILLs", kills, sum(hits.values())),
        *(at_least(f"... {each.role} at {at}", demanded, hits[f"{each.role} {at} by signal 9"]) for each, at in points),
        stated("deliveries without an answer", load.answers[None]),
        stated("deliveries answered 998", load.answers[998]),
        exactly("answers that contradict another", [], load.contradictions[:3]),
        *await audit(url, load.sent, load.acknowledged, ledger=ledger),
    )
