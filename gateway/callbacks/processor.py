"""Processes a callback: decodes it, applies it, records it. Only then is it answered.

Checked in this order: readable, credentials, required fields, their form (all by the adapter), the reference, the
account, the currency (all by the wallet). A refusal is recorded too. It is not kept as the answer: the callback is
processed again when the provider sends it again.
"""

import asyncio
import dataclasses
from collections.abc import Callable
from datetime import datetime
from functools import partial
from typing import assert_never

import structlog
from msgspec import structs

from adapters.contract import (
    Accepted,
    CallbackFault,
    CallbackRefused,
    Credited,
    HttpRequest,
    Notification,
    PartialCallback,
    Rejected,
    Result,
    SessionExpired,
)
from gateway.callbacks.routing import CallbackOutcome, InboundCallback, Route
from gateway.masking.large_bodies import LargeBodies
from gateway.store.base import PostingRecords, Store, StoreUnavailable
from gateway.store.ceilings import Ceiling
from gateway.store.ids import new_id
from gateway.store.models import Applied, Event, EventType, PostingFault
from gateway.telemetry.errors import log_unexpected_error
from gateway.telemetry.tracing import in_span
from gateway.wallet import records
from gateway.wallet.base import CreditCancelled, PostingOutcome, Wallet, WalletUnavailable

log = structlog.get_logger(__name__)

FAULT_BY_POSTING_FAULT = {
    PostingFault.ACCOUNT_UNKNOWN: CallbackFault.ACCOUNT_UNKNOWN,
    PostingFault.CURRENCY_MISMATCH: CallbackFault.CURRENCY_MISMATCH,
    PostingFault.AMOUNT_ABOVE_LIMIT: CallbackFault.AMOUNT_ABOVE_LIMIT,
    PostingFault.REFERENCE_REUSED: CallbackFault.REFERENCE_REUSED,
    # Dialects have one code for content that the gateway cannot post, whichever field it is in.
    PostingFault.FIELD_INVALID: CallbackFault.AMOUNT_INVALID,
}

_WITHOUT_ITEM = frozenset({CallbackFault.CREDENTIALS_WRONG, CallbackFault.TRY_AGAIN})
"""Refusals that need no operator. With wrong credentials the message is only kept in the journal; after TRY_AGAIN the
provider sends it again.
"""

SMALL_BYTES = 8 * 1024
"""A larger body is decoded and masked on a thread. This much of the costliest kind takes some milliseconds."""


class CallbackRecords(PostingRecords, frozen=True, kw_only=True):
    """The records of a Result that came by callback, and what to answer the provider."""

    answered: CallbackOutcome


class CallbackProcessor:
    """Processes callbacks of all dialects."""

    def __init__(self, wallet: Wallet, store: Store, clock: Callable[[], datetime]) -> None:
        self._wallet = wallet
        self._store = store
        self._clock = clock
        self._recording: set[asyncio.Task[CallbackOutcome]] = set()
        self._large_bodies = LargeBodies(SMALL_BYTES)

    async def with_request(self, callback: InboundCallback, request: HttpRequest) -> InboundCallback:
        """The callback with its request, masked."""
        masked = partial(callback.with_request, request)
        size = len(request.body) + sum(len(name) + len(value) for name, value in (*request.headers, *request.query))
        return await self._large_bodies.run(callback.route.provider.name, size, masked)

    async def refuse_too_large(self, callback: InboundCallback, request: HttpRequest, limit: int) -> CallbackOutcome:
        """What to answer to a body that was cut off because it is larger than `limit` bytes: it is not stored."""
        masked = await self.with_request(callback, dataclasses.replace(request, body=b""))
        return await self.process(masked, request, f"the body is larger than {limit} bytes and is not stored")

    async def process(self, callback: InboundCallback, request: HttpRequest, unreadable: str = "") -> CallbackOutcome:
        """What to answer; it is durable, unless it is TRY_AGAIN. Raises nothing, but may be cancelled.

        `unreadable` says why the request is refused, whatever it says.
        """
        route = callback.route
        try:
            return await in_span("process", self._apply(callback, request, unreadable))
        except (StoreUnavailable, TimeoutError) as error:
            outcome = route.try_again(f"the store did not record it: {error}")
            if isinstance(error, StoreUnavailable) and not error.unchanged:
                # The line may still be stored, with an outcome that is not answered.
                self._record_in_background(structs.replace(callback, id=new_id()), outcome)
            return outcome
        except Exception as bug:  # noqa: BLE001 - a bug of the gateway or the adapter must not cost a player a prize
            error_id = log_unexpected_error(bug, route.provider.mask)
            return await self._record_try_again(callback, route.try_again(f"the gateway failed, error id {error_id}"))

    async def _apply(self, callback: InboundCallback, request: HttpRequest, unreadable: str) -> CallbackOutcome:
        try:
            notification = await self._decode(callback.route, request, unreadable)
        except CallbackRefused as refused:
            return await self._refuse(callback, refused)
        match notification:
            case SessionExpired():
                return await self._expire(callback, notification)
            case Result():
                return await self._credit(callback, notification)
            case _:
                assert_never(notification)

    async def _decode(self, route: Route, request: HttpRequest, unreadable: str) -> Notification:
        decode = partial(_decode_partly, route, request, unreadable) if unreadable else partial(_decode, route, request)
        return await self._large_bodies.run(route.provider.name, len(request.body), decode)

    async def _expire(self, callback: InboundCallback, expired: SessionExpired) -> CallbackOutcome:
        """Record an expiry. A repeated one gets a line and no second event. The session need not be known."""
        outcome = callback.route.outcome(Accepted())
        exchange = callback.exchange(outcome, self._clock())
        event = Event(
            id=new_id(),
            type=EventType.SESSION_EXPIRED,
            time=exchange.ended_at,
            provider=exchange.provider,
            user_id=expired.user_id,
            session_id=expired.session_id,
        )
        await self._store.record_expiry(event, expired.provider_id, exchange)
        return outcome

    async def _credit(self, callback: InboundCallback, result: Result) -> CallbackOutcome:
        route = callback.route
        records_of = partial(_records_of, callback, result)
        try:
            stored = await self._wallet.credit(
                route.provider.name, result, records_of, _ceiling(callback, result.currency)
            )
        except WalletUnavailable as error:
            outcome = route.try_again(f"the wallet is unavailable: {error}")
            return await self._record_try_again(callback, outcome, result if error.asked else None)
        except CreditCancelled:
            outcome = route.try_again("the time for an answer was over before the wallet answered")
            self._record_in_background(callback, outcome, result)
            raise asyncio.CancelledError from None
        except asyncio.CancelledError:
            # The provider is answered TRY_AGAIN, and the journal must not say otherwise.
            outcome = route.try_again(f"line {callback.id} may be stored, and its outcome was not answered in time")
            self._record_in_background(structs.replace(callback, id=new_id()), outcome)
            raise
        outcome = stored.answered
        if result.sent_at is None or not isinstance(stored.outcome, Applied) or stored.outcome.replayed:
            return outcome
        return structs.replace(outcome, age_s=(callback.started_at - result.sent_at).total_seconds())

    async def _refuse(self, callback: InboundCallback, refused: CallbackRefused) -> CallbackOutcome:
        readable = refused.readable
        outcome = callback.route.outcome(Rejected(refused.fault, refused.field), refused.message, readable.reference)
        exchange = callback.exchange(outcome, self._clock())
        item, event = None, None
        is_result = callback.route.callback.notification is Result
        if is_result and readable.reference and refused.fault not in _WITHOUT_ITEM:
            result = records.RefusedResult(
                reference=readable.reference,
                user_id=readable.user_id,
                session_id=readable.session_id,
                fault=refused.fault,
                field=refused.field,
            )
            item, event = records.refusal_records(result, exchange)
        await self._store.record_exchange(exchange, item, event)
        return outcome

    def _record_in_background(
        self, callback: InboundCallback, outcome: CallbackOutcome, unknown: Result | None = None
    ) -> None:
        """Record a TRY_AGAIN that the caller does not wait for."""
        task = asyncio.create_task(self._record_try_again(callback, outcome, unknown))
        self._recording.add(task)
        task.add_done_callback(self._recording.discard)

    async def _record_try_again(
        self, callback: InboundCallback, outcome: CallbackOutcome, unknown: Result | None = None
    ) -> CallbackOutcome:
        """Record a TRY_AGAIN. It is answered even if it cannot be recorded.

        `unknown` is a Result that the wallet may have credited: it gets a reconciliation item, which a later credit
        resolves.
        """
        try:
            exchange = callback.exchange(outcome, self._clock())
            item = records.unknown(unknown, exchange) if unknown else None
            await self._store.record_exchange(exchange, item)
        except StoreUnavailable as error:
            log.warning("callback not journalled", exchange_id=callback.id, error=str(error))
        except Exception as bug:  # noqa: BLE001 - the answer does not depend on the record
            log_unexpected_error(bug, callback.route.provider.mask)
        return outcome


def _ceiling(callback: InboundCallback, currency: str) -> Ceiling | None:
    """The ceiling of a Result. An operator's redelivery confirms it."""
    ceiling = callback.route.provider.ceilings.get(currency)
    if ceiling is None or callback.redelivery is None:
        return ceiling
    return structs.replace(ceiling, confirmed=True)


def _decode(route: Route, request: HttpRequest) -> Notification:
    route.callback.verify(route.provider.account, request)
    return route.callback.decode(route.provider.account, request)


def _decode_partly(route: Route, request: HttpRequest, unreadable: str) -> Notification:
    """Refuse a request, with what can be read of it. Raises CallbackRefused."""
    readable = PartialCallback()
    try:
        if isinstance(found := _decode(route, request), Result):
            readable = PartialCallback(found.reference, found.user_id, found.session_id)
    except CallbackRefused as refused:
        readable = refused.readable
    raise CallbackRefused(CallbackFault.UNREADABLE, unreadable, readable=readable)


def _records_of(
    callback: InboundCallback, result: Result, ended_at: datetime, outcome: PostingOutcome
) -> CallbackRecords:
    """The records of a Result's outcome. Pure: a store may call it on its own thread, and again."""
    if isinstance(outcome, Applied):
        credited = Credited(outcome.transaction_id, outcome.currency, outcome.cash, outcome.bonus)
        answered = callback.route.outcome(credited, reference=result.reference)
    else:
        rejected = Rejected(FAULT_BY_POSTING_FAULT[outcome.fault], outcome.field)
        answered = callback.route.outcome(rejected, records.explain(result, outcome), result.reference)
    made = records.posting_records(result, outcome, callback.exchange(answered, ended_at))
    return CallbackRecords(outcome=outcome, exchange=made.exchange, event=made.event, item=made.item, answered=answered)
