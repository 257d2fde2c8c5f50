"""Options that the admin commands share, and the decorator that connects a command to a gateway."""

import os
from collections.abc import Callable
from functools import update_wrapper
from inspect import Parameter, Signature, signature
from pathlib import Path
from typing import Annotated, Any

import typer

from gateway.cli.admin.target import ConnectionTarget, TargetError, TlsOptions, resolve_target
from gateway.cli.output import EXIT_FAILED, exit_with_problems, print_error, printable
from gateway.config import ConfigInvalid, GrpcSettings, load

Config = Annotated[Path | None, typer.Option(help="The gateway's configuration file, for its gRPC address and TLS.")]
Target = Annotated[
    str, typer.Option(help="The gateway's gRPC address, host:port or unix:/path. It overrides that of --config.")
]
Ca = Annotated[Path | None, typer.Option(help="PEM file of the authority that signed the gateway's certificate.")]
Cert = Annotated[Path | None, typer.Option(help="PEM file of your certificate, if the gateway asks for one.")]
Key = Annotated[Path | None, typer.Option(help="PEM file of your certificate's key.")]
ServerName = Annotated[str, typer.Option(help="The name in the gateway's certificate, if it differs from the address.")]
TokenFile = Annotated[
    Path | None,
    typer.Option(help="File with your token, such as a JWT. It is sent over TLS, or to this machine only."),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object per line.")]

Provider = Annotated[str, typer.Option(help="Only this provider.")]
User = Annotated[str, typer.Option(help="Only this player.")]
Limit = Annotated[int, typer.Option(min=1, help="Maximum number of entries.")]
Actor = Annotated[str, typer.Option(help="Your name, for the record, beside that of your certificate or token.")]
Reason = Annotated[str, typer.Option(help="The reason, for the record.")]


def on_gateway(command: Callable[..., None]) -> Callable[..., None]:
    """Add the options that say which gateway to call.

    The command is called with an AdminClient and a Renderer before its own options.
    """

    def run(
        *,
        config: Config = None,
        target: Target = "",
        ca: Ca = None,
        cert: Cert = None,
        key: Key = None,
        server_name: ServerName = "",
        token_file: TokenFile = None,
        as_json: AsJson = False,
        **options: Any,
    ) -> None:
        resolved = _resolve(config, target, TlsOptions(ca, cert, key, server_name, token_file))
        from gateway.cli.admin.client import CallFailed, connect
        from gateway.cli.admin.render import Renderer

        try:
            with connect(resolved) as client:
                command(client, Renderer(as_json=as_json), **options)
        except CallFailed as failed:
            print_error(printable(str(failed)).replace("\n", " "))
            raise typer.Exit(EXIT_FAILED) from None

    shared = [option for option in signature(run).parameters.values() if option.kind is Parameter.KEYWORD_ONLY]
    own = [option.replace(kind=Parameter.KEYWORD_ONLY) for option in list(signature(command).parameters.values())[2:]]
    update_wrapper(run, command, assigned=("__module__", "__name__", "__qualname__", "__doc__"))
    setattr(run, "__signature__", Signature([*own, *shared]))  # noqa: B010 - mypy knows no such attribute
    return run


def _resolve(config: Path | None, target: str, tls: TlsOptions) -> ConnectionTarget:
    try:
        return resolve_target(_load_grpc(config) if config else None, target, tls)
    except TargetError as error:
        raise typer.BadParameter(str(error)) from None


def _load_grpc(config: Path) -> GrpcSettings:
    try:
        return load(config, os.environ).grpc
    except ConfigInvalid as invalid:
        print_error(f"{config} is not valid. Fix it, or give --target host:port instead of --config.")
        exit_with_problems(config, invalid.problems)
