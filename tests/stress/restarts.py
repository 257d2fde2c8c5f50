"""Restarts: PostgreSQL ends as with its machine and comes back, again and again, while providers send."""

import asyncio
from contextlib import AsyncExitStack

from tests.stress.books import audit
from tests.stress.figures import Figures, exactly, stated
from tests.stress.resilience_harness import Stage, open_accounts, running
from tests.stress.sending import Load, provider


async def restarts(stage: Stage, *, times: int = 20, between: int = 300) -> Figures:
    """Restart the server under load; `between` Results are acknowledged from one restart to the next."""
    url = await stage.database()
    async with AsyncExitStack() as stack:
        gateway = await stack.enter_async_context(running(stage.configure(url)))
        await open_accounts(gateway.grpc)
        sender = await stack.enter_async_context(provider(lambda: [gateway.callbacks]))
        async with Load(sender).running() as load:
            for number in range(1, times + 1):
                await load.more(between)
                await asyncio.to_thread(stage.postgres.stop, "immediate")
                await asyncio.to_thread(stage.postgres.start)
                stage.say(f"{number} of {times} restarts, {len(load.acknowledged)} acknowledged")
            await load.more(between)
    return (
        exactly("restarts with -m immediate", times, number),
        stated("longest time without an acknowledgement", f"{load.longest_gap_s:.2f} s"),
        stated("deliveries answered 998", load.answers[998]),
        exactly("deliveries without an answer", 0, load.answers[None]),
        exactly("answers that contradict another", [], load.contradictions[:3]),
        *await audit(url, load.sent, load.acknowledged),
    )
