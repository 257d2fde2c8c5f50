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
from bench.outbound import UNDER_WAY, closing
from bench.rounds import Drive, Load, Pace, Subject, in_turns
from gateway.config import FrontEnd

HERE = Path(__file__).parent.parent


@dataclass(frozen=True)
class Way:
    """One way through a gateway."""

    name: str
    drive: Drive
    front_end: FrontEnd = FrontEnd.GRPCIO


def ways() -> tuple[Way, ...]:
    """Through both front ends, and in."""
    return (
        Way("grpcio", closing()),
        Way("http2", closing(), FrontEnd.HTTP2),
        Way("callbacks", delivering()),
    )


async def beside(checkout: Path, engines: Sequence[str], asked: Sequence[str], pace: Pace) -> None:
    """Measure and print. An odd number of rounds has a median that was seen."""
    async with ground(engines) as on:
        for engine in engines:
            for way in (each for each in ways() if each.name in asked):
                rate, processor = await _parts(on, engine, way, checkout, pace)
                print(f"{engine:<10}{way.name:<14}rate {rate:.3f}   processor time {processor:.3f}", flush=True)


async def _parts(on: Ground, engine: str, way: Way, checkout: Path, pace: Pace) -> tuple[float, float]:
    """This one's rate and processor time a call, by the other's: medians over the rounds."""
    async with AsyncExitStack() as stack:
        subjects = [
            Subject(
                await stack.enter_async_context(
                    on.gateway(engine, suffix, front_end=way.front_end, checkout=where),
                ),
                way.drive,
            )
            for suffix, where in ((" before", checkout), (" now", HERE))
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
    parser.add_argument("--rounds", type=int, default=11)
    parser.add_argument("--seconds", type=float, default=2.0)
    asked = parser.parse_args(arguments)
    pace = Pace(asked.rounds, asked.seconds)
    uvloop.run(beside(asked.checkout.absolute(), asked.engines.split(","), asked.ways.split(","), pace))


if __name__ == "__main__":
    main()
