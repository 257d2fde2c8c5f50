"""The built-in ledger: accounts and postings in the gateway's store, in one transaction with their records."""

from collections.abc import Callable
from datetime import datetime
from decimal import Decimal
from functools import partial

from adapters.contract import Result
from gateway.store.base import PostingRecords, RecordsT, Store, StoreUnavailable
from gateway.store.ceilings import Ceiling
from gateway.store.ids import new_id
from gateway.store.models import AccountOpened, Actor, Balance, PostingRefused
from gateway.wallet import records
from gateway.wallet.base import PostingOutcome, WalletUnavailable


class BuiltinWallet:
    """The ledger behind callbacks (`credit`, `ready`) and behind the WalletService (the others).

    The WalletService's methods return typed values, which the servicer turns into gRPC statuses. All raise
    StoreUnavailable.
    """

    def __init__(self, store: Store, clock: Callable[[], datetime]) -> None:
        self._store = store
        self._clock = clock

    async def start(self) -> None:
        """Nothing to do: the owner of the store opens it."""

    async def close(self) -> None:
        """Nothing to do: the owner of the store closes it."""

    async def credit(
        self,
        provider: str,
        result: Result,
        records_of: Callable[[datetime, PostingOutcome], RecordsT],
        ceiling: Ceiling | None = None,
    ) -> RecordsT:
        """Credit a callback's Result: effect, event, journal line and reconciliation item are one transaction."""
        now = self._clock()
        return await self._store.apply(records.posting(provider, result), now, partial(records_of, now), ceiling)

    async def ready(self) -> None:
        try:
            await self._store.ping()
        except StoreUnavailable as error:
            raise WalletUnavailable(f"the built-in ledger's store cannot be written to: {error}") from error

    async def apply(self, provider: str, result: Result, actor: Actor) -> PostingOutcome:
        """Credit a Result that came over gRPC: its effect, its event and its journal line are one transaction.

        A refusal is returned to the caller, and leaves a journal line. It makes no reconciliation item.
        """
        event_id = new_id()

        def records_of(now: datetime, outcome: PostingOutcome) -> PostingRecords:
            line = records.caller_line(provider, result, outcome, actor, now)
            event = None if isinstance(outcome, PostingRefused) else records.credited(provider, result, event_id, now)
            return PostingRecords(outcome=outcome, exchange=line, event=event)

        return (await self.credit(provider, result, records_of)).outcome

    async def open_account(self, user_id: str, currency: str, opening: Decimal, actor: Actor) -> AccountOpened:
        """Open an account, or answer again as the first time. An opening balance leaves a journal line.

        Raises ContentDiffers('opening_balance').
        """
        now = self._clock()
        line = records.opening_line(user_id, currency, opening, actor, now) if opening else None
        return await self._store.open_account(user_id, currency, opening, now, line)

    async def balance(self, user_id: str, currency: str) -> Balance | PostingRefused:
        """What an account holds now."""
        return await self._store.balance(user_id, currency)
