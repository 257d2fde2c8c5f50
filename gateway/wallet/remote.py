"""The operator's own wallet, over gRPC: asked until it answers or the credit times out; then the records are stored.

Only the idempotency key `(provider, reference)` survives a crash between two systems: where the wallet credited and
this store has no record, the wallet returns the same transaction id when the provider sends again.
"""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from functools import partial
from random import uniform

import grpc
import structlog

from adapters.contract import Result
from gateway.store.base import RecordsT, Store
from gateway.store.ceilings import Ceiling
from gateway.store.models import PostingFault, PostingRefused
from gateway.v1 import wallet_service_pb2 as pb
from gateway.wallet import records, remote_codec
from gateway.wallet.base import CreditCancelled, PostingOutcome, WalletUnavailable
from gateway.wallet.channel import WalletAddress, open_channel
from gateway.wallet.remote_codec import InconclusiveAnswer

log = structlog.get_logger(__name__)

CREDIT_TIMEOUT_S = 2.7
"""Seconds that one credit may take with all attempts. The provider is answered at most half a second later, which is
the store's time to write the records.
"""

MAX_IN_FLIGHT = 1000
"""Credits at the same time: with more a wallet that hangs would only fill the memory."""

_APPLY_RESULT = "/{}/ApplyResult".format(pb.DESCRIPTOR.services_by_name["WalletService"].full_name)

_MIN_BACKOFF_S = 0.05
_MAX_BACKOFF_S = 0.5
_MIN_ATTEMPT_TIME_S = 0.05
"""An attempt with less time than this would only time out."""

_READY_TIMEOUT_S = 0.5
_READY_POLL_S = 0.02


class RemoteWallet:
    """Credits Results in the operator's wallet, and stores their records in the gateway's store.

    `start` it on the event loop that uses it, and `close` it before that ends.
    """

    def __init__(
        self,
        address: WalletAddress,
        store: Store,
        clock: Callable[[], datetime],
        *,
        attempt_timeout_s: float = 1.0,
        credit_timeout_s: float = CREDIT_TIMEOUT_S,
        max_in_flight: int = MAX_IN_FLIGHT,
    ) -> None:
        self._address = address
        self._store = store
        self._clock = clock
        self._attempt_timeout_s = attempt_timeout_s
        self._credit_timeout_s = credit_timeout_s
        self._max_in_flight = max_in_flight
        self._in_flight = 0
        self._channel: grpc.aio.Channel | None = None

    async def start(self) -> None:
        """Begin to connect, without waiting. Raises OSError where the system's authorities cannot be read."""
        self._channel = open_channel(self._address)
        self._channel.get_state(try_to_connect=True)

    async def close(self) -> None:
        """Disconnect. Harmless when not started."""
        channel, self._channel = self._channel, None
        if channel is not None:
            await channel.close()

    async def credit(
        self,
        provider: str,
        result: Result,
        records_of: Callable[[datetime, PostingOutcome], RecordsT],
        ceiling: Ceiling | None = None,
    ) -> RecordsT:
        """Ask the wallet to credit a Result, and store its credit with the event, journal line and item.

        Where the store fails the wallet has still credited: it returns the same credit the next time. A Result above
        the ceiling is not sent to the wallet.
        """
        posting = records.posting(provider, result)
        with self._slot():
            refused = await self._store.admit(posting, ceiling, self._clock()) if ceiling is not None else None
            outcome = refused or await self._ask(provider, result)
        now, limited = self._clock(), ceiling is not None and ceiling.counts and refused is None
        return await self._store.record_outcome(posting, outcome, partial(records_of, now), now, limited=limited)

    async def ready(self) -> None:
        channel = self._open()
        reachable_by = asyncio.get_running_loop().time() + _READY_TIMEOUT_S
        # Polled: a wait that is cancelled would stay with the channel until its state changes.
        while (state := channel.get_state(try_to_connect=True)) is not grpc.ChannelConnectivity.READY:
            if asyncio.get_running_loop().time() > reachable_by:
                raise WalletUnavailable(
                    f"the operator's wallet at {self._address.target} cannot be reached ({state.name}): "
                    "see that it runs, and check wallet.target and wallet.tls",
                    asked=False,
                )
            await asyncio.sleep(_READY_POLL_S)

    @contextmanager
    def _slot(self) -> Iterator[None]:
        """Around one credit. Raises WalletUnavailable where too many are in flight."""
        if self._in_flight >= self._max_in_flight:
            raise WalletUnavailable(
                f"{self._in_flight} Results wait for the operator's wallet already: it is too slow", asked=False
            )
        self._in_flight += 1
        try:
            yield
        finally:
            self._in_flight -= 1

    async def _ask(self, provider: str, result: Result) -> PostingOutcome:
        try:
            return await self._apply_with_retry(remote_codec.encode_request(provider, result), result)
        except asyncio.CancelledError as left:
            raise CreditCancelled from left

    async def _apply_with_retry(self, request: bytes, result: Result) -> PostingOutcome:
        """Ask until the wallet answers, or until the time left is too short for another attempt."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self._credit_timeout_s
        attempts = 1
        while isinstance(answer := await self._attempt(request, result, deadline - loop.time()), InconclusiveAnswer):
            backoff = _backoff_s(attempts, answer)
            if not answer.retryable or loop.time() + backoff + _MIN_ATTEMPT_TIME_S > deadline:
                raise self._unavailable(answer, attempts)
            await asyncio.sleep(backoff)
            attempts += 1
        return answer

    def _unavailable(self, answer: InconclusiveAnswer, attempts: int) -> WalletUnavailable:
        if answer.remedy:
            log.error("wallet misconfigured", target=self._address.target, error=str(answer))
        failure = f"the operator's wallet at {self._address.target} did not return the outcome"
        return WalletUnavailable(f"{failure}, asked {attempts} times, last: {answer}")

    async def _attempt(self, request: bytes, result: Result, left_s: float) -> PostingOutcome | InconclusiveAnswer:
        # Bytes both ways: the library would turn a response that it cannot decode into None.
        apply_result: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = self._open().unary_unary(_APPLY_RESULT)
        try:
            response = await apply_result(request, timeout=min(self._attempt_timeout_s, left_s))
        except grpc.aio.AioRpcError as error:
            return self._failed(error)
        return remote_codec.decode_response(response, result.currency)

    def _failed(self, error: grpc.aio.AioRpcError) -> PostingRefused | InconclusiveAnswer:
        answer = remote_codec.decode_error(error)
        if isinstance(answer, PostingRefused) and answer.fault is PostingFault.FIELD_INVALID:
            # The provider can do little about it: the wallet's text is for the operator.
            log.warning("wallet refused a field", field=answer.field, error=remote_codec.describe_status(error))
        return answer

    def _open(self) -> grpc.aio.Channel:
        if self._channel is None:
            raise WalletUnavailable("the connection to the operator's wallet is closed", asked=False)
        return self._channel


def _backoff_s(attempt: int, answer: InconclusiveAnswer) -> float:
    """Exponential, with jitter: callers that failed together do not retry together."""
    backoff = min(_MIN_BACKOFF_S * 2.0 ** (attempt - 1), _MAX_BACKOFF_S)
    return answer.retry_after_s + uniform(backoff / 2, backoff)  # noqa: S311 - no secret
