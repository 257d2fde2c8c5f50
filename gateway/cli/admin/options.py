"""What the commands that call a running gateway have in common: which gateway, who does it and why, what is printed."""

import os
from collections.abc import Callable
from functools import update_wrapper
from inspect import Parameter, Signature, signature
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from gateway.cli.admin.target import ConnectionTarget, TargetError, TlsOptions, way_to
from gateway.config import ConfigInvalid, GrpcSettings, load

EXIT_FAILED = 1
EXIT_USAGE = 2

err = Console(stderr=True, highlight=False, soft_wrap=True)

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
        from gateway.cli.admin.client import CallFailed, connect
        from gateway.cli.admin.render import Renderer

        try:
            with connect(way) as gateway:
                command(gateway, Renderer(as_json=as_json), **own)
        except CallFailed as failed:
            err.print(str(failed), markup=False)
            raise typer.Exit(EXIT_FAILED) from None

    shared = [option for option in signature(run).parameters.values() if option.kind is Parameter.KEYWORD_ONLY]
    own = [option.replace(kind=Parameter.KEYWORD_ONLY) for option in list(signature(command).parameters.values())[2:]]
    update_wrapper(run, command, assigned=("__module__", "__name__", "__qualname__", "__doc__"))
    setattr(run, "__signature__", Signature([*own, *shared]))  # noqa: B010 - mypy knows no such attribute
    return run


def _way(config: Path | None, target: str, options: TlsOptions) -> ConnectionTarget:
    try:
        return way_to(_grpc(config) if config else None, target, options)
    except TargetError as missing:
        raise typer.BadParameter(str(missing)) from None


def _grpc(config: Path) -> GrpcSettings:
    try:
        return load(config, os.environ).grpc
    except ConfigInvalid as invalid:
        for problem in invalid.problems:
            err.print(f"{config}: {problem.path}: {problem.message}" if problem.path else problem.message, markup=False)
        err.print("Without the configuration, say --target host:port.", markup=False)
        raise typer.Exit(EXIT_USAGE) from None
