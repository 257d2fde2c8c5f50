"""Mutated callback bodies against a gateway process: no HTTP 5xx, no traceback, and the books are as answered."""

import asyncio
import json
from collections import Counter
from dataclasses import dataclass, field
from decimal import Decimal
from random import Random
from time import monotonic
from typing import TYPE_CHECKING

import aiohttp
from grpc import aio

from gateway.store.factory import audit_kept
from gateway.v1.wallet_service_pb2 import GetBalanceRequest, OpenAccountRequest
from gateway.v1.wallet_service_pb2_grpc import WalletServiceStub
from tests.stress.figures import Figures, at_least, exactly, none_of, stated
from tests.stress.processes import StressEnvironment, running
from tests.stress.sending import PROVIDER
from tests.support.bodies import CODES, corpus, credits_in, mutated
from tests.support.gateway import callback_key
from tests.support.results import RESULT

if TYPE_CHECKING:
    from gateway.v1.wallet_service_pb2_grpc import WalletServiceAsyncStub

CONCURRENT = 16
USER = str(RESULT["userId"])
CURRENCIES = ("USD", "EUR")
TRACEBACK = "Traceback (most recent call last)"


@dataclass
class Seen:
    """What the gateway answered."""

    statuses: Counter[int] = field(default_factory=Counter)
    codes: Counter[int] = field(default_factory=Counter)
    credited: dict[str, Decimal] = field(default_factory=dict)
    """By reference, from the bodies that were answered with a transaction."""


async def mutated_bodies(environment: StressEnvironment, *, bodies: int = 100_000, seed: int = 1) -> Figures:
    """Deliver mutations of the corpus, and compare the books with what was answered."""
    url = await environment.database()
    config = environment.configure(url)
    seen, begun = Seen(), monotonic()
    async with running(config) as gateway, aio.insecure_channel(gateway.grpc) as channel:
        wallet = WalletServiceStub(channel)
        for currency in CURRENCIES:
            await wallet.OpenAccount(OpenAccountRequest(user_id=USER, currency=currency, opening_balance="100"))
        before = await _balance(wallet)
        await _deliver_all(environment, gateway.callbacks, seen, bodies, seed)
        after = await _balance(wallet)
    audit = await audit_kept(url)
    log = config.with_suffix(".log").read_text(errors="replace")
    return (
        exactly("bodies answered", bodies, sum(seen.statuses.values())),
        exactly("answered HTTP 200", bodies, seen.statuses[200]),
        none_of("codes that are not the dialect's, or 998", seen.codes.keys() - CODES),
        stated("answers by code", ", ".join(f"{code}: {number}" for code, number in sorted(seen.codes.items()))),
        exactly("tracebacks in the log", 0, log.count(TRACEBACK)),
        at_least("Results credited", 1, len(seen.credited)),
        stated("balance before", before),
        exactly("balance after: what was answered as credited", before + sum(seen.credited.values()), after),
        exactly("transactions in the books", len(seen.credited), audit.transactions),
        none_of("discrepancies in the books", audit.discrepancies),
        stated("bodies a second", round(bodies / (monotonic() - begun))),
    )


async def _deliver_all(environment: StressEnvironment, address: str, seen: Seen, bodies: int, seed: int) -> None:
    numbers = iter(range(bodies))
    url = f"http://{address}/callbacks/{PROVIDER}/{callback_key(PROVIDER)}/V4"

    async def worker() -> None:
        for number in numbers:
            random = Random(f"{seed}-{number}")  # noqa: S311 - no secret; each body can be made again
            body = mutated(random, corpus(), f"ref-{number}")
            path = "Result" if random.random() < 0.9 else "SessionExpired"
            async with http.post(f"{url}/{path}", data=body) as reply:
                seen.statuses[reply.status] += 1
                _note(seen, body, await reply.read())
            if number % 10_000 == 0:
                environment.report(f"{number} bodies")

    async with aiohttp.ClientSession() as http:
        await asyncio.gather(*(worker() for _ in range(CONCURRENT)))


def _note(seen: Seen, body: bytes, answer: bytes) -> None:
    said = json.loads(answer)
    seen.codes[said["error"]] += 1
    if said["error"] == 0 and "transactionId" in said:
        seen.credited |= credits_in(body)


async def _balance(wallet: "WalletServiceAsyncStub") -> Decimal:
    """Of all accounts together: amounts do not say their currency."""
    replies = [await wallet.GetBalance(GetBalanceRequest(user_id=USER, currency=each)) for each in CURRENCIES]
    return sum((Decimal(reply.cash) for reply in replies), Decimal(0))
