"""What a callback comes to: read, carried out, kept, and only then answered.

Judged in this order: readable, credentials, required fields, their form (all by the adapter), the reference, the
account, the currency (all by the wallet). A refusal is kept before it is told, and judged afresh when it comes again.
"""

import asyncio
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
    Rejected,
    Result,
    SessionExpired,
)
from gateway.callbacks.routing import CallbackOutcome, InboundCallback
from gateway.sessions.expiry import record_expiry
from gateway.store.base import PostingRecords, Store, StoreUnavailable
from gateway.store.ids import new_id
from gateway.store.models import Applied, PostingFault
from gateway.telemetry.errors import log_unexpected_error
from gateway.telemetry.tracing import in_span
from gateway.wallet import records
from gateway.wallet.base import CreditCancelled, PostingOutcome, Wallet, WalletUnavailable

log = structlog.get_logger(__name__)

_TOLD = {
    PostingFault.ACCOUNT_UNKNOWN: CallbackFault.ACCOUNT_UNKNOWN,
    PostingFault.CURRENCY_MISMATCH: CallbackFault.CURRENCY_MISMATCH,
    PostingFault.REFERENCE_REUSED: CallbackFault.REFERENCE_REUSED,
    # Dialects have one word for content that our side cannot book, whichever field it is in.
    PostingFault.FIELD_INVALID: CallbackFault.AMOUNT_INVALID,
}

_NO_MATTER_FOR_A_PERSON = frozenset({CallbackFault.CREDENTIALS_WRONG, CallbackFault.TRY_AGAIN})
"""A stranger's message is only quarantined, in the journal; what will be sent again settles itself."""


class CallbackRecords(PostingRecords, frozen=True, kw_only=True):
    """The records of a Result that came by callback, and what to answer the provider."""

    answered: CallbackOutcome


class CallbackProcessor:
    """Carries callbacks out, whatever the dialect."""

    def __init__(self, wallet: Wallet, store: Store, clock: Callable[[], datetime]) -> None:
        self._wallet = wallet
        self._store = store
        self._clock = clock
        self._noting: set[asyncio.Task[CallbackOutcome]] = set()

    async def process(self, arrival: InboundCallback) -> CallbackOutcome:
        """What to answer; durable already, unless it is TRY_AGAIN. Raises nothing, but may be cancelled."""
        try:
            return await in_span("judge", self._carry_out(arrival))
        except (StoreUnavailable, TimeoutError) as error:
            verdict = arrival.route.try_again(f"the store did not take it: {error}")
            if isinstance(error, StoreUnavailable) and not error.unchanged:
                # A line may be kept that says what was not answered.
                self._record_in_background(structs.replace(arrival, id=new_id()), verdict)
            return verdict
        except Exception as bug:  # noqa: BLE001 - a bug, ours or the adapter's, must cost nobody a prize
            error_id = log_unexpected_error(bug, arrival.route.provider.mask)
            return await self._record_try_again(
                arrival, arrival.route.try_again(f"the gateway failed, error id {error_id}")
            )

    async def _carry_out(self, arrival: InboundCallback) -> CallbackOutcome:
        try:
            notification = arrival.read()
        except CallbackRefused as refused:
            return await self._refuse(arrival, refused)
        match notification:
            case SessionExpired():
                return await self._expire(arrival, notification)
            case Result():
                return await self._credit(arrival, notification)
            case _:
                assert_never(notification)

    async def _expire(self, arrival: InboundCallback, expired: SessionExpired) -> CallbackOutcome:
        verdict = arrival.route.verdict(Accepted())
        await record_expiry(self._store, expired, arrival.exchange(verdict, self._clock()))
        return verdict

    async def _credit(self, arrival: InboundCallback, result: Result) -> CallbackOutcome:
        arrival = arrival.without_body()
        records_of = partial(_records_of, arrival, result, self._clock())
        try:
            stored = await self._wallet.credit(arrival.route.provider.name, result, records_of)
        except WalletUnavailable as error:
            verdict = arrival.route.try_again(f"the wallet is unavailable: {error}")
            return await self._record_try_again(arrival, verdict, result if error.asked else None)
        except CreditCancelled:
            verdict = arrival.route.try_again("the time for an answer had passed before the wallet told the outcome")
            self._record_in_background(arrival, verdict, result)
            raise asyncio.CancelledError from None
        except asyncio.CancelledError:
            # The provider is answered TRY_AGAIN, and the journal must not say otherwise.
            late = f"line {arrival.id} may be stored, and its outcome was not answered in time"
            self._record_in_background(structs.replace(arrival, id=new_id()), arrival.route.try_again(late))
            raise
        return stored.answered

    async def _refuse(self, arrival: InboundCallback, refused: CallbackRefused) -> CallbackOutcome:
        readable = refused.readable
        answer = Rejected(refused.fault, refused.field)
        verdict = arrival.route.verdict(answer, refused.message, readable.reference)
        exchange = arrival.exchange(verdict, self._clock())
        concerns_money = arrival.route.callback.notification is Result and readable.reference
        if concerns_money and refused.fault not in _NO_MATTER_FOR_A_PERSON:
            lost = records.RefusedResult(
                reference=readable.reference,
                user_id=readable.user_id,
                session_id=readable.session_id,
                fault=refused.fault,
                field=refused.field,
            )
            item, event = records.refusal_records(lost, exchange)
            await self._store.record_exchange(exchange, item, event)
        else:
            await self._store.record_exchange(exchange)
        return verdict

    def _record_in_background(
        self, arrival: InboundCallback, verdict: CallbackOutcome, unknown: Result | None = None
    ) -> None:
        """Keep a TRY_AGAIN behind the caller's back, who has no time left for it."""
        noting = asyncio.create_task(self._record_try_again(arrival, verdict, unknown))
        self._noting.add(noting)
        noting.add_done_callback(self._noting.discard)

    async def _record_try_again(
        self, arrival: InboundCallback, verdict: CallbackOutcome, unknown: Result | None = None
    ) -> CallbackOutcome:
        """Keep a TRY_AGAIN that was not the store's fault. It is answered even where it cannot be kept.

        `unknown` is the Result of which nobody knows the outcome, if any: a person must look, should nothing follow.
        """
        try:
            exchange = arrival.exchange(verdict, self._clock())
            item = records.unknown(unknown, exchange) if unknown else None
            await self._store.record_exchange(exchange, item)
        except StoreUnavailable as error:
            log.warning("callback not journalled", exchange_id=arrival.id, detail=str(error))
        except Exception as bug:  # noqa: BLE001 - the answer does not hang on the note
            log_unexpected_error(bug, arrival.route.provider.mask)
        return verdict


def _records_of(
    arrival: InboundCallback, result: Result, ended_at: datetime, outcome: PostingOutcome
) -> CallbackRecords:
    """The records of a Result's outcome. Pure: a store may call it on its own thread, and again."""
    answered = _verdict(arrival, result, outcome)
    made = records.posting_records(result, outcome, arrival.exchange(answered, ended_at))
    return CallbackRecords(outcome=outcome, exchange=made.exchange, event=made.event, item=made.item, answered=answered)


def _verdict(arrival: InboundCallback, result: Result, outcome: PostingOutcome) -> CallbackOutcome:
    if isinstance(outcome, Applied):
        credited = Credited(outcome.transaction_id, outcome.currency, outcome.cash, outcome.bonus)
        return arrival.route.verdict(credited, reference=result.reference)
    answer = Rejected(_TOLD[outcome.fault], outcome.field)
    return arrival.route.verdict(answer, records.explain(result, outcome), result.reference)
