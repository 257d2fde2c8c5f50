"""`session-gateway reconcile`: what a person can ask of a running gateway, and tell it.

Every command takes the options that say which gateway: `on_gateway` adds them, and hands the command the gateway.
"""

from typing import TYPE_CHECKING, Annotated

import typer

from gateway.cli.admin.options import EXIT_FAILED, By, Limit, Provider, User, Why, on_gateway

if TYPE_CHECKING:
    from gateway.cli.admin.client import AdminClient
    from gateway.cli.admin.render import Renderer

reconcile = typer.Typer(
    help="Look at what the gateway could not settle, and settle it. Exits 1 where the gateway refuses, 2 on bad usage.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)

ItemId = Annotated[str, typer.Argument(metavar="ITEM")]


@reconcile.command("list")
@on_gateway
def list_items(
    gateway: "AdminClient",
    show: "Renderer",
    provider: Provider = "",
    user: User = "",
    limit: Limit = 100,
    resolved: Annotated[bool, typer.Option("--resolved", help="The settled ones, instead of the open ones.")] = False,
) -> None:
    """List what a person must look at, oldest first."""
    show.items(gateway.items(provider, user, resolved=resolved), limit)


@reconcile.command("show")
@on_gateway
def show_item(gateway: "AdminClient", show: "Renderer", item: ItemId) -> None:
    """Show an item, and the callback that it is about."""
    show.item(gateway.item(item))


@reconcile.command("resolve")
@on_gateway
def resolve_item(gateway: "AdminClient", show: "Renderer", item: ItemId, by: By, why: Why) -> None:
    """Settle an item, for good."""
    show.resolved(gateway.resolve(item, by, why))


@reconcile.command("callbacks")
@on_gateway
def list_callbacks(gateway: "AdminClient", show: "Renderer", provider: Provider = "", limit: Limit = 100) -> None:
    """List the callbacks that came to nothing, newest first."""
    show.callbacks(gateway.callbacks(provider), limit)


@reconcile.command("redeliver")
@on_gateway
def redeliver_callback(
    gateway: "AdminClient",
    show: "Renderer",
    exchange: Annotated[str, typer.Argument(metavar="EXCHANGE", help="The callback's id, as `callbacks` lists it.")],
    by: By,
    why: Why,
) -> None:
    """Deliver a kept callback once more, once its cause is mended. Exits 1 where it is refused again."""
    answer = gateway.redeliver(exchange, by, why)
    show.redelivered(answer)
    if answer.verdict not in {"ACCEPTED", "CREDITED"}:
        raise typer.Exit(EXIT_FAILED)


@reconcile.command("transaction")
@on_gateway
def show_transaction(
    gateway: "AdminClient",
    show: "Renderer",
    provider: Annotated[str, typer.Argument(metavar="PROVIDER")],
    reference: Annotated[str, typer.Argument(metavar="REFERENCE")],
) -> None:
    """Show what a provider's reference was credited as."""
    show.transaction(gateway.transaction(provider, reference))


@reconcile.command("transactions")
@on_gateway
def list_transactions(
    gateway: "AdminClient", show: "Renderer", user: Annotated[str, typer.Argument(metavar="USER")], limit: Limit = 100
) -> None:
    """List a player's transactions, newest first."""
    show.transactions(gateway.transactions(user), limit)
