"""A caller credits a provider's next reference with 0 before the real win comes by callback."""

from decimal import Decimal

import grpc
from grpc import aio

from gateway.store.factory import audit_kept
from gateway.v1.wallet_service_pb2 import ApplyResultRequest, GetBalanceRequest
from gateway.v1.wallet_service_pb2_grpc import WalletServiceStub
from tests.stress.figures import Figures, exactly, none_of
from tests.stress.processes import OPENING, StressEnvironment, open_accounts, running
from tests.stress.sending import CURRENCY, PROVIDER, USERS, Win, provider
from tests.support.gateway import failure_of

REFUSED = "FAILED_PRECONDITION RESULTS_COME_BY_CALLBACK"
NEXT = Win("next-ref", USERS[0], Decimal("12.50"))


async def security_squatting(environment: StressEnvironment) -> Figures:
    """Credit it over gRPC before and after the callback, which the provider delivers twice."""
    url = await environment.database()
    async with (
        running(environment.configure(url)) as gateway,
        aio.insecure_channel(gateway.grpc) as channel,
        provider(lambda: [gateway.callbacks]) as sender,
    ):
        await open_accounts(gateway.grpc)
        before = await _credited_with_nothing(channel)
        delivered = [await sender.deliver(NEXT) for _ in range(2)]
        after = await _credited_with_nothing(channel)
        balance = GetBalanceRequest(user_id=NEXT.user_id, currency=CURRENCY)
        cash = Decimal((await WalletServiceStub(channel).GetBalance(balance)).cash)
    audit = await audit_kept(url)
    return (
        exactly("a credit of 0 before the win", REFUSED, before),
        exactly("the win by callback, delivered twice: codes", [0, 0], [each.code for each in delivered]),
        exactly("... transactions that it was answered with", 1, len({each.transaction_id for each in delivered})),
        exactly("a credit of 0 after the win", REFUSED, after),
        exactly("balance: the win is paid once", OPENING + NEXT.amount, cash),
        exactly("transactions in the books", 1, audit.transactions),
        none_of("discrepancies in the books", audit.discrepancies),
    )


async def _credited_with_nothing(channel: aio.Channel) -> str:
    """How a credit of 0 under the reference ended."""
    request = ApplyResultRequest(
        provider=PROVIDER, reference=NEXT.reference, user_id=NEXT.user_id, currency=CURRENCY, amount="0"
    )
    try:
        await WalletServiceStub(channel).ApplyResult(request)
    except aio.AioRpcError as error:
        failure = failure_of(error)
        return f"{failure.code.name} {failure.reason}"
    return grpc.StatusCode.OK.name
