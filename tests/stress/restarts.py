"""Restarts: PostgreSQL ends as with its machine and comes back, again and again, while providers send."""

import asyncio
from contextlib import AsyncExitStack

from tests.stress.figures import Figures, exactly, stated, timed
from tests.stress.ledger import audit
from tests.stress.processes import StressEnvironment, open_accounts, running
from tests.stress.sending import Load, provider


async def restarts(environment: StressEnvironment, *, times: int = 20, between: int = 300) -> Figures:
    """Restart the server under load; `between` Results are acknowledged from one restart to the next."""
    url = await environment.database()
    async with AsyncExitStack() as stack:
        gateway = await stack.enter_async_context(running(environment.configure(url)))
        await open_accounts(gateway.grpc)
        sender = await stack.enter_async_context(provider(lambda: [gateway.callbacks]))
        async with Load(sender).running() as load:
            for number in range(1, times + 1):
                await load.more(between)
                await asyncio.to_thread(environment.postgres.stop, "immediate")
                await asyncio.to_thread(environment.postgres.start)
                environment.report(f"{number} of {times} restarts, {len(load.acknowledged)} acknowledged")
            await load.more(between)
    return (
        exactly("restarts with -m immediate", times, number),
        stated("longest time without an acknowledgement", f"{load.longest_gap_s:.2f} s"),
        stated("deliveries answered 998", load.answers[998]),
        timed(exactly("deliveries without an answer", 0, load.answers[None])),
        exactly("answers that contradict another", [], load.contradictions[:3]),
        *await audit(url, load.sent, load.acknowledged),
    )
