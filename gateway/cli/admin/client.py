"""The calls of the admin commands to a running gateway."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, Protocol, TypeVar

import grpc
from google.protobuf.message import Message
from google.rpc.error_details_pb2 import ErrorInfo
from grpc_status.rpc_status import from_call

from gateway.cli.admin.target import ConnectionTarget
from gateway.v1 import provider_service_pb2 as provider_pb
from gateway.v1 import reconciliation_service_pb2 as reconciliation_pb
from gateway.v1 import session_service_pb2 as session_pb
from gateway.v1 import transaction_service_pb2 as transaction_pb
from gateway.v1.provider_service_pb2_grpc import ProviderServiceStub
from gateway.v1.reconciliation_service_pb2_grpc import ReconciliationServiceStub
from gateway.v1.session_service_pb2_grpc import SessionServiceStub
from gateway.v1.transaction_service_pb2_grpc import TransactionServiceStub

CALL_TIMEOUT_S = 10.0

_PAGE_SIZE = 1000


class CallFailed(Exception):
    """A call failed. The message is for the operator."""


@contextmanager
def connect(target: ConnectionTarget) -> Iterator["AdminClient"]:
    """Open a channel to a gateway. Raises CallFailed if it rejects a call or does not answer."""
    with _channel(target) as channel:
        try:
            yield AdminClient(channel, target.token)
        except grpc.RpcError as error:
            raise CallFailed(_describe(error, target)) from None


class _PageRequest(Protocol):
    page_token: str


class _Page(Protocol):
    next_page_token: str


ResponseT = TypeVar("ResponseT")
PageT = TypeVar("PageT", bound=_Page)


class AdminClient:
    """The calls, with a token where there is one. A list fetches its pages as it is read."""

    def __init__(self, channel: grpc.Channel, token: str = "") -> None:
        self._metadata = (("authorization", f"Bearer {token}"),) if token else ()
        self._reconciliation = ReconciliationServiceStub(channel)
        self._transactions = TransactionServiceStub(channel)
        self._sessions = SessionServiceStub(channel)
        self._providers = ProviderServiceStub(channel)

    def items(self, provider: str, user_id: str, *, resolved: bool) -> Iterator[reconciliation_pb.Item]:
        """Open or resolved items, oldest first."""
        request = reconciliation_pb.ListItemsRequest(
            page_size=_PAGE_SIZE, provider=provider, user_id=user_id, resolved=resolved
        )
        for page in self._pages(self._reconciliation.ListItems, request):
            yield from page.items

    def item(self, item_id: str) -> reconciliation_pb.GetItemResponse:
        """One item with its callback."""
        return self._call(self._reconciliation.GetItem, reconciliation_pb.GetItemRequest(item_id=item_id))

    def resolve(self, item_id: str, on_behalf_of: str, reason: str) -> reconciliation_pb.Item:
        """Mark an item as resolved."""
        request = reconciliation_pb.ResolveItemRequest(item_id=item_id, on_behalf_of=on_behalf_of, reason=reason)
        return self._call(self._reconciliation.ResolveItem, request).item

    def callbacks(self, provider: str) -> Iterator[reconciliation_pb.RefusedCallback]:
        """Refused callbacks, newest first."""
        request = reconciliation_pb.ListRefusedCallbacksRequest(page_size=_PAGE_SIZE, provider=provider)
        for page in self._pages(self._reconciliation.ListRefusedCallbacks, request):
            yield from page.callbacks

    def redeliver(
        self, exchange_id: str, on_behalf_of: str, reason: str
    ) -> reconciliation_pb.RedeliverCallbackResponse:
        """Process a refused callback again."""
        request = reconciliation_pb.RedeliverCallbackRequest(
            exchange_id=exchange_id, on_behalf_of=on_behalf_of, reason=reason
        )
        return self._call(self._reconciliation.RedeliverCallback, request)

    def transaction(self, provider: str, reference: str) -> transaction_pb.Transaction:
        """The transaction of a reference."""
        request = transaction_pb.GetTransactionRequest(provider=provider, reference=reference)
        return self._call(self._transactions.GetTransaction, request).transaction

    def transactions(self, user_id: str) -> Iterator[transaction_pb.Transaction]:
        """A player's transactions, newest first."""
        request = transaction_pb.ListTransactionsRequest(user_id=user_id, page_size=_PAGE_SIZE)
        for page in self._pages(self._transactions.ListTransactions, request):
            yield from page.transactions

    def providers(self) -> Iterable[session_pb.Provider]:
        """The configured providers with their health."""
        return self._call(self._sessions.ListProviders, session_pb.ListProvidersRequest()).providers

    def disable_provider(self, provider: str, on_behalf_of: str, reason: str) -> provider_pb.DisableProviderResponse:
        """Stop all calls to a provider."""
        request = provider_pb.DisableProviderRequest(provider=provider, on_behalf_of=on_behalf_of, reason=reason)
        return self._call(self._providers.DisableProvider, request)

    def enable_provider(self, provider: str, on_behalf_of: str, reason: str) -> provider_pb.EnableProviderResponse:
        """Allow calls to a provider again."""
        request = provider_pb.EnableProviderRequest(provider=provider, on_behalf_of=on_behalf_of, reason=reason)
        return self._call(self._providers.EnableProvider, request)

    def state_changes(self, provider: str) -> Iterator[provider_pb.ProviderStateChange]:
        """When a provider, or any, was disabled and enabled, newest first."""
        request = provider_pb.ListProviderStateChangesRequest(provider=provider, page_size=_PAGE_SIZE)
        for page in self._pages(self._providers.ListProviderStateChanges, request):
            yield from page.state_changes

    def _call(self, method: Callable[..., ResponseT], request: Message) -> ResponseT:
        return method(request, timeout=CALL_TIMEOUT_S, metadata=self._metadata)

    def _pages(self, list_page: Callable[..., PageT], request: _PageRequest) -> Iterator[PageT]:
        while True:
            page = list_page(request, timeout=CALL_TIMEOUT_S, metadata=self._metadata)
            yield page
            if not page.next_page_token:
                return
            request.page_token = page.next_page_token


def _channel(target: ConnectionTarget) -> grpc.Channel:
    options: list[tuple[str, str | int]] = [("grpc.enable_http_proxy", 0)]  # a proxy of the environment is not for this
    tls = target.tls
    if tls is None:
        return grpc.insecure_channel(target.address, options)
    if tls.server_name:
        options.append(("grpc.ssl_target_name_override", tls.server_name))
    return grpc.secure_channel(target.address, grpc.ssl_channel_credentials(tls.ca, tls.key, tls.cert), options)


def _describe(error: grpc.RpcError, target: ConnectionTarget) -> str:
    """The gateway's reason and message, or what to check if the failure is not the gateway's."""
    call: Any = error  # each error is its call too, which the stubs cannot say
    status = from_call(call)
    info = ErrorInfo()
    for detail in status.details if status else ():
        detail.Unpack(info)
    if info.reason:
        return f"{info.reason}: {call.details()}"
    return (
        f"{call.code().name}: no gateway answers at {target.address} ({call.details()}): "
        "check that it runs, that this is its gRPC address, and TLS: --ca, --cert with --key, --server-name"
    )
