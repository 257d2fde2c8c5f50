"""Kill: processes end by SIGKILL in the middle of Results, and providers send again what was not answered."""

import asyncio
import sys
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from itertools import cycle, islice
from pathlib import Path

from tests.stress.crash_points import START, Point
from tests.stress.figures import Figures, at_least, exactly, stated
from tests.stress.ledger import audit
from tests.stress.processes import (
    STARTING_S,
    Served,
    StressEnvironment,
    free_port,
    kill_process,
    launch,
    open_accounts,
    serving,
)
from tests.stress.sending import Load, provider

HITS_AT_LEAST = 10
"""At each point, of a hundred kills."""


@dataclass
class KillableProcess:
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

    async def kill_at(self, at: Point, passage: int, *, is_last: bool) -> None:
        """Have it kill itself under the load that is on it, and start it again."""
        served = self.served
        assert served is not None
        process = served.process
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(f"kill {at} {passage}\n".encode())
        said = await asyncio.wait_for(process.stdout.read(), STARTING_S)
        code = await served.ended()
        self.served = None
        self.hits[f"{self.role} {said.decode().strip() or 'nowhere'} by signal {-code}"] += 1
        await self.start(is_last=is_last)

    async def stop(self) -> None:
        """End it well."""
        if self.served:
            await self.served.stop()

    async def kill_process(self) -> None:
        """Leave nothing of it."""
        for process in (self._next, self.served.process if self.served else None):
            if process is not None:
                await kill_process(process)

    async def _load(self) -> asyncio.subprocess.Process:
        return await launch(self.config, (sys.executable, "-m", "tests.stress.crash_points", self.role))


@asynccontextmanager
async def killable_process(role: str, config: Path) -> AsyncIterator[KillableProcess]:
    """A process that serves and can be killed."""
    killable = KillableProcess(role, config)
    try:
        await killable.start()
        yield killable
    finally:
        await killable.kill_process()


async def kill(environment: StressEnvironment, *, kills: int = 100, operators_wallet: bool = False) -> Figures:
    """Kill under load; with the operator's wallet as a separate process it is killed too, in turn."""
    url = await environment.database()
    ledger = await environment.database() if operators_wallet else ""
    async with AsyncExitStack() as stack:
        processes = []
        wallet_at = f"127.0.0.1:{free_port()}" if ledger else ""
        if ledger:
            processes.append(
                await stack.enter_async_context(
                    killable_process("wallet", environment.configure(ledger, grpc=wallet_at))
                )
            )
        gateway = await stack.enter_async_context(
            killable_process("gateway", environment.configure(url, wallet=wallet_at))
        )
        processes.append(gateway)
        assert processes[0].served is not None
        await open_accounts(processes[0].served.grpc)
        sender = await stack.enter_async_context(
            provider(lambda: [gateway.served.callbacks] if gateway.served is not None else [])
        )
        points = [
            (each, at)
            for each in processes
            for at in Point
            if not (each.role == "wallet" and at is Point.AFTER_JOURNAL)
        ]
        # Idle at times: what was answered too early is lost only if nothing follows it.
        async with Load(sender, idle_s=0.05).running() as load:
            for number, (each, at) in enumerate(islice(cycle(points), kills), 1):
                await each.kill_at(at, 1 + number * 7 % 60, is_last=number > kills - len(points))
                environment.report(f"{number} of {kills} killed, {len(load.acknowledged)} acknowledged")
            await load.more(1)
        for each in processes:
            await each.stop()
    hits = sum((each.hits for each in processes), Counter[str]())
    share = kills // len(points)
    required = min(HITS_AT_LEAST, share)
    return (
        exactly("SIGKILLs", kills, sum(hits.values())),
        *(at_least(f"... {each.role} at {at}", required, hits[f"{each.role} {at} by signal 9"]) for each, at in points),
        stated("deliveries without an answer", load.answers[None]),
        stated("deliveries answered 998", load.answers[998]),
        exactly("answers that contradict another", [], load.contradictions[:3]),
        *await audit(url, load.sent, load.acknowledged, ledger=ledger),
    )
