"""A running gateway, as the commands call it."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import grpc
from google.rpc.error_details_pb2 import ErrorInfo
from grpc_status.rpc_status import from_call

from gateway.cli.admin.target import ConnectionTarget
from gateway.v1 import provider_service_pb2 as switching
from gateway.v1 import reconciliation_service_pb2 as reconciliation
from gateway.v1 import session_service_pb2 as sessions
from gateway.v1 import transaction_service_pb2 as transactions
from gateway.v1.provider_service_pb2_grpc import ProviderServiceStub
from gateway.v1.reconciliation_service_pb2_grpc import ReconciliationServiceStub
from gateway.v1.session_service_pb2_grpc import SessionServiceStub
from gateway.v1.transaction_service_pb2_grpc import TransactionServiceStub

CALL_TIMEOUT_S = 10.0

_PAGE = 1000

EntryT = TypeVar("EntryT")


class CallFailed(Exception):
    """A call failed. The message is for a person."""


@contextmanager
def connect(way: ConnectionTarget) -> Iterator["AdminClient"]:
    """A gateway to call. Raises CallFailed for what it refuses, and where none answers."""
    with _channel(way) as channel:
        try:
            yield AdminClient(channel)
        except grpc.RpcError as error:
            raise CallFailed(_told(error, way)) from None


class AdminClient:
    """The calls. Lists go on for as long as they are read."""

    def __init__(self, channel: grpc.Channel) -> None:
        self._reconciliation = ReconciliationServiceStub(channel)
        self._transactions = TransactionServiceStub(channel)
        self._sessions = SessionServiceStub(channel)
        self._providers = ProviderServiceStub(channel)

    def items(self, provider: str, user_id: str, *, resolved: bool) -> Iterator[reconciliation.Item]:
        """What a person must look at, or has settled, oldest first."""

        def page(token: str) -> tuple[Iterable[reconciliation.Item], str]:
            request = reconciliation.ListItemsRequest(
                page_size=_PAGE, page_token=token, provider=provider, user_id=user_id, resolved=resolved
            )
            answer = self._reconciliation.ListItems(request, timeout=CALL_TIMEOUT_S)
            return answer.items, answer.next_page_token

        return _pages(page)

    def item(self, item_id: str) -> reconciliation.GetItemResponse:
        """One item with its callback."""
        return self._reconciliation.GetItem(reconciliation.GetItemRequest(item_id=item_id), timeout=CALL_TIMEOUT_S)

    def resolve(self, item_id: str, by: str, why: str) -> reconciliation.Item:
        """Settle an item."""
        request = reconciliation.ResolveItemRequest(item_id=item_id, actor=by, reason=why)
        return self._reconciliation.ResolveItem(request, timeout=CALL_TIMEOUT_S).item

    def callbacks(self, provider: str) -> Iterator[reconciliation.RefusedCallback]:
        """Callbacks that came to nothing, newest first."""

        def page(token: str) -> tuple[Iterable[reconciliation.RefusedCallback], str]:
            request = reconciliation.ListRefusedCallbacksRequest(page_size=_PAGE, page_token=token, provider=provider)
            answer = self._reconciliation.ListRefusedCallbacks(request, timeout=CALL_TIMEOUT_S)
            return answer.callbacks, answer.next_page_token

        return _pages(page)

    def redeliver(self, exchange_id: str, by: str, why: str) -> reconciliation.RedeliverCallbackResponse:
        """Deliver a callback once more."""
        request = reconciliation.RedeliverCallbackRequest(exchange_id=exchange_id, actor=by, reason=why)
        return self._reconciliation.RedeliverCallback(request, timeout=CALL_TIMEOUT_S)

    def transaction(self, provider: str, reference: str) -> transactions.Transaction:
        """What a reference was credited as."""
        request = transactions.GetTransactionRequest(provider=provider, reference=reference)
        return self._transactions.GetTransaction(request, timeout=CALL_TIMEOUT_S).transaction

    def transactions(self, user_id: str) -> Iterator[transactions.Transaction]:
        """A player's transactions, newest first."""

        def page(token: str) -> tuple[Iterable[transactions.Transaction], str]:
            request = transactions.ListTransactionsRequest(user_id=user_id, page_size=_PAGE, page_token=token)
            answer = self._transactions.ListTransactions(request, timeout=CALL_TIMEOUT_S)
            return answer.transactions, answer.next_page_token

        return _pages(page)

    def providers(self) -> Iterable[sessions.Provider]:
        """What is configured, and how it fares."""
        return self._sessions.ListProviders(sessions.ListProvidersRequest(), timeout=CALL_TIMEOUT_S).providers

    def switch_off(self, provider: str, by: str, why: str) -> switching.DisableProviderResponse:
        """Have a provider asked nothing more."""
        request = switching.DisableProviderRequest(provider=provider, actor=by, reason=why)
        return self._providers.DisableProvider(request, timeout=CALL_TIMEOUT_S)

    def switch_on(self, provider: str, by: str, why: str) -> switching.EnableProviderResponse:
        """Have a provider asked again."""
        request = switching.EnableProviderRequest(provider=provider, actor=by, reason=why)
        return self._providers.EnableProvider(request, timeout=CALL_TIMEOUT_S)

    def switches(self, provider: str) -> Iterator[switching.ProviderStateChange]:
        """Who switched a provider, newest first."""

        def page(token: str) -> tuple[Iterable[switching.ProviderStateChange], str]:
            request = switching.ListProviderStateChangesRequest(provider=provider, page_size=_PAGE, page_token=token)
            answer = self._providers.ListProviderStateChanges(request, timeout=CALL_TIMEOUT_S)
            return answer.state_changes, answer.next_page_token

        return _pages(page)


def _pages(page: Callable[[str], tuple[Iterable[EntryT], str]]) -> Iterator[EntryT]:
    token = ""
    while True:
        entries, token = page(token)
        yield from entries
        if not token:
            return


def _channel(way: ConnectionTarget) -> grpc.Channel:
    options: list[tuple[str, str | int]] = [("grpc.enable_http_proxy", 0)]  # the environment's is for the world outside
    if way.tls is None:
        return grpc.insecure_channel(way.target, options)
    if way.tls.server_name:
        options.append(("grpc.ssl_target_name_override", way.tls.server_name))
    return grpc.secure_channel(way.target, grpc.ssl_channel_credentials(way.tls.ca, way.tls.key, way.tls.cert), options)


def _told(error: grpc.RpcError, way: ConnectionTarget) -> str:
    """What the gateway says of a failure, or what is known where none of ours says anything."""
    call: Any = error  # each error is its call too, which the stubs cannot say
    status = from_call(call)
    info = ErrorInfo()
    for detail in status.details if status else ():
        detail.Unpack(info)
    if info.reason:
        return f"{info.reason}: {call.details()}"
    return (
        f"{call.code().name}: no gateway answers at {way.target} ({call.details()}): "
        "check that it runs, that this is its gRPC address, and TLS: --ca, --cert with --key, --server-name"
    )
