"""TransactionService, as the proto describes it."""

from collections.abc import Callable
from functools import partial
from typing import Any

from gateway.rpc.deadline import Context, store_timeout
from gateway.rpc.status import ApiReason
from gateway.rpc.validation import RequestValidator, known_page, next_page, timestamp
from gateway.sessions.errors import GatewayError
from gateway.store.base import Ledger
from gateway.store.models import Credit
from gateway.v1 import transaction_service_pb2 as pb
from gateway.v1.transaction_service_pb2_grpc import TransactionServiceServicer, add_TransactionServiceServicer_to_server


class TransactionService(TransactionServiceServicer):
    """Looks up credits of the built-in ledger, and those that the operator's wallet reported."""

    def __init__(self, ledger: Ledger, default_deadline_s: Callable[[], float]) -> None:
        self._ledger = ledger
        self._store_timeout = partial(store_timeout, default_deadline_s=default_deadline_s, store="the ledger")

    def add_to(self, server: Any) -> None:
        """Add the handlers to a server."""
        add_TransactionServiceServicer_to_server(self, server)

    async def GetTransaction(  # noqa: N802 - the proto's name
        self, request: pb.GetTransactionRequest, context: Context
    ) -> pb.GetTransactionResponse:
        """Get a transaction by its key."""
        fields = RequestValidator()
        provider = fields.text("provider", request.provider, required=True)
        reference = fields.text("reference", request.reference, required=True)
        fields.check()
        async with self._store_timeout(context):
            credit = await self._ledger.credit(provider, reference)
        if credit is None:
            raise GatewayError(
                ApiReason.TRANSACTION_UNKNOWN,
                f"nothing was credited for reference {reference} of provider {provider}: "
                "ListItems of ReconciliationService lists refused Results",
                certainty=None,
                provider=provider,
            )
        return pb.GetTransactionResponse(transaction=_transaction(credit))

    async def ListTransactions(  # noqa: N802 - the proto's name
        self, request: pb.ListTransactionsRequest, context: Context
    ) -> pb.ListTransactionsResponse:
        """List a player's transactions, newest first."""
        fields = RequestValidator()
        user_id = fields.text("user_id", request.user_id, required=True)
        query = ("transactions", user_id)
        token = fields.page_token(request.page_token, *query)
        limit = fields.page_size(request.page_size)
        fields.check()
        with known_page():
            async with self._store_timeout(context):
                page = await self._ledger.credits_of(user_id, page_token=token, limit=limit)
        return pb.ListTransactionsResponse(
            transactions=[_transaction(credit) for credit in page.entries],
            next_page_token=next_page(page.next_token, *query),
        )


def _transaction(credit: Credit) -> pb.Transaction:
    content = credit.content
    return pb.Transaction(
        provider=content.provider,
        reference=content.reference,
        kind=f"TRANSACTION_KIND_{credit.kind}",
        transaction_id=credit.transaction_id,
        user_id=content.user_id,
        currency=content.currency,
        amount=format(content.amount, "f"),
        round_id=content.round_id,
        game_id=content.game_id,
        session_id=content.session_id,
        promo_amount="" if content.promo_amount is None else format(content.promo_amount, "f"),
        promo_reference=content.promo_reference,
        create_time=timestamp(credit.created_at),
    )
