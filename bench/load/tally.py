"""What a load counts, and when."""

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

ENDING_S = 10.0
"""Time for answers to what is in flight at the end. They count as right or wrong, never as answered in time."""

MAX_DELAY_S = 0.05
"""A request that was due longer ago is not sent any more."""


@dataclass
class Tally:
    """What came back."""

    answered: int = 0
    """Answers as expected, within the measured time."""
    wrong: int = 0
    """Answers other than expected, and requests without an answer, warm-up included."""
    first_wrong: bytes = b""
    latencies: list[float] = field(default_factory=list)
    """Seconds from each request to its answer, within the measured time."""
    seconds: float = 0.0
    """How long was measured."""
    processor_s: float = 0.0
    """Processor time of the server under test in that time."""
    counting: bool = False
    stopping: bool = False

    def succeeded(self, sent_at: float) -> None:
        """Count an answer as expected; its request was sent at that time."""
        if self.counting:
            self.answered += 1
            self.latencies.append(time.perf_counter() - sent_at)

    def failed(self, what: bytes) -> None:
        """Count an answer other than expected, or none."""
        self.wrong += 1
        self.first_wrong = self.first_wrong or what


async def counted(tally: Tally, *, warm_s: float, seconds: float, processor: Callable[[], float] = lambda: 0.0) -> None:
    """Count what a running load gets back, after `warm_s`, and stop the load.

    `processor` returns the processor time that the server has used so far.
    """
    await asyncio.sleep(warm_s)
    used, begun = processor(), time.perf_counter()
    tally.counting = True
    await asyncio.sleep(seconds)
    tally.counting = False
    tally.seconds, tally.processor_s = time.perf_counter() - begun, processor() - used
    tally.stopping = True


async def ended(tally: Tally, connections: Sequence[asyncio.Future[None]]) -> None:
    """Wait until a stopped load has ended on every connection."""
    _, late = await asyncio.wait(connections, timeout=ENDING_S)
    if late:
        tally.failed(b"no answer")


async def sent_at_rate(tally: Tally, rate: float, send: Callable[[float], None]) -> None:
    """Send `rate` requests a second, whether or not earlier ones are answered, until the load stops.

    A request is sent when it is due, at most a timer's tick of a millisecond late. After a longer delay of this process
    the oldest are dropped: to send them all would be a burst.
    """
    begun, sent = time.perf_counter(), 0
    while not tally.stopping:
        now = time.perf_counter()
        due = int((now - begun) * rate)
        for _ in range(max(sent, due - int(rate * MAX_DELAY_S) - 1), due):
            send(now)
        sent = due
        await asyncio.sleep(0.001)


def percentile(latencies: Sequence[float], percent: int) -> float:
    """Of a load's latencies, in seconds."""
    return sorted(latencies)[len(latencies) * percent // 100]
