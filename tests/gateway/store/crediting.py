"""A process that credits Results until it is killed, and prints each reference once it is acknowledged."""

import asyncio
import sys
from decimal import Decimal
from itertools import count

from gateway.store.base import Store
from gateway.store.factory import open_store
from gateway.store.models import Applied
from tests.gateway.store.samples import NOW, deliver, posting

AMOUNT = Decimal("0.1")
WORKERS = 16


async def credit(store: Store, worker: int) -> None:
    """Deliver one Result after another."""
    for number in count():
        reference = f"{worker}-{number}"
        assert isinstance(await deliver(store, posting(reference, amount=AMOUNT)), Applied)
        sys.stdout.write(f"{reference}\n")
        sys.stdout.flush()


async def main(url: str) -> None:
    """Credit from several tasks at once, so that commits are shared."""
    store = open_store(url)
    await store.open()
    await store.open_account("player-1", "EUR", Decimal(0), NOW)
    await asyncio.gather(*(credit(store, worker) for worker in range(WORKERS)))


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
