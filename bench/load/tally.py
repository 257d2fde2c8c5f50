"""What a load counts, and when."""

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

ENDING_S = 10.0
"""What is under way when the time is over has this long to be answered; it counts as right or wrong, never as fast."""


LATEST_S = 0.05
"""What was due longer ago is not sent any more."""


@dataclass
class Tally:
    """What came back."""

    answered: int = 0
    """Answers as expected, within the measured time."""
    wrong: int = 0
    """Answers that are not what was expected, or that never came, from the first request on."""
    first_wrong: bytes = b""
    waits: list[float] = field(default_factory=list)
    """Seconds from each request to its answer, within the measured time."""
    seconds: float = 0.0
    """How long was measured."""
    processor_s: float = 0.0
    """Seconds of processor time that the server under test took meanwhile."""
    counting: bool = False
    stopping: bool = False

    def right(self, sent_at: float) -> None:
        """An answer as expected, to what was sent then."""
        if self.counting:
            self.answered += 1
            self.waits.append(time.perf_counter() - sent_at)

    def failed(self, what: bytes) -> None:
        """An answer that is not as expected, or none."""
        self.wrong += 1
        self.first_wrong = self.first_wrong or what


async def counted(tally: Tally, *, warm_s: float, seconds: float, processor: Callable[[], float] = lambda: 0.0) -> None:
    """Let a load that is under way go on for so long, count what comes back, and tell it to stop.

    `processor` tells the processor time that the server has taken up to now.
    """
    await asyncio.sleep(warm_s)
    taken, begun = processor(), time.perf_counter()
    tally.counting = True
    await asyncio.sleep(seconds)
    tally.counting = False
    tally.seconds, tally.processor_s = time.perf_counter() - begun, processor() - taken
    tally.stopping = True


async def ended(tally: Tally, connections: Sequence[asyncio.Future[None]]) -> None:
    """See a load that was told to stop end on every connection."""
    _, late = await asyncio.wait(connections, timeout=ENDING_S)
    if late:
        tally.failed(b"no answer")


async def paced(tally: Tally, rate: float, send: Callable[[float], None]) -> None:
    """Send so many a second, whether or not those before are answered, until the load is stopping.

    What is due is sent at once, a timer's tick of a millisecond at the most too late. Where this process itself was
    held up for longer, not all that it missed is sent: it would be a burst that nobody asked for.
    """
    begun, sent = time.perf_counter(), 0
    while not tally.stopping:
        now = time.perf_counter()
        due = int((now - begun) * rate)
        for _ in range(max(sent, due - int(rate * LATEST_S) - 1), due):
            send(now)
        sent = due
        await asyncio.sleep(0.001)
