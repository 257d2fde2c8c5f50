"""A provider that delivers Results over HTTP, and sends each again until it has a final answer."""

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from decimal import Decimal
from itertools import count
from time import monotonic

import aiohttp

from tests.support.gateway import callback_key
from tests.support.results import result_body

PROVIDER = "monaco"
CURRENCY = "EUR"
ANSWER_TIMEOUT_S = 4.0
"""A provider's timeout."""

PAUSE_S = 0.05
"""Between two deliveries of the same Result."""

SEND_AGAIN = 998
USERS = tuple(f"player-{number}" for number in range(20))


@dataclass(frozen=True, slots=True)
class Win:
    """A Result as the provider has it."""

    reference: str
    user_id: str
    amount: Decimal
    currency: str = CURRENCY
    round_id: str = "round-1"
    game_id: str = "game-1"
    promo_amount: Decimal | None = None
    promo_reference: str = ""

    def body(self) -> bytes:
        """As it travels."""
        members = {
            "userId": self.user_id,
            "currency": self.currency,
            "amount": f"{self.amount:f}",
            "roundid": self.round_id,
            "gameId": self.game_id,
        }
        if self.promo_amount is not None:
            members |= {"promoWinAmount": f"{self.promo_amount:f}", "promoWinReference": self.promo_reference}
        return result_body(self.reference, **members)


def win(number: int, *, prefix: str = "ref") -> Win:
    """The provider's n-th Result: amounts differ, so that a sum shows which were credited."""
    return Win(f"{prefix}-{number}", USERS[number % len(USERS)], Decimal(number % 97 + 1) / 4)


@dataclass(frozen=True, slots=True)
class DeliveryAnswer:
    """What came of one delivery: the dialect's code, None where no answer came."""

    code: int | None
    transaction_id: str = ""
    seconds: float = 0.0

    @property
    def is_final(self) -> bool:
        """Whether the provider has no reason to send again."""
        return self.code is not None and self.code != SEND_AGAIN


class Provider:
    """Delivers to one of the gateway's addresses, in turn. `addresses` is asked each time: gateways come and go."""

    def __init__(self, http: aiohttp.ClientSession, addresses: Callable[[], Sequence[str]]) -> None:
        self._http = http
        self._addresses = addresses
        self._turn = count()

    async def deliver(self, sent: Win, at: str = "") -> DeliveryAnswer:
        """Deliver once; where no gateway is known, as soon as one is."""
        address = at or await self._address()
        url = f"http://{address}/callbacks/{PROVIDER}/{callback_key(PROVIDER)}/V4/Result"
        begun = monotonic()
        try:
            async with self._http.post(url, data=sent.body()) as reply:
                said = await reply.json(content_type=None)
        except (aiohttp.ClientError, TimeoutError, ConnectionError, json.JSONDecodeError):
            return DeliveryAnswer(None, seconds=monotonic() - begun)
        return DeliveryAnswer(said["error"], said.get("transactionId", ""), monotonic() - begun)

    async def deliver_until_final(self, sent: Win) -> DeliveryAnswer:
        """Deliver until there is a final answer."""
        while True:
            answer = await self.deliver(sent)
            if answer.is_final:
                return answer
            await asyncio.sleep(PAUSE_S)

    async def _address(self) -> str:
        while True:
            if addresses := self._addresses():
                return addresses[next(self._turn) % len(addresses)]
            await asyncio.sleep(PAUSE_S)


@asynccontextmanager
async def provider(
    addresses: Callable[[], Sequence[str]], timeout_s: float = ANSWER_TIMEOUT_S
) -> AsyncIterator[Provider]:
    """A provider that waits `timeout_s` for an answer."""
    connector = aiohttp.TCPConnector(limit=0)
    timeout = aiohttp.ClientTimeout(total=timeout_s)
    async with aiohttp.ClientSession(connector=connector, timeout=timeout) as http:
        yield Provider(http, addresses)


@dataclass
class Load:
    """Results sent one after the other by several workers, each again until it has its answer.

    Every fourth is delivered once more after that, as a provider does that lost the answer.
    """

    sender: Provider
    workers: int = 32
    idle_s: float = 0.0
    """Seconds that a worker idles at the most before it goes on: without any, the gateway is never without work."""
    prefix: str = "ref"
    sent: dict[str, Win] = field(default_factory=dict)
    acknowledged: dict[str, str] = field(default_factory=dict)
    """The transaction id that each reference was answered with."""
    contradictions: list[str] = field(default_factory=list)
    """References that were answered with two transactions, or were refused."""
    answers: Counter[int | None] = field(default_factory=Counter)
    longest_gap_s: float = 0.0
    """Without any acknowledgement."""
    _numbers: "count[int]" = field(default_factory=count)
    _stopping: bool = False
    _acknowledged_at: float = field(default_factory=monotonic)
    _progress: asyncio.Condition = field(default_factory=asyncio.Condition)

    @asynccontextmanager
    async def running(self) -> AsyncIterator["Load"]:
        """Send until the block ends; then finish what is not acknowledged yet."""
        self._acknowledged_at = monotonic()
        working = [asyncio.create_task(self._work()) for _ in range(self.workers)]
        try:
            yield self
            self._stopping = True
            await asyncio.gather(*working)
        finally:
            for task in working:
                task.cancel()
                with suppress(asyncio.CancelledError):
                    await task

    async def more(self, acknowledgements: int, within_s: float = 120) -> None:
        """Wait until that many more are acknowledged. Raises TimeoutError."""
        wanted = len(self.acknowledged) + acknowledgements
        async with asyncio.timeout(within_s), self._progress:
            await self._progress.wait_for(lambda: len(self.acknowledged) >= wanted)

    async def _work(self) -> None:
        while not self._stopping:
            number = next(self._numbers)
            sent = self.sent[f"{self.prefix}-{number}"] = win(number, prefix=self.prefix)
            await self._deliver(sent)
            if number % 4 == 0:
                await self._deliver(sent)
            await asyncio.sleep(number % 7 / 7 * self.idle_s)

    async def _deliver(self, sent: Win) -> None:
        while not (answer := await self.sender.deliver(sent)).is_final:
            self.answers[answer.code] += 1
            await asyncio.sleep(PAUSE_S)
        self.answers[answer.code] += 1
        known = self.acknowledged.setdefault(sent.reference, answer.transaction_id)
        if answer.code != 0 or not answer.transaction_id or known != answer.transaction_id:
            self.contradictions.append(f"{sent.reference} {answer.code} {answer.transaction_id} {known}")
        at = monotonic()
        self.longest_gap_s = max(self.longest_gap_s, at - self._acknowledged_at)
        self._acknowledged_at = at
        async with self._progress:
            self._progress.notify_all()
