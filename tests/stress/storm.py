"""Storm: a Result delivered many times at once is credited once, at whatever replica."""

import asyncio
from collections import Counter
from contextlib import AsyncExitStack
from dataclasses import replace
from time import monotonic

from tests.stress.figures import Figures, exactly, none_of, stated
from tests.stress.ledger import audit
from tests.stress.processes import StressEnvironment, open_accounts, running
from tests.stress.sending import DeliveryAnswer, Provider, Win, provider, win

REUSED = 999


async def storm(
    environment: StressEnvironment, *, references: int = 200, copies: int = 32, replicas: int = 1
) -> Figures:
    """Deliver each Result `copies` times at once, spread over the replicas; then contradict each at every replica."""
    url = await environment.database()
    wins = [win(number) for number in range(references)]
    async with AsyncExitStack() as stack:
        gateways = [await stack.enter_async_context(running(environment.configure(url))) for _ in range(replicas)]
        await open_accounts(gateways[0].grpc)
        addresses = [gateway.callbacks for gateway in gateways]
        sender = await stack.enter_async_context(provider(lambda: addresses))
        begun = monotonic()
        answered = await _at_once(sender, wins, copies)
        seconds = monotonic() - begun
        contradicted = [
            await sender.deliver(replace(sent, amount=sent.amount + 1), at=address)
            for sent in wins
            for address in addresses
        ]
    codes = Counter(answer.code for answers in answered.values() for answer in answers)
    ids = {reference: {answer.transaction_id for answer in answers} for reference, answers in answered.items()}
    acknowledged = {reference: min(known) for reference, known in ids.items()}
    state = await audit(url, {sent.reference: sent for sent in wins}, acknowledged, open_items=references)
    return (
        stated("deliveries a second", round(references * copies / seconds)),
        exactly("deliveries answered 0", references * copies, codes[0]),
        none_of("references with more than one transaction", (ref for ref, known in ids.items() if len(known) != 1)),
        exactly("contradictions answered 999", len(contradicted), sum(each.code == REUSED for each in contradicted)),
        *state,
    )


async def _at_once(sender: Provider, wins: list[Win], copies: int) -> dict[str, list[DeliveryAnswer]]:
    """Copies of a Result at once, and several Results at a time, so that a batch holds both kinds of neighbours."""
    answered: dict[str, list[DeliveryAnswer]] = {}
    at_a_time = asyncio.Semaphore(8)

    async def every_copy(sent: Win) -> None:
        async with at_a_time:
            answered[sent.reference] = await asyncio.gather(*(sender.deliver(sent) for _ in range(copies)))

    await asyncio.gather(*map(every_copy, wins))
    return answered
