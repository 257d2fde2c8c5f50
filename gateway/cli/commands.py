"""The commands of `session-gateway`.

A command imports what only it needs when it runs: `--help`, completion and usage errors then do not wait for gRPC.
"""

import asyncio
import os
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from msgspec import structs

from gateway.cli.admin.provider import provider_commands
from gateway.cli.admin.reconcile import reconcile_commands
from gateway.cli.output import (
    EXIT_FAILED,
    EXIT_NOT_DONE,
    exit_with_problems,
    load_or_exit,
    print_error,
    print_line,
)
from gateway.config import ConfigInvalid, Settings, insecurities, production_problems, production_warnings, warnings
from gateway.config.problems import InvalidValue
from gateway.config.references import ReferenceResolver

if TYPE_CHECKING:
    from adapters.simulation import PlayerSession
    from gateway.store.audit import Audit

cli = typer.Typer(
    help="One gRPC service for the sessions of all game providers. It closes sessions and credits each result once.",
    no_args_is_help=True,
    rich_markup_mode=None,  # Rich would read [grpc] in a help text as markup and drop it
    pretty_exceptions_enable=False,  # its tracebacks would print locals, secrets among them
)
cli.add_typer(reconcile_commands, name="reconcile")
cli.add_typer(provider_commands, name="provider")

ConfigFile = Annotated[Path, typer.Option("--config", help="The TOML configuration file.")]


def _print_version(requested: bool) -> None:
    if requested:
        print_line(f"session-gateway {version('session-gateway')}")
        raise typer.Exit


@cli.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    pass


@cli.command()
def serve(
    config: ConfigFile,
    workers: Annotated[int, typer.Option(min=1, help="Processes on this host. More than one needs PostgreSQL.")] = 1,
    worker: Annotated[str, typer.Option(hidden=True, help="The ports of one worker, set by its supervisor.")] = "",
) -> None:
    """Run the gateway. On SIGTERM or SIGINT it finishes the calls in flight and exits 0.

    It prints one line of JSON with its addresses when it accepts calls. The log goes to standard error. With --workers,
    the processes share the ports of [grpc] and [callbacks]; their admin ports are counted up from that of [admin].
    """
    from gateway.cli.serve import serve_gateway, serve_workers

    if workers > 1:
        serve_workers(config, workers)
    else:
        serve_gateway(config, worker)


@cli.command()
def check(
    config: ConfigFile,
    production: Annotated[
        bool, typer.Option("--production", help="Refuse also what a production deployment must not have.")
    ] = False,
) -> None:
    """Check a configuration. Print what is wrong, with the path of each key. Exit 0 if nothing is wrong, else 2.

    It also refuses short callback keys, and files of secrets that others can access: `serve` logs these and starts.
    """
    from gateway.server.certificates import expiring, unusable, validities
    from gateway.server.file_limits import file_limit, too_few_files
    from gateway.server.validation import deployment, store_conflicts, validate

    settings, now = load_or_exit(config), datetime.now(UTC)
    certificates = validities(settings)
    try:
        conflicts = (*unusable(certificates, now), *insecurities(settings, config))
        checked = deployment(settings, validate(settings, conflicts=conflicts))
    except ConfigInvalid as invalid:
        exit_with_problems(config, invalid.problems)
    unfit = production_problems(checked) if production else ()
    if problems := (*unfit, *asyncio.run(store_conflicts(settings))):
        exit_with_problems(config, problems)
    advice = production_warnings(checked) if production else warnings(settings)
    for problem in (*advice, *expiring(certificates, now), *too_few_files(settings, file_limit(hard=True))):
        print_error(f"advice: {problem}")
    served = sum(not provider.retired for provider in settings.providers.values())
    print_line(f"{config}: valid, {served} providers")


@cli.command()
def wallet(config: ConfigFile) -> None:
    """Run only the built-in ledger. A gateway elsewhere can use it as its wallet.target.

    It reads [grpc] and [store] of the file. The database must not be that of the gateway. It prints one line of JSON
    with its address when it accepts calls.
    """
    from gateway.cli.serve import serve_wallet

    serve_wallet(config)


@cli.command()
def verify(config: ConfigFile) -> None:
    """Check that the ledger balances. The gateway may be running.

    Exit 0 if it balances. Exit 1 if not, with a line for each wrong field. Exit 3 if it cannot be read.
    """
    from gateway.server import maintenance

    settings = load_or_exit(config)
    try:
        audit = asyncio.run(maintenance.verify(settings))
    except maintenance.MaintenanceError as error:
        print_error(f"The ledger could not be verified: {error}")
        raise SystemExit(EXIT_NOT_DONE) from None
    _print_audit(audit)


@cli.command()
def migrate(
    config: ConfigFile,
    store_url_env: Annotated[
        str,
        typer.Option(
            metavar="NAME", help="An environment variable with the [store] url of the role that owns the tables."
        ),
    ] = "",
) -> None:
    """Bring the database's schema to this release's, and exit. Gateways of the release before may be running.

    It is for a gateway whose own role may not create tables; another one migrates when it starts. Exit 0 if the schema
    is current. Exit 3 if it could not be migrated.
    """
    from gateway.server import maintenance

    settings = load_or_exit(config)
    if store_url_env:
        settings = _with_store_url(settings, store_url_env)
    try:
        versions = asyncio.run(maintenance.migrate(settings))
    except maintenance.MaintenanceError as error:
        print_error(f"The database could not be migrated: {error}")
        raise SystemExit(EXIT_NOT_DONE) from None
    if versions.before == versions.after:
        print_line(f"the schema is version {versions.after}: nothing to migrate")
    else:
        print_line(f"the schema was migrated from version {versions.before} to version {versions.after}")


def _with_store_url(settings: Settings, variable: str) -> Settings:
    try:
        url = ReferenceResolver(Path(), os.environ).store_url({"env": variable})
    except InvalidValue as invalid:
        raise typer.BadParameter(str(invalid), param_hint="--store-url-env") from None
    return structs.replace(settings, store=structs.replace(settings.store, url=url))


@cli.command()
def backup(
    config: ConfigFile, to: Annotated[Path, typer.Option(help="The file to write. It must not exist yet.")]
) -> None:
    """Copy the SQLite database and check the copy. The gateway may be running.

    Exit 0 if the copy is on the disk and balances. Exit 1 if it does not balance. Exit 3 if there is no copy.
    """
    from gateway.server import maintenance

    settings = load_or_exit(config)
    try:
        audit = maintenance.back_up(settings, to)
    except maintenance.MaintenanceError as error:
        print_error(f"No backup was made: {error}")
        raise SystemExit(EXIT_NOT_DONE) from None
    print_line(f"{to}: a complete copy, written to disk and checked")
    print_line(f"to restore it: stop the gateway, then session-gateway restore --config {config} --from {to}")
    _print_audit(audit)


@cli.command()
def restore(
    config: ConfigFile,
    copy: Annotated[Path, typer.Option("--from", help="The backup to put in the database's place. It stays.")],
) -> None:
    """Put a backup in the place of the SQLite database. The gateway must be stopped.

    The copy is checked first. What was in its place is moved aside, and never deleted. Killed at any moment, it can be
    run again. Exit 0 if the copy is in place. Exit 1 if its ledger does not balance. Exit 3 if nothing was restored.
    """
    from gateway.server import maintenance
    from gateway.store.sqlite.restore import DoesNotBalance

    settings = load_or_exit(config)
    try:
        audit, moved = maintenance.restore(settings, copy)
    except DoesNotBalance as error:
        print_error(f"Nothing was restored: {error}")
        _print_audit(error.audit)
    except maintenance.MaintenanceError as error:
        print_error(f"Nothing was restored: {error}")
        raise SystemExit(EXIT_NOT_DONE) from None
    else:
        for file in moved:
            print_line(f"moved aside: {file}")
        print_line(f"{copy}: restored, written to disk and checked")
        _print_audit(audit)


def _print_audit(audit: "Audit") -> None:
    from gateway.server.maintenance import describe

    for discrepancy in audit.discrepancies:
        print_error(describe(discrepancy))
    if audit.discrepancies:
        raise SystemExit(EXIT_FAILED)
    print_line(f"the ledger balances: {audit.accounts} accounts, {audit.transactions} transactions")


@cli.command()
def simulate(
    config: ConfigFile,
    provider: Annotated[str, typer.Option(help="The name of the configured provider to simulate.")],
    listen: Annotated[str, typer.Option(help="The address to listen on. Port 0 takes a free port.")] = "127.0.0.1:0",
    callback_url: Annotated[
        str, typer.Option(help="The gateway's callback URL for this provider, with its callback key.")
    ] = "",
    session: Annotated[list[str] | None, typer.Option(help="An open session, USER:SESSION:GAME. Repeatable.")] = None,
    fault: Annotated[
        list[str] | None, typer.Option(help="A fault, such as hang, status:503 or code:998. Repeatable.")
    ] = None,
    redeliver_every: Annotated[
        float, typer.Option(help="Seconds between deliveries of an unsettled callback. 0: deliver once.")
    ] = 0,
) -> None:
    """Simulate a configured provider. On SIGTERM or SIGINT it exits 0.

    It prints one line of JSON with its address when it listens. Use that address as the provider's base_url.
    """
    from gateway.config.values import listen as parse_listen
    from gateway.server.providers import simulated
    from gateway.simulation import SimulatorHost, parse_fault, run_simulator

    settings = load_or_exit(config)
    try:
        simulator, account = simulated(settings, provider)
        address = parse_listen(listen)
        sessions = [_parse_session(text) for text in session or ()]
        faults = [parse_fault(text) for text in fault or ()]
    except ConfigInvalid as invalid:
        exit_with_problems(config, invalid.problems)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None
    host = SimulatorHost(simulator, account, sessions, callback_url or None, faults=faults)
    try:
        asyncio.run(run_simulator(host, address.host, address.port, redeliver_every or None))
    except OSError as error:
        print_error(f"The simulator cannot listen on {address}: {error}")
        raise SystemExit(EXIT_FAILED) from None


def _parse_session(text: str) -> "PlayerSession":
    from adapters.simulation import PlayerSession

    user_id, _, rest = text.partition(":")
    session_id, _, game_id = rest.partition(":")
    if not (user_id and session_id and game_id):
        raise ValueError(f"{text!r} is not USER:SESSION:GAME")
    return PlayerSession(session_id, user_id, game_id)


@cli.command()
def demo() -> None:
    """Run a gateway with simulated providers. Exit 0 if every step succeeds.

    The steps are closes, a rejected call, and callbacks with an event and with a win.

    DEMO_FAULT=ADAPTER:FAULT puts a fault into one simulator, in the form that `simulate --fault` takes. The demo then
    fails.
    """
    from gateway.cli.demo import run_demo
    from gateway.cli.demo.examples import find_examples

    examples = find_examples()
    adapter, _, fault = os.environ.get("DEMO_FAULT", "").partition(":")
    if adapter and (adapter not in {example.adapter for example in examples} or not fault):
        known = ", ".join(example.adapter for example in examples)
        raise typer.BadParameter(f"DEMO_FAULT must be ADAPTER:FAULT, such as NAME:hang. The adapters are {known}.")
    succeeded = asyncio.run(run_demo(examples, {adapter: fault} if adapter else {}))
    raise SystemExit(0 if succeeded else EXIT_FAILED)
