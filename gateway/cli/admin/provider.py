"""`session-gateway provider`: the state of the providers, and disabling and enabling them."""

from typing import TYPE_CHECKING, Annotated

import typer

from gateway.cli.admin.options import Actor, Limit, Reason, on_gateway

if TYPE_CHECKING:
    from gateway.cli.admin.client import AdminClient
    from gateway.cli.admin.render import Renderer

provider_commands = typer.Typer(
    help="List providers, disable and enable them. Exit 1 if the gateway rejects the call, 2 if the usage is wrong.",
    no_args_is_help=True,
)

Name = Annotated[str, typer.Argument(metavar="NAME", help="The provider's name in the configuration.")]


@provider_commands.command("list")
@on_gateway
def list_providers(client: "AdminClient", renderer: "Renderer") -> None:
    """List the providers with their health, their calls, and who disabled them."""
    renderer.providers(client.providers())


@provider_commands.command("disable")
@on_gateway
def disable_provider(client: "AdminClient", renderer: "Renderer", name: Name, actor: Actor, reason: Reason) -> None:
    """Stop all calls to a provider, from every gateway on the store. Its callbacks are still processed."""
    renderer.state_changed(client.disable_provider(name, actor, reason))


@provider_commands.command("enable")
@on_gateway
def enable_provider(client: "AdminClient", renderer: "Renderer", name: Name, actor: Actor, reason: Reason) -> None:
    """Allow calls to a disabled provider again."""
    renderer.state_changed(client.enable_provider(name, actor, reason))


@provider_commands.command("history")
@on_gateway
def list_state_changes(
    client: "AdminClient",
    renderer: "Renderer",
    name: Annotated[str, typer.Argument(metavar="NAME", help="Only this provider.")] = "",
    limit: Limit = 100,
) -> None:
    """List who disabled or enabled a provider, and the reason, newest first."""
    renderer.state_changes(client.state_changes(name), limit)
