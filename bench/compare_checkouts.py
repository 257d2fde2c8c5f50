"""`python -m bench.compare_checkouts CHECKOUT`: compares this checkout with another one, with the same libraries.

Both gateways run in turns. The figures are ratios: this checkout divided by the other.
"""

import argparse
import statistics
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

import uvloop

from bench.environment import ENGINES, SQLITE, Ground, ground
from bench.inbound import delivering
from bench.outbound import BY_NATIVE, UNDER_WAY, closing
from bench.rounds import Drive, Load, Pace, Subject, in_turns

HERE = Path(__file__).parent.parent


@dataclass(frozen=True)
class Way:
    """One way through a gateway."""

    name: str
    drive: Drive
    grpc: str = ""
    """More lines of [grpc], for this checkout."""
    grpc_before: str = ""
    """The same for the other checkout."""


def ways(native_before: str = BY_NATIVE) -> tuple[Way, ...]:
    """Through both gRPC servers, and in."""
    return (
        Way("grpcio", closing()),
        Way("native", closing(), BY_NATIVE, native_before),
        Way("callbacks", delivering()),
    )


async def beside(checkout: Path, engines: Sequence[str], asked: Sequence[Way], pace: Pace) -> None:
    """Measure and print. An odd number of rounds has a median that was seen."""
    async with ground(engines) as on:
        for engine in engines:
            for way in asked:
                rate, processor = await _parts(on, engine, way, checkout, pace)
                print(f"{engine:<10}{way.name:<14}rate {rate:.3f}   processor time {processor:.3f}", flush=True)


async def _parts(on: Ground, engine: str, way: Way, checkout: Path, pace: Pace) -> tuple[float, float]:
    """This one's rate and processor time a call, by the other's: medians over the rounds."""
    async with AsyncExitStack() as stack:
        subjects = [
            Subject(
                await stack.enter_async_context(
                    on.gateway(engine, suffix, grpc=lines, checkout=where),
                ),
                way.drive,
            )
            for suffix, where, lines in ((" before", checkout, way.grpc_before), (" now", HERE, way.grpc))
        ]
        rates, processors = [], []
        for turn in range(pace.rounds):
            order = subjects if turn % 2 else subjects[::-1]
            rows = await in_turns(order, [Load(UNDER_WAY)] * 2, Pace(1, pace.seconds, pace.warm_s))
            before, now = rows if turn % 2 else rows[::-1]
            rates.append(now.rate / before.rate)
            processors.append(now.cpu_us / before.cpu_us)
        return statistics.median(rates), statistics.median(processors)


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure what is asked for."""
    parser = argparse.ArgumentParser(prog="python -m bench.compare_checkouts", description=__doc__)
    parser.add_argument("checkout", type=Path, help="folder of the other checkout")
    parser.add_argument("--engines", default=SQLITE, help=f"with commas between them, of {', '.join(ENGINES)}")
    names = [way.name for way in ways()]
    parser.add_argument("--ways", default=",".join(names), help=f"with commas between them, of {', '.join(names)}")
    parser.add_argument("--native-before", default=BY_NATIVE, help="the line of [grpc] that the other checkout knows")
    parser.add_argument("--rounds", type=int, default=11)
    parser.add_argument("--seconds", type=float, default=2.0)
    asked = parser.parse_args(arguments)
    pace = Pace(asked.rounds, asked.seconds)
    chosen = [way for way in ways(asked.native_before) if way.name in asked.ways.split(",")]
    uvloop.run(beside(asked.checkout.absolute(), asked.engines.split(","), chosen, pace))


if __name__ == "__main__":
    main()
