"""`session-gateway reconcile`: items that an operator must settle, refused callbacks, and transactions."""

from typing import TYPE_CHECKING, Annotated

import typer

from gateway.cli.admin.options import Actor, Limit, Provider, Reason, User, on_gateway
from gateway.cli.output import EXIT_FAILED

if TYPE_CHECKING:
    from gateway.cli.admin.client import AdminClient
    from gateway.cli.admin.render import Renderer

reconcile_commands = typer.Typer(
    help="List and settle what the gateway could not settle. "
    "Exit 1 if the gateway rejects the call, 2 if the usage is wrong.",
    no_args_is_help=True,
)

ItemId = Annotated[str, typer.Argument(metavar="ITEM", help="The item's id, from `list`.")]


@reconcile_commands.command("list")
@on_gateway
def list_items(
    client: "AdminClient",
    renderer: "Renderer",
    provider: Provider = "",
    user: User = "",
    limit: Limit = 100,
    resolved: Annotated[bool, typer.Option("--resolved", help="List the resolved items, not the open ones.")] = False,
) -> None:
    """List the items that an operator must look at, oldest first."""
    renderer.items(client.items(provider, user, resolved=resolved), limit)


@reconcile_commands.command("show")
@on_gateway
def show_item(client: "AdminClient", renderer: "Renderer", item: ItemId) -> None:
    """Show an item and its callback."""
    renderer.item(client.item(item))


@reconcile_commands.command("resolve")
@on_gateway
def resolve_item(client: "AdminClient", renderer: "Renderer", item: ItemId, actor: Actor, reason: Reason) -> None:
    """Mark an item as resolved. This cannot be undone."""
    renderer.resolved(client.resolve(item, actor, reason))


@reconcile_commands.command("callbacks")
@on_gateway
def list_callbacks(client: "AdminClient", renderer: "Renderer", provider: Provider = "", limit: Limit = 100) -> None:
    """List the callbacks that were refused, newest first."""
    renderer.callbacks(client.callbacks(provider), limit)


@reconcile_commands.command("redeliver")
@on_gateway
def redeliver_callback(
    client: "AdminClient",
    renderer: "Renderer",
    exchange: Annotated[str, typer.Argument(metavar="EXCHANGE", help="The callback's id, from `callbacks`.")],
    actor: Actor,
    reason: Reason,
) -> None:
    """Process a refused callback again, after its cause is fixed. Exit 1 if it is refused again."""
    response = client.redeliver(exchange, actor, reason)
    renderer.redelivered(response)
    if response.verdict not in {"ACCEPTED", "CREDITED"}:
        raise typer.Exit(EXIT_FAILED)


@reconcile_commands.command("transaction")
@on_gateway
def show_transaction(
    client: "AdminClient",
    renderer: "Renderer",
    provider: Annotated[str, typer.Argument(metavar="PROVIDER")],
    reference: Annotated[str, typer.Argument(metavar="REFERENCE")],
) -> None:
    """Show the transaction of a provider's reference."""
    renderer.transaction(client.transaction(provider, reference))


@reconcile_commands.command("transactions")
@on_gateway
def list_transactions(
    client: "AdminClient",
    renderer: "Renderer",
    user: Annotated[str, typer.Argument(metavar="USER")],
    limit: Limit = 100,
) -> None:
    """List a player's transactions, newest first."""
    renderer.transactions(client.transactions(user), limit)
