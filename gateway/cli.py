"""The commands: `session-gateway serve | check | demo | simulate`. Each imports only what it needs, to start soon."""

import asyncio
import os
import signal
from pathlib import Path
from typing import Annotated, NoReturn

import typer
from rich.console import Console

from gateway.config import ConfigInvalid, Problem, Settings, load, warnings

cli = typer.Typer(
    help="One gRPC service for every provider's sessions: closes them provably, and pays each result once.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,  # its tracebacks would print locals, secrets among them
)
out = Console(highlight=False, soft_wrap=True)
err = Console(stderr=True, highlight=False, soft_wrap=True)

ConfigFile = Annotated[Path, typer.Option("--config", help="The TOML file; README.md says what may stand in it.")]

EXIT_CONFIG = 2
EXIT_CANNOT_START = 1


def main() -> None:
    """The entry point of `session-gateway`."""
    cli()


@cli.command()
def serve(config: ConfigFile) -> None:
    """Serve until SIGTERM or SIGINT, then finish what is in flight and exit 0.

    Prints one line of JSON with its addresses once it accepts calls; the log goes to standard error.
    """
    import uvloop

    from gateway.app.gateway import CannotStart
    from gateway.app.surroundings import secrets_of
    from gateway.telemetry import logs

    settings = _settings(config)
    logs.configure(settings.log.level, secrets_of(settings))
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(_serve(settings))
    except ConfigInvalid as invalid:
        _refuse(config, invalid.problems)
    except CannotStart as error:
        err.print(f"The gateway cannot start: {error}", markup=False)
        raise typer.Exit(EXIT_CANNOT_START) from None


async def _serve(settings: Settings) -> None:
    import msgspec

    from gateway.app.gateway import Gateway

    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for signalled in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(signalled, stop.set)
    gateway = Gateway(settings)
    listening = await gateway.start()
    print(msgspec.json.encode({"event": "serving", **msgspec.to_builtins(listening)}).decode(), flush=True)  # noqa: T201 - a line for programs
    try:
        await stop.wait()
    finally:
        await gateway.stop()


@cli.command()
def check(config: ConfigFile) -> None:
    """Say what is wrong with a configuration, each with its key's path; exit 0 if nothing is."""
    from gateway.app.dialects import dialects
    from gateway.app.surroundings import forgotten_in_store, unloadable

    settings = _settings(config)
    try:
        dialects(settings)
    except ConfigInvalid as invalid:
        _refuse(config, invalid.problems)
    if problems := (*unloadable(settings), *forgotten_in_store(settings)):
        _refuse(config, problems)
    for advice in warnings(settings):
        err.print(f"advice: {advice}", markup=False)
    served = sum(not provider.retired for provider in settings.providers.values())
    out.print(f"{config}: good, {served} providers", markup=False)


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
    from gateway.app.dialects import simulated
    from gateway.config.forms import listen as parse_listen
    from gateway.simulation import parse_fault, run_simulator

    settings = _settings(config)
    try:
        simulator, account = simulated(settings, provider)
        at = parse_listen(listen)
        sessions = [PlayerSession(*_session(text)) for text in session or ()]
        faults = [parse_fault(text) for text in fault or ()]
    except ConfigInvalid as invalid:
        _refuse(config, invalid.problems)
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
        err.print(f"The simulator cannot listen on {at}: {error}", markup=False)
        raise typer.Exit(EXIT_CANNOT_START) from None


@cli.command()
def demo() -> None:
    """Show the main job with real processes: closes, a refusal, callbacks; exit 0 only if all of it was observed.

    DEMO_FAULT=ADAPTER:FAULT, the fault as `simulate --fault` takes it, puts one into a simulator: the demo then fails.
    """
    from gateway.app.dialects import examples as find_examples
    from gateway.demo import Stage, run_demo

    examples = find_examples()
    adapter, _, fault = os.environ.get("DEMO_FAULT", "").partition(":")
    if adapter and (adapter not in {example.adapter for example in examples} or not fault):
        known = ", ".join(example.adapter for example in examples)
        raise typer.BadParameter(f"DEMO_FAULT is ADAPTER:FAULT, such as NAME:hang; adapters are {known}")
    observed = asyncio.run(run_demo(examples, {adapter: fault} if adapter else {}, Stage(out)))
    raise typer.Exit(0 if observed else 1)


def _session(text: str) -> tuple[str, str, str]:
    user_id, _, rest = text.partition(":")
    session_id, _, game_id = rest.partition(":")
    if not (user_id and session_id and game_id):
        raise ValueError(f"{text!r} is not USER:SESSION:GAME")
    return session_id, user_id, game_id


def _settings(config: Path) -> Settings:
    try:
        return load(config, os.environ)
    except ConfigInvalid as invalid:
        _refuse(config, invalid.problems)


def _refuse(config: Path, problems: tuple[Problem, ...]) -> NoReturn:
    for problem in problems:
        err.print(f"{config}: {problem.path}: {problem.message}" if problem.path else problem.message, markup=False)
    raise typer.Exit(EXIT_CONFIG)
