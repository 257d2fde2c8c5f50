"""WalletService over the built-in ledger, as the proto describes it."""

from collections.abc import Callable
from functools import partial
from typing import Any, NoReturn

from adapters.contract import PromoPrize, Result
from gateway.rpc import caller
from gateway.rpc.deadline import Context, store_timeout
from gateway.rpc.status import ApiReason
from gateway.rpc.validation import RequestValidator
from gateway.sessions.errors import FieldViolation, GatewayError
from gateway.store.base import ContentDiffers
from gateway.store.models import PostingFault, PostingRefused
from gateway.v1 import wallet_service_pb2 as pb
from gateway.v1.wallet_service_pb2_grpc import WalletServiceServicer, add_WalletServiceServicer_to_server
from gateway.wallet.builtin import BuiltinWallet

_MESSAGES = {
    PostingFault.ACCOUNT_UNKNOWN: "player {user_id} has no account: OpenAccount opens one",
    PostingFault.CURRENCY_MISMATCH: "player {user_id} has no account in {currency}: OpenAccount opens one",
    PostingFault.REFERENCE_REUSED: "the reference was used for a Result with another {field}: nothing was credited",
}


class WalletService(WalletServiceServicer):
    """The built-in ledger, for microservices and for gateways that use it as the operator's wallet.

    `comes_by_callback` says whether the Results of a provider come by callback, and so never over gRPC. It is asked for
    each call.
    """

    def __init__(
        self, wallet: BuiltinWallet, default_deadline_s: Callable[[], float], comes_by_callback: Callable[[str], bool]
    ) -> None:
        self._wallet = wallet
        self._comes_by_callback = comes_by_callback
        self._store_timeout = partial(store_timeout, default_deadline_s=default_deadline_s, store="the ledger")

    def add_to(self, server: Any) -> None:
        """Add the handlers to a server."""
        add_WalletServiceServicer_to_server(self, server)

    async def ApplyResult(  # noqa: N802 - the proto's name
        self, request: pb.ApplyResultRequest, context: Context
    ) -> pb.ApplyResultResponse:
        """Credit a Result exactly once."""
        provider, result = _result(request)
        if self._comes_by_callback(provider):
            raise _results_come_by_callback(provider)
        async with self._store_timeout(context):
            outcome = await self._wallet.apply(provider, result, caller.actor())
        if isinstance(outcome, PostingRefused):
            _refuse(outcome, request.user_id, request.currency)
        return pb.ApplyResultResponse(
            transaction_id=outcome.transaction_id,
            currency=outcome.currency,
            cash=format(outcome.cash, "f"),
            replayed=outcome.replayed,
        )

    async def GetBalance(  # noqa: N802 - the proto's name
        self, request: pb.GetBalanceRequest, context: Context
    ) -> pb.GetBalanceResponse:
        """Get the balance of an account."""
        fields = RequestValidator()
        user_id = fields.text("user_id", request.user_id, required=True)
        currency = fields.currency("currency", request.currency)
        fields.check()
        async with self._store_timeout(context):
            balance = await self._wallet.balance(user_id, currency)
        if isinstance(balance, PostingRefused):
            _refuse(balance, user_id, currency)
        return pb.GetBalanceResponse(currency=balance.currency, cash=format(balance.cash, "f"))

    async def OpenAccount(  # noqa: N802 - the proto's name
        self, request: pb.OpenAccountRequest, context: Context
    ) -> pb.OpenAccountResponse:
        """Open an account, or return it where it is open already."""
        fields = RequestValidator()
        user_id = fields.text("user_id", request.user_id, required=True)
        currency = fields.currency("currency", request.currency)
        opening = fields.money("opening_balance", request.opening_balance, required=False)
        fields.check()
        try:
            async with self._store_timeout(context):
                account = await self._wallet.open_account(user_id, currency, opening, caller.actor())
        except ContentDiffers as differs:
            raise GatewayError(
                ApiReason.ACCOUNT_EXISTS,
                f"player {user_id} has an account in {currency} that was opened with another {differs.field}",
                certainty=None,
                violations=(FieldViolation(differs.field, "differs from that of the account"),),
                details=(("field", differs.field),),
            ) from None
        return pb.OpenAccountResponse(
            user_id=account.user_id, currency=account.currency, cash=format(account.cash, "f")
        )


def _result(request: pb.ApplyResultRequest) -> tuple[str, Result]:
    """The provider and the Result of a request. Raises GatewayError FIELD_INVALID."""
    fields = RequestValidator()
    promo = None
    if request.promo_amount and request.promo_reference:
        promo = PromoPrize(
            fields.money("promo_amount", request.promo_amount),
            fields.reference("promo_reference", request.promo_reference),
        )
    elif request.promo_amount:
        fields.add_violation("promo_reference", "is required with promo_amount")
    elif request.promo_reference:
        fields.add_violation("promo_amount", "is required with promo_reference")
    provider = fields.text("provider", request.provider, required=True)
    result = Result(
        reference=fields.reference("reference", request.reference, required=True),
        user_id=fields.text("user_id", request.user_id, required=True),
        currency=fields.currency("currency", request.currency),
        amount=fields.money("amount", request.amount),
        round_id=fields.text("round_id", request.round_id),
        game_id=fields.text("game_id", request.game_id),
        session_id=fields.text("session_id", request.session_id),
        promo=promo,
        bonus_code=fields.text("bonus_code", request.bonus_code),
        promo_campaign_id=fields.text("promo_campaign_id", request.promo_campaign_id),
        promo_campaign_type=fields.text("promo_campaign_type", request.promo_campaign_type),
    )
    fields.check()
    return provider, result


def _results_come_by_callback(provider: str) -> GatewayError:
    # A caller that credits a reference before the provider does takes it away: the provider's Result is refused then.
    return GatewayError(
        ApiReason.RESULTS_COME_BY_CALLBACK,
        f"the Results of provider '{provider}' come here by callback, and nothing was credited: to credit one that was "
        "refused, use ReconciliationService.RedeliverCallback; for other money, use a name that is no such provider's",
        provider=provider,
    )


def _refuse(refused: PostingRefused, user_id: str, currency: str) -> NoReturn:
    message = _MESSAGES[refused.fault].format(user_id=user_id, currency=currency, field=refused.field)
    raise GatewayError(
        refused.fault,
        message,
        certainty=None,
        violations=(FieldViolation(refused.field, message),),
        details=(("field", refused.field),),
    )
