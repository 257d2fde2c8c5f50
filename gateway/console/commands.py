"""`session-gateway reconcile`: what a person can ask of a running gateway, and tell it.

Every command takes the options that say which gateway: `on_gateway` adds them, and hands the command the gateway.
"""

import os
from collections.abc import Callable
from functools import update_wrapper
from inspect import Parameter, Signature, signature
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from gateway.config import ConfigInvalid, GrpcSettings, load
from gateway.console.way import NoWay, TlsOptions, Way, way_to

if TYPE_CHECKING:
    from gateway.console.caller import Gateway
    from gateway.console.show import Show

EXIT_FAILED = 1
EXIT_USAGE = 2

err = Console(stderr=True, highlight=False, soft_wrap=True)

reconcile = typer.Typer(
    help="Look at what the gateway could not settle, and settle it. Exits 1 where the gateway refuses, 2 on bad usage.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)

Config = Annotated[Path | None, typer.Option(help="The gateway's configuration file, for its gRPC address and TLS.")]
Target = Annotated[str, typer.Option(help="The gateway's gRPC address, host:port; goes before that of --config.")]
Ca = Annotated[Path | None, typer.Option(help="PEM of the authority of the gateway's certificate.")]
Cert = Annotated[Path | None, typer.Option(help="PEM of your certificate, where the gateway demands one.")]
Key = Annotated[Path | None, typer.Option(help="PEM of your certificate's key.")]
ServerName = Annotated[str, typer.Option(help="The name in the gateway's certificate, where the address is another.")]
AsJson = Annotated[bool, typer.Option("--json", help="One JSON object a line, for programs.")]

Provider = Annotated[str, typer.Option(help="Only this provider's.")]
User = Annotated[str, typer.Option(help="Only this player's.")]
Limit = Annotated[int, typer.Option(min=1, help="At most so many.")]
By = Annotated[str, typer.Option(help="Who does it: a name that others know.")]
Why = Annotated[str, typer.Option(help="Why, for those who read it later.")]
ItemId = Annotated[str, typer.Argument(metavar="ITEM")]


def on_gateway(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the options that say which gateway; it is called with that, and with what prints its answers."""

    def run(
        *,
        config: Config = None,
        target: Target = "",
        ca: Ca = None,
        cert: Cert = None,
        key: Key = None,
        server_name: ServerName = "",
        as_json: AsJson = False,
        **own: Any,
    ) -> None:
        way = _way(config, target, TlsOptions(ca, cert, key, server_name))
        # gRPC takes as long to load as all the rest of a command that does not call.
        from gateway.console.caller import CallFailed, called  # noqa: PLC0415
        from gateway.console.show import Show  # noqa: PLC0415

        try:
            with called(way) as gateway:
                command(gateway, Show(as_json=as_json), **own)
        except CallFailed as failed:
            err.print(str(failed), markup=False)
            raise typer.Exit(EXIT_FAILED) from None

    shared = [option for option in signature(run).parameters.values() if option.kind is Parameter.KEYWORD_ONLY]
    own = [option.replace(kind=Parameter.KEYWORD_ONLY) for option in list(signature(command).parameters.values())[2:]]
    update_wrapper(run, command, assigned=("__module__", "__name__", "__qualname__", "__doc__"))
    setattr(run, "__signature__", Signature([*own, *shared]))  # noqa: B010 - mypy knows no such attribute
    return run


@reconcile.command("list")
@on_gateway
def list_items(
    gateway: "Gateway",
    show: "Show",
    provider: Provider = "",
    user: User = "",
    limit: Limit = 100,
    resolved: Annotated[bool, typer.Option("--resolved", help="The settled ones, instead of the open ones.")] = False,
) -> None:
    """List what a person must look at, oldest first."""
    show.items(gateway.items(provider, user, resolved=resolved), limit)


@reconcile.command("show")
@on_gateway
def show_item(gateway: "Gateway", show: "Show", item: ItemId) -> None:
    """Show an item, and the callback that it is about."""
    show.item(gateway.item(item))


@reconcile.command("resolve")
@on_gateway
def resolve_item(gateway: "Gateway", show: "Show", item: ItemId, by: By, why: Why) -> None:
    """Settle an item, for good."""
    show.resolved(gateway.resolve(item, by, why))


@reconcile.command("callbacks")
@on_gateway
def list_callbacks(gateway: "Gateway", show: "Show", provider: Provider = "", limit: Limit = 100) -> None:
    """List the callbacks that came to nothing, newest first."""
    show.callbacks(gateway.callbacks(provider), limit)


@reconcile.command("redeliver")
@on_gateway
def redeliver_callback(
    gateway: "Gateway",
    show: "Show",
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
    gateway: "Gateway",
    show: "Show",
    provider: Annotated[str, typer.Argument(metavar="PROVIDER")],
    reference: Annotated[str, typer.Argument(metavar="REFERENCE")],
) -> None:
    """Show what a provider's reference was credited as."""
    show.transaction(gateway.transaction(provider, reference))


@reconcile.command("transactions")
@on_gateway
def list_transactions(
    gateway: "Gateway", show: "Show", user: Annotated[str, typer.Argument(metavar="USER")], limit: Limit = 100
) -> None:
    """List a player's transactions, newest first."""
    show.transactions(gateway.transactions(user), limit)


def _way(config: Path | None, target: str, options: TlsOptions) -> Way:
    try:
        return way_to(_grpc(config) if config else None, target, options)
    except NoWay as missing:
        raise typer.BadParameter(str(missing)) from None


def _grpc(config: Path) -> GrpcSettings:
    try:
        return load(config, os.environ).grpc
    except ConfigInvalid as invalid:
        for problem in invalid.problems:
            err.print(f"{config}: {problem.path}: {problem.message}" if problem.path else problem.message, markup=False)
        err.print("Without the configuration, say --target host:port.", markup=False)
        raise typer.Exit(EXIT_USAGE) from None
