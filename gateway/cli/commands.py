"""The commands of `session-gateway` as typer reads them. Each imports only what it needs, to start soon."""

import asyncio
import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from gateway.cli.admin.provider import provider_commands
from gateway.cli.admin.reconcile import reconcile
from gateway.cli.output import (
    EXIT_CANNOT_START,
    EXIT_NOT_DONE,
    EXIT_UNSOUND,
    exit_with_problems,
    print_error,
    settings_of,
)
from gateway.config import ConfigInvalid, warnings

if TYPE_CHECKING:
    from gateway.store.audit import Audit

cli = typer.Typer(
    help="One gRPC service for every provider's sessions: closes them provably, and pays each result once.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,  # its tracebacks would print locals, secrets among them
)
cli.add_typer(reconcile, name="reconcile")
cli.add_typer(provider_commands, name="provider")
out = Console(highlight=False, soft_wrap=True)

ConfigFile = Annotated[Path, typer.Option("--config", help="The TOML file; README.md says what may stand in it.")]


@cli.command()
def serve(
    config: ConfigFile,
    workers: Annotated[int, typer.Option(min=1, help="Processes on this host; more than one needs PostgreSQL.")] = 1,
    worker: Annotated[str, typer.Option(hidden=True, help="The ports of one worker, from its supervisor.")] = "",
) -> None:
    """Serve until SIGTERM or SIGINT, then finish what is in flight and exit 0.

    Prints one line of JSON with its addresses once it accepts calls; the log goes to standard error. With --workers the
    processes share the ports of [grpc] and [callbacks]; the admin ports are counted up from that of [admin].
    """
    if workers > 1:
        _supervise(config, workers)
        return
    from gateway.cli import serve

    serve.serve(str(config), worker)


def _supervise(config: Path, workers: int) -> None:
    from gateway.server.supervisor import WorkerFailed, supervise
    from gateway.server.validation import secrets_of
    from gateway.telemetry import logs

    settings = settings_of(config)
    logs.configure(settings.log.level, secrets_of(settings))
    if settings.store.is_sqlite:
        raise typer.BadParameter(
            "SQLite serves one process: give [store] a postgresql:// url, or leave --workers away",
            param_hint="--workers",
        )
    try:
        supervise(config, settings, workers)
    except (WorkerFailed, OSError) as error:
        print_error(f"The gateway cannot start: {error}")
        code = error.code if isinstance(error, WorkerFailed) else EXIT_CANNOT_START
        raise SystemExit(max(code, EXIT_CANNOT_START)) from None


@cli.command()
def check(config: ConfigFile) -> None:
    """Say what is wrong with a configuration, each with its key's path; exit 0 if nothing is."""
    from gateway.server.validation import store_conflicts, validate

    settings = settings_of(config)
    try:
        validate(settings)
    except ConfigInvalid as invalid:
        exit_with_problems(config, invalid.problems)
    if problems := asyncio.run(store_conflicts(settings)):
        exit_with_problems(config, problems)
    for advice in warnings(settings):
        print_error(f"advice: {advice}")
    served = sum(not provider.retired for provider in settings.providers.values())
    out.print(f"{config}: good, {served} providers", markup=False)


@cli.command()
def wallet(config: ConfigFile) -> None:
    """Serve the built-in ledger alone, as the operator's wallet of a gateway elsewhere, until SIGTERM or SIGINT.

    Takes [grpc] and [store] of the file; the database is its own, and not that gateway's. Prints one line of JSON with
    its address once it takes calls.
    """
    from gateway.cli import serve

    serve.wallet(str(config))


@cli.command()
def verify(config: ConfigFile) -> None:
    """Look whether the books add up, beside a running gateway or without one.

    Exit 0 if they do, 1 if not, with a line for each difference that names its field; 3 where they cannot be read.
    """
    from gateway.server import maintenance

    settings = settings_of(config)
    try:
        found = asyncio.run(maintenance.verify(settings))
    except maintenance.MaintenanceError as error:
        print_error(f"The books could not be verified: {error}")
        raise SystemExit(EXIT_NOT_DONE) from None
    _tell_audit(found)


@cli.command()
def backup(
    config: ConfigFile, to: Annotated[Path, typer.Option(help="The file to make; it must not be there yet.")]
) -> None:
    """Copy the SQLite database of a gateway, running or not, to a new file, and look whether the books add up there.

    Exit 0 once the copy is on the disk and sound, 1 where its books do not add up, 3 where there is no copy.
    """
    from gateway.server import maintenance

    settings = settings_of(config)
    try:
        found = maintenance.back_up(settings, to)
    except maintenance.MaintenanceError as error:
        print_error(f"No backup was made: {error}")
        raise SystemExit(EXIT_NOT_DONE) from None
    out.print(maintenance.after_backup(settings, to), markup=False)
    _tell_audit(found)


def _tell_audit(found: "Audit") -> None:
    from gateway.server.maintenance import describe

    for difference in found.discrepancies:
        print_error(describe(difference))
    if found.discrepancies:
        raise SystemExit(EXIT_UNSOUND)
    out.print(f"the books add up: {found.accounts} accounts, {found.transactions} transactions")


@cli.command()
def simulate(
    config: ConfigFile,
    provider: Annotated[str, typer.Option(help="Which configured provider to stand in for.")],
    listen: Annotated[str, typer.Option(help="Where to listen; port 0 takes a free one.")] = "127.0.0.1:0",
    callback_url: Annotated[
        str, typer.Option(help="The gateway's callback URL for this provider, its key included.")
    ] = "",
    session: Annotated[
        list[str] | None, typer.Option(help="An open session, USER:SESSION:GAME; may be repeated.")
    ] = None,
    fault: Annotated[
        list[str] | None, typer.Option(help="A fault, such as hang, status:503 or code:998; may be repeated.")
    ] = None,
    redeliver_every: Annotated[float, typer.Option(help="Seconds between tries at what is unsettled; 0: none.")] = 0,
) -> None:
    """Host the provider's side of a configured provider, for a team's staging, until SIGTERM or SIGINT.

    Prints one line of JSON with its address once it listens: the base_url that the gateway needs.
    """
    from adapters.simulation import PlayerSession
    from gateway.config.values import listen as parse_listen
    from gateway.server.providers import simulated
    from gateway.simulation import parse_fault, run_simulator

    settings = settings_of(config)
    try:
        simulator, account = simulated(settings, provider)
        at = parse_listen(listen)
        sessions = [PlayerSession(*_session(text)) for text in session or ()]
        faults = [parse_fault(text) for text in fault or ()]
    except ConfigInvalid as invalid:
        exit_with_problems(config, invalid.problems)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None
    try:
        asyncio.run(
            run_simulator(
                simulator,
                account,
                sessions=sessions,
                host=at.host,
                port=at.port,
                callback_url=callback_url or None,
                redeliver_every_s=redeliver_every or None,
                faults=faults,
            )
        )
    except OSError as error:
        print_error(f"The simulator cannot listen on {at}: {error}")
        raise SystemExit(EXIT_CANNOT_START) from None


@cli.command()
def demo() -> None:
    """Show the main job with real processes: closes, a refusal, callbacks; exit 0 only if all of it was observed.

    DEMO_FAULT=ADAPTER:FAULT, the fault as `simulate --fault` takes it, puts one into a simulator: the demo then fails.
    """
    from gateway.cli.demo import DemoPrinter, run_demo
    from gateway.cli.demo.examples import examples as find_examples

    examples = find_examples()
    adapter, _, fault = os.environ.get("DEMO_FAULT", "").partition(":")
    if adapter and (adapter not in {example.adapter for example in examples} or not fault):
        known = ", ".join(example.adapter for example in examples)
        raise typer.BadParameter(f"DEMO_FAULT is ADAPTER:FAULT, such as NAME:hang; adapters are {known}")
    observed = asyncio.run(run_demo(examples, {adapter: fault} if adapter else {}, DemoPrinter(out)))
    raise SystemExit(0 if observed else 1)


def _session(text: str) -> tuple[str, str, str]:
    user_id, _, rest = text.partition(":")
    session_id, _, game_id = rest.partition(":")
    if not (user_id and session_id and game_id):
        raise ValueError(f"{text!r} is not USER:SESSION:GAME")
    return session_id, user_id, game_id
