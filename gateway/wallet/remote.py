"""The operator's own wallet, behind gRPC: asked until it answers or the provider's patience is over, and then told of.

Nothing survives a crash between two systems but the idempotency key `(provider, reference)`: what the wallet credited
and this store never heard of is told again by the wallet when the provider sends again, under the same transaction id.
"""

import asyncio
from collections.abc import Callable
from datetime import datetime
from random import uniform

import grpc
import structlog

from adapters.contract import Result
from gateway.store.base import RecordsT, Store
from gateway.store.models import PostingFault, PostingRefused
from gateway.v1 import wallet_service_pb2 as pb
from gateway.wallet import records, remote_codec
from gateway.wallet.base import CreditCancelled, PostingOutcome, WalletUnavailable
from gateway.wallet.channel import WalletAddress, open_channel
from gateway.wallet.remote_codec import InconclusiveAnswer

log = structlog.get_logger(__name__)

CREDIT_TIMEOUT_S = 2.7
"""Seconds that one credit may ask the wallet in all. The provider is answered half a second later at the latest, and
until then the store has to keep what came of it.
"""

MAX_IN_FLIGHT = 1000
"""Credits that ask at the same time: beyond it a wallet that hangs would only fill the memory."""

_APPLY_RESULT = "/{}/ApplyResult".format(pb.DESCRIPTOR.services_by_name["WalletService"].full_name)

_MIN_BACKOFF_S = 0.05
_MAX_BACKOFF_S = 0.5
_MIN_ATTEMPT_TIME_S = 0.05
"""An attempt with less time than this would only end as another time-out."""

_REACHABLE_WITHIN_S = 0.5
_LOOK_EVERY_S = 0.02


class RemoteWallet:
    """Credits Results in the operator's wallet, and keeps their story in the gateway's store.

    `start` it on the event loop that uses it, and `close` it before that ends.
    """

    def __init__(
        self,
        address: WalletAddress,
        store: Store,
        clock: Callable[[], datetime],
        *,
        attempt_timeout_s: float = 1.0,
        patience_s: float = CREDIT_TIMEOUT_S,
        most_at_once: int = MAX_IN_FLIGHT,
    ) -> None:
        self._address = address
        self._store = store
        self._clock = clock
        self._attempt_timeout_s = attempt_timeout_s
        self._patience_s = patience_s
        self._most_at_once = most_at_once
        self._under_way = 0
        self._channel: grpc.aio.Channel | None = None

    async def start(self) -> None:
        """Begin to connect; nothing waits for it. Raises OSError where the system's authorities cannot be read."""
        self._channel = open_channel(self._address)
        self._channel.get_state(try_to_connect=True)

    async def close(self) -> None:
        """Hang up. Harmless when not started."""
        channel, self._channel = self._channel, None
        if channel is not None:
            await channel.close()

    async def credit(self, provider: str, result: Result, records_of: Callable[[PostingOutcome], RecordsT]) -> RecordsT:
        """Have a callback's Result credited, and store the wallet's credit with the event, journal line and item.

        Where the store fails the wallet has credited all the same: it returns the same credit the next time.
        """
        outcome = await self._ask(provider, result)
        posting = records.posting(provider, result)
        return await self._store.record_outcome(posting, outcome, records_of, self._clock())

    async def ready(self) -> None:
        channel = self._open()
        reachable_by = asyncio.get_running_loop().time() + _REACHABLE_WITHIN_S
        # Looked at, and not waited for: a wait that is given up stays with the channel until its state changes.
        while (state := channel.get_state(try_to_connect=True)) is not grpc.ChannelConnectivity.READY:
            if asyncio.get_running_loop().time() > reachable_by:
                raise WalletUnavailable(
                    f"the operator's wallet at {self._address.target} cannot be reached ({state.name}): "
                    "see that it runs, and check wallet.target and wallet.tls",
                    asked=False,
                )
            await asyncio.sleep(_LOOK_EVERY_S)

    async def _ask(self, provider: str, result: Result) -> PostingOutcome:
        if self._under_way >= self._most_at_once:
            raise WalletUnavailable(
                f"{self._under_way} Results wait for the operator's wallet already: it is too slow", asked=False
            )
        self._under_way += 1
        try:
            return await self._apply_with_retry(remote_codec.request_of(provider, result), result)
        except asyncio.CancelledError as left:
            raise CreditCancelled from left
        finally:
            self._under_way -= 1

    async def _apply_with_retry(self, request: bytes, result: Result) -> PostingOutcome:
        """Ask until the wallet answers, or until no attempt fits into the provider's patience any more."""
        loop = asyncio.get_running_loop()
        give_up_at = loop.time() + self._patience_s
        attempts = 1
        while isinstance(answer := await self._attempt(request, result, give_up_at - loop.time()), InconclusiveAnswer):
            pause = _pause_s(attempts, answer)
            if not answer.again or loop.time() + pause + _MIN_ATTEMPT_TIME_S > give_up_at:
                raise self._unavailable(answer, attempts)
            await asyncio.sleep(pause)
            attempts += 1
        return answer

    def _unavailable(self, trouble: InconclusiveAnswer, attempts: int) -> WalletUnavailable:
        if trouble.needs_operator:
            log.error("the operator's wallet needs mending", target=self._address.target, detail=str(trouble))
        told = f"the operator's wallet at {self._address.target} did not tell the outcome"
        return WalletUnavailable(f"{told}, asked {attempts} times, at last: {trouble}")

    async def _attempt(self, request: bytes, result: Result, left_s: float) -> PostingOutcome | InconclusiveAnswer:
        # Bytes both ways: of an answer that it cannot read the library would make a None.
        apply_result: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = self._open().unary_unary(_APPLY_RESULT)
        try:
            answer = await apply_result(request, timeout=min(self._attempt_timeout_s, left_s))
        except grpc.aio.AioRpcError as error:
            return self._failed(error)
        return remote_codec.applied(answer, result.currency)

    def _failed(self, error: grpc.aio.AioRpcError) -> PostingRefused | InconclusiveAnswer:
        meant = remote_codec.failed(error)
        if isinstance(meant, PostingRefused) and meant.fault is PostingFault.FIELD_INVALID:
            # The provider can do little about it: what the wallet says is for whoever runs the wallet.
            log.warning(
                "the operator's wallet refused a field", field=meant.field, detail=remote_codec.describe_status(error)
            )
        return meant

    def _open(self) -> grpc.aio.Channel:
        if self._channel is None:
            raise WalletUnavailable("the connection to the operator's wallet is closed", asked=False)
        return self._channel


def _pause_s(attempt: int, trouble: InconclusiveAnswer) -> float:
    """Longer with each attempt, and never the same: callers that failed together do not come back together."""
    most = min(_MIN_BACKOFF_S * 2.0 ** (attempt - 1), _MAX_BACKOFF_S)
    return trouble.retry_after_s + uniform(most / 2, most)  # noqa: S311 - nothing is guarded by it
