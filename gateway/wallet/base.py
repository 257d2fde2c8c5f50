"""The interface of a wallet, the built-in ledger or the operator's own."""

import asyncio
from collections.abc import Callable
from datetime import datetime
from typing import Protocol

from adapters.contract import Result
from gateway.store.base import RecordsT
from gateway.store.ceilings import Ceiling
from gateway.store.models import Applied, PostingRefused

PostingOutcome = Applied | PostingRefused
"""The outcome of a Result: it is applied, or refused for as long as its cause lasts."""


class WalletUnavailable(Exception):
    """The wallet did not answer, or its answer does not say the outcome. Where it was `asked` it may have credited: the
    same Result must be sent again, which `(provider, reference)` makes safe.
    """

    def __init__(self, message: str, *, asked: bool = True) -> None:
        super().__init__(message)
        self.asked = asked


class CreditCancelled(asyncio.CancelledError):
    """The caller was cancelled while the wallet was asked: it may have credited. Handlers must raise CancelledError."""


class Wallet(Protocol):
    """Credits Results, each once, and stores their records: event, journal line, reconciliation item."""

    async def start(self) -> None:
        """Connect. Does not wait for the wallet, which may start later."""
        ...

    async def close(self) -> None:
        """Disconnect. Harmless when not started."""
        ...

    async def credit(
        self,
        provider: str,
        result: Result,
        records_of: Callable[[datetime, PostingOutcome], RecordsT],
        ceiling: Ceiling | None = None,
    ) -> RecordsT:
        """Credit a Result once by `(provider, reference)`; its records are durable when they are returned.

        One above the `ceiling` is refused, unless it is credited already.

        `records_of` makes the records from the time of the wallet's answer and the outcome. It is a pure function and
        fast: it may run on another thread, and again where a transaction is retried. What it raises is raised here, and
        the built-in ledger credits nothing then. Raises WalletUnavailable and StoreUnavailable, and CreditCancelled
        where the caller is cancelled while another system is asked.
        """
        ...

    async def ready(self) -> None:
        """Raise WalletUnavailable where nothing can be credited."""
        ...
