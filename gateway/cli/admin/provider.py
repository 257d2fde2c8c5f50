"""`session-gateway provider`: how providers fare, and which are asked at all."""

from typing import TYPE_CHECKING, Annotated

import typer

from gateway.cli.admin.options import By, Limit, Why, on_gateway

if TYPE_CHECKING:
    from gateway.cli.admin.client import AdminClient
    from gateway.cli.admin.render import Renderer

provider_commands = typer.Typer(
    help="See how providers fare, and switch them off and on. Exits 1 where the gateway refuses, 2 on bad usage.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)

Name = Annotated[str, typer.Argument(metavar="NAME", help="The provider's name in the configuration.")]


@provider_commands.command("list")
@on_gateway
def list_providers(gateway: "AdminClient", show: "Renderer") -> None:
    """List the providers: how each fares, its circuit, its calls, and who switched it off."""
    show.providers(gateway.providers())


@provider_commands.command("off")
@on_gateway
def switch_off(gateway: "AdminClient", show: "Renderer", name: Name, by: By, why: Why) -> None:
    """Have a provider asked nothing more, by any gateway on the store. Its callbacks are still taken in."""
    show.switched(gateway.switch_off(name, by, why))


@provider_commands.command("on")
@on_gateway
def switch_on(gateway: "AdminClient", show: "Renderer", name: Name, by: By, why: Why) -> None:
    """Have a provider asked again."""
    show.switched(gateway.switch_on(name, by, why))


@provider_commands.command("history")
@on_gateway
def list_switches(
    gateway: "AdminClient",
    show: "Renderer",
    name: Annotated[str, typer.Argument(metavar="[NAME]", help="Only this provider's.")] = "",
    limit: Limit = 100,
) -> None:
    """List who switched a provider off and on, and why, newest first."""
    show.switches(gateway.switches(name), limit)
