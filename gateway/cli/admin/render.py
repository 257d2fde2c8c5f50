"""The output of the admin commands: tables, or one JSON object per line."""

import json
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC
from itertools import islice
from typing import Generic, TypeVar

from google.protobuf.json_format import MessageToDict
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp
from rich.console import Console
from rich.table import Table

from gateway.cli.output import print_error, print_line, printable
from gateway.store.models import Actor
from gateway.v1.provider_service_pb2 import (
    DisableProviderResponse,
    EnableProviderResponse,
    ProviderState,
    ProviderStateChange,
)
from gateway.v1.reconciliation_service_pb2 import (
    GetItemResponse,
    Item,
    ItemKind,
    RedeliverCallbackResponse,
    RefusedCallback,
)
from gateway.v1.session_service_pb2 import CallbackKey, CircuitState, HealthState, Provider, ProviderHealth
from gateway.v1.transaction_service_pb2 import Transaction, TransactionKind

MessageT = TypeVar("MessageT", bound=Message)

_PIPE_WIDTH = 200
"""Columns of a table that goes to a file or a pipe."""


def _time(time: Timestamp) -> str:
    return time.ToDatetime(UTC).strftime("%Y-%m-%d %H:%M:%SZ")


def _who(actor: str, on_behalf_of: str) -> str:
    return str(Actor(actor, on_behalf_of))


def _resolution(item: Item) -> str:
    if not item.HasField("resolution"):
        return ""
    resolution = item.resolution
    return f"{_time(resolution.time)} by {_who(resolution.actor, resolution.on_behalf_of)}: {resolution.reason}"


def _redelivery(callback: RefusedCallback) -> str:
    if not callback.HasField("redelivery"):
        return ""
    redelivery = callback.redelivery
    return f"by {_who(redelivery.actor, redelivery.on_behalf_of)}: {redelivery.reason}"


def _health(health: ProviderHealth) -> str:
    state = HealthState.Name(health.state).removeprefix("HEALTH_STATE_")
    since = f" since {_time(health.since)}" if health.HasField("since") else ""
    return f"{state}{since}{health.last_failure and f': {health.last_failure}'}"


def _key_uses(keys: Iterable[CallbackKey]) -> str:
    return "\n".join(
        f"{key.position}: {_time(key.last_use_time) if key.HasField('last_use_time') else 'not yet'}" for key in keys
    )


def _disabled(health: ProviderHealth) -> str:
    if not health.HasField("disabled"):
        return ""
    disabled = health.disabled
    return f"{_time(disabled.time)} by {_who(disabled.actor, disabled.on_behalf_of)}: {disabled.reason}"


@dataclass(frozen=True, slots=True)
class Column(Generic[MessageT]):
    """One column of a table."""

    title: str
    text: Callable[[MessageT], str]


_ITEMS: tuple[Column[Item], ...] = (
    Column("item", lambda item: item.id),
    Column("since", lambda item: _time(item.create_time)),
    Column("fault", lambda item: f"{item.fault} {item.field}".rstrip()),
    Column("provider", lambda item: item.provider),
    Column("player", lambda item: item.user_id),
    Column("reference", lambda item: item.reference or item.request_id),
    Column("resolved", _resolution),
)

_CALLBACKS: tuple[Column[RefusedCallback], ...] = (
    Column("exchange", lambda callback: callback.exchange_id),
    Column("when", lambda callback: _time(callback.time)),
    Column("provider", lambda callback: callback.provider),
    Column("operation", lambda callback: callback.operation),
    Column("outcome", lambda callback: callback.verdict),
    Column("redeliver", lambda callback: callback.not_redeliverable_because or "yes"),
    Column("detail", lambda callback: callback.detail),
    Column("redelivered", _redelivery),
)

_TRANSACTIONS: tuple[Column[Transaction], ...] = (
    Column("when", lambda transaction: _time(transaction.create_time)),
    Column("provider", lambda transaction: transaction.provider),
    Column("reference", lambda transaction: transaction.reference),
    Column("kind", lambda transaction: TransactionKind.Name(transaction.kind).removeprefix("TRANSACTION_KIND_")),
    Column("amount", lambda transaction: f"{transaction.amount} {transaction.currency}"),
    Column("player", lambda transaction: transaction.user_id),
    Column("round", lambda transaction: transaction.round_id),
    Column("game", lambda transaction: transaction.game_id),
    Column("transaction", lambda transaction: transaction.transaction_id),
)

_PROVIDERS: tuple[Column[Provider], ...] = (
    Column("provider", lambda provider: provider.name),
    Column("adapter", lambda provider: provider.adapter),
    Column("health", lambda provider: _health(provider.health)),
    Column("circuit", lambda provider: CircuitState.Name(provider.health.circuit).removeprefix("CIRCUIT_STATE_")),
    Column("in flight", lambda provider: str(provider.health.in_flight_calls)),
    Column("queued", lambda provider: str(provider.health.queued_calls)),
    Column("disabled", lambda provider: _disabled(provider.health)),
    Column("callback keys last used", lambda provider: _key_uses(provider.callback_keys)),
)

_STATE_CHANGES: tuple[Column[ProviderStateChange], ...] = (
    Column("when", lambda change: _time(change.time)),
    Column("provider", lambda change: change.provider),
    Column("state", lambda change: ProviderState.Name(change.state).removeprefix("PROVIDER_STATE_").lower()),
    Column("actor", lambda change: change.actor),
    Column("on behalf of", lambda change: change.on_behalf_of),
    Column("reason", lambda change: change.reason),
)


class Renderer:
    """Prints responses to standard output and notes about them to standard error."""

    def __init__(self, *, as_json: bool) -> None:
        self._as_json = as_json
        width = None if sys.stdout.isatty() else _PIPE_WIDTH
        self._out = Console(highlight=False, markup=False, emoji=False, width=width)

    def items(self, items: Iterable[Item], limit: int) -> None:
        """Reconciliation items, one per row."""
        self._list(items, _ITEMS, limit)

    def callbacks(self, callbacks: Iterable[RefusedCallback], limit: int) -> None:
        """Refused callbacks, one per row."""
        self._list(callbacks, _CALLBACKS, limit)

    def transactions(self, transactions: Iterable[Transaction], limit: int) -> None:
        """Transactions, one per row."""
        self._list(transactions, _TRANSACTIONS, limit)

    def providers(self, providers: Iterable[Provider]) -> None:
        """All providers, one per row."""
        self._list(providers, _PROVIDERS)

    def state_changes(self, changes: Iterable[ProviderStateChange], limit: int) -> None:
        """State changes of providers, one per row."""
        self._list(changes, _STATE_CHANGES, limit)

    def state_changed(self, response: DisableProviderResponse | EnableProviderResponse) -> None:
        """The state change in force. A provider that was never disabled has none."""
        if self._as_json:
            self._json(response)
            return
        if response.HasField("state_change"):
            self._one(response.state_change, _STATE_CHANGES)
        if not response.changed:
            print_error("The provider already had this state. Nothing was changed.")

    def item(self, response: GetItemResponse) -> None:
        """An item with its callback."""
        if self._as_json:
            self._json(response)
            return
        item, callback = response.item, response.callback
        self._facts(
            {
                **{column.title: column.text(item) for column in _ITEMS},
                "kind": ItemKind.Name(item.kind).removeprefix("ITEM_KIND_"),
                "detail": item.detail,
                **({column.title: column.text(callback) for column in _CALLBACKS} if callback.exchange_id else {}),
                "peer": callback.peer,
                "body": callback.body,
            }
        )

    def resolved(self, item: Item) -> None:
        """An item with its resolution."""
        self._one(item, _ITEMS)

    def transaction(self, transaction: Transaction) -> None:
        """One transaction."""
        self._one(transaction, _TRANSACTIONS)

    def redelivered(self, response: RedeliverCallbackResponse) -> None:
        """The outcome of a redelivery, and the answer to the provider."""
        if self._as_json:
            self._json(response)
            return
        self._facts(
            {
                "outcome": response.verdict,
                "detail": response.detail,
                "answer": response.answer,
                "exchange": response.exchange_id,
            }
        )

    def _list(
        self, messages: Iterable[MessageT], columns: tuple[Column[MessageT], ...], limit: int | None = None
    ) -> None:
        read = list(messages if limit is None else islice(messages, limit + 1))
        shown = read[:limit]
        if self._as_json:
            for message in shown:
                self._json(message)
        elif shown:
            table = Table(*(column.title for column in columns), box=None, pad_edge=False)
            for column in table.columns:
                column.overflow = "fold"
            for message in shown:
                table.add_row(*(printable(column.text(message)) for column in columns))
            self._out.print(table)
        else:
            print_error("none")
        if len(read) > len(shown):
            print_error(f"There are more than {limit}. Give a higher --limit to list more.")

    def _one(self, message: MessageT, columns: tuple[Column[MessageT], ...]) -> None:
        if self._as_json:
            self._json(message)
        else:
            self._facts({column.title: column.text(message) for column in columns})

    def _facts(self, facts: Mapping[str, str]) -> None:
        table = Table.grid(padding=(0, 2))
        table.add_column(no_wrap=True)
        table.add_column(overflow="fold")  # show the whole body
        for name, value in facts.items():
            if value:
                table.add_row(name, printable(value))
        self._out.print(table)

    def _json(self, message: Message) -> None:
        fields = MessageToDict(message, preserving_proto_field_name=True, always_print_fields_with_no_presence=True)
        print_line(json.dumps(fields))
