"""`python -m bench.compare_checkouts CHECKOUT`: compares this checkout with another one, with the same libraries.

Both gateways run at the same time and are put under load in turns. The figures are ratios: this checkout divided by the
other. Both get the same configuration, whose keys any checkout since adapters have names understands, but for the line
that selects the native gRPC server.
"""

import argparse
import statistics
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

import uvloop

from bench.environment import ENGINES, NATIVE_SERVER, SQLITE, BenchEnvironment, bench_environment
from bench.inbound import delivering
from bench.outbound import IN_FLIGHT, closing
from bench.rounds import Drive, Load, Subject, Timing, in_turns

HERE = Path(__file__).parent.parent


@dataclass(frozen=True)
class Checkout:
    """A gateway's source, and the line of [grpc] that selects its native server."""

    folder: Path
    native_server: str = NATIVE_SERVER


@dataclass(frozen=True)
class Case:
    """What is compared: one kind of call through one gRPC server."""

    name: str
    drive: Drive
    native: bool = False


def cases() -> tuple[Case, ...]:
    """Closes through both gRPC servers, and Results."""
    return Case("grpcio", closing()), Case("native", closing(), native=True), Case("results", delivering())


async def compare(other: Checkout, engines: Sequence[str], only: Sequence[str], timing: Timing) -> None:
    """Measure and print."""
    async with bench_environment(engines) as environment:
        for engine in engines:
            for case in (each for each in cases() if each.name in only):
                rate, processor = await _ratios(environment, engine, case, (other, Checkout(HERE)), timing)
                print(f"{engine:<10}{case.name:<10}rate {rate:.3f}   processor time {processor:.3f}", flush=True)


async def _ratios(
    environment: BenchEnvironment, engine: str, case: Case, checkouts: Sequence[Checkout], timing: Timing
) -> tuple[float, float]:
    """Of the second checkout's rate, and of its processor time for each call: medians over the rounds."""
    async with AsyncExitStack() as stack:
        subjects = [
            Subject(await stack.enter_async_context(gateway), case.drive)
            for gateway in (
                environment.gateway(
                    engine,
                    f" {number}",
                    grpc_lines=checkout.native_server if case.native else "",
                    checkout=checkout.folder,
                )
                for number, checkout in enumerate(checkouts)
            )
        ]
        rates, processors = [], []
        for number in range(timing.rounds):
            step = -1 if number % 2 else 1  # which of them goes first changes from round to round
            rows = await in_turns(subjects[::step], [Load(IN_FLIGHT)] * 2, Timing(1, timing.seconds, timing.warm_s))
            before, now = rows[::step]
            rates.append(now.rate / before.rate)
            processors.append(now.cpu_us / before.cpu_us)
        return statistics.median(rates), statistics.median(processors)


def main(arguments: Sequence[str] | None = None) -> None:
    """Compare what the command line names."""
    parser = argparse.ArgumentParser(prog="python -m bench.compare_checkouts", description=__doc__)
    parser.add_argument("checkout", type=Path, help="folder of the other checkout")
    names = [case.name for case in cases()]
    parser.add_argument("--only", default=",".join(names), help=f"comma-separated, of {', '.join(names)}")
    parser.add_argument("--engines", default=SQLITE, help=f"comma-separated, of {', '.join(ENGINES)}")
    parser.add_argument("--rounds", type=int, default=11, help="an odd number has a median that was seen")
    parser.add_argument("--seconds", type=float, default=2.0, help="that each gateway is measured for in a round")
    parser.add_argument(
        "--other-native",
        default=NATIVE_SERVER,
        metavar="LINE",
        help=f"the line of [grpc] that selects the other checkout's native server, by default {NATIVE_SERVER}",
    )
    asked = parser.parse_args(arguments)
    other = Checkout(asked.checkout.absolute(), asked.other_native)
    timing = Timing(asked.rounds, asked.seconds)
    uvloop.run(compare(other, asked.engines.split(","), asked.only.split(","), timing))


if __name__ == "__main__":
    main()
