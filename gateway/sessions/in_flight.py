"""A flight: one request_id being carried out, and all who wait for it."""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import Enum, auto
from functools import partial
from time import monotonic
from typing import Generic, TypeVar

from adapters.contract import Certainty
from gateway.outbound.deadline import Deadline
from gateway.sessions.errors import GatewayError, Reason
from gateway.store.models import Target

AnswerT = TypeVar("AnswerT")


class ClosePhase(Enum):
    """How far a flight has come: it decides what a caller is told whose deadline does not let it wait for the end."""

    BEGINNING = auto()
    """It waits for its turn, or the intent is being made durable; nothing of this attempt is sent."""
    SENDING = auto()
    """The provider is asked."""
    RECORDING = auto()
    """The provider has answered; the outcome is being made durable."""


class InFlightClose(Generic[AnswerT]):
    """A request being carried out, in one attempt or several. It lands once, with an answer or a Failure, and everyone
    hears the same.
    """

    task: asyncio.Task[None]

    def __init__(self, request_id: str, target: Target, deadline: Deadline) -> None:
        self.request_id = request_id
        self.target = target
        self.deadline = deadline
        self.phase = ClosePhase.BEGINNING
        self.last: GatewayError | None = None
        """How the attempt before the present one ended, of the certainty of all so far."""
        self.abandoned = False
        """Nobody waits for it any more, and nothing more is to be sent."""
        self.asked_s = 0.0
        """Seconds that the attempts before the present one took the provider."""
        self.asked_at: float | None = None
        """When the present one was sent, by time.monotonic; None while none is."""
        self._callers = 0
        self._landing: asyncio.Future[AnswerT | GatewayError] = asyncio.get_running_loop().create_future()

    @property
    def done(self) -> bool:
        """Whether the outcome is known; a failure may still be being recorded."""
        return self._landing.done()

    def seconds_asked(self) -> float:
        """How long the provider has been asked so far, in all attempts together."""
        return self.asked_s if self.asked_at is None else self.asked_s + monotonic() - self.asked_at

    @contextmanager
    def fail_at_deadline(self, failure: GatewayError) -> Iterator[None]:
        """Land with this failure where the body of the `with` outlasts the deadline. The body goes on all the same."""
        alarm = _DeadlineTimer(self.deadline, partial(self.set_result, failure))
        try:
            yield
        finally:
            alarm.off()

    def set_result(self, outcome: AnswerT | GatewayError) -> None:
        """Tell everyone who waits, once: what comes after a failure was told is for the log."""
        if not self._landing.done():
            self._landing.set_result(outcome)

    async def outcome(self, until: float) -> AnswerT:
        """The flight's answer. Raises its Failure, or one that tells how far it had come by `until` (the loop's clock).

        Never cancels the flight: others may wait for it, and what was sent has to be recorded. But where the last one
        leaves who waits, cancelled or out of time, and nothing is on its way, nothing more is sent.
        """
        self._callers += 1
        landed = False
        try:
            landed = await wait_until(self._landing, until)
        finally:
            self._callers -= 1
            if not landed and not self.has_waiters and self.phase is ClosePhase.BEGINNING:
                self.abandoned = True
                self.deadline.cap(asyncio.get_running_loop().time())
        if not landed:
            raise self._deadline_failure(until)
        outcome = self._landing.result()
        if isinstance(outcome, GatewayError):
            raise outcome.with_traceback(None)
        return outcome

    @property
    def has_waiters(self) -> bool:
        """Whether anybody waits for its outcome."""
        return self._callers > 0

    async def wait_recorded(self, until: float) -> None:
        """Wait until a failure is recorded too. Raises Failure where that takes longer than `until`."""
        if not await wait_until(self.task, until):
            raise self._deadline_failure(until)

    def _deadline_failure(self, until: float) -> GatewayError:
        if self.phase is ClosePhase.SENDING:
            return GatewayError(
                Reason.PROVIDER_TIMEOUT,
                "no answer came within the deadline, and the call may have been carried out: "
                "repeat it with the same request_id to learn its outcome",
                certainty=Certainty.UNKNOWN,
            )
        nothing_goes_out = self.phase is ClosePhase.BEGINNING and (self.abandoned or self.deadline.at <= until)
        if self.last is not None:
            return self.last if nothing_goes_out else self.last.with_certainty(Certainty.UNKNOWN)
        return GatewayError(
            Reason.STORE_UNAVAILABLE,
            "the gateway's store did not take the record within the deadline: repeat the call with the same request_id",
            certainty=Certainty.NOT_SENT if nothing_goes_out else Certainty.UNKNOWN,
        )


class _DeadlineTimer:
    """Rings when a deadline passes, wherever it is moved to meanwhile: one timer, where a time-out would be a task."""

    def __init__(self, deadline: Deadline, ring: Callable[[], None]) -> None:
        self._deadline = deadline
        self._ring = ring
        self._timer = asyncio.get_running_loop().call_at(deadline.at, ring)
        deadline.watch(self)

    def off(self) -> None:
        """Ring no more."""
        self._timer.cancel()
        self._deadline.unwatch(self)

    def expired(self) -> bool:
        """Never: to ring again does no harm."""
        return False

    def reschedule(self, when: float) -> None:
        """Ring at `when` instead."""
        self._timer.cancel()
        self._timer = asyncio.get_running_loop().call_at(when, self._ring)


async def wait_until(future: asyncio.Future[AnswerT], at: float) -> bool:
    """Whether the future was done by `at` (the loop's clock). Neither a time-out nor a cancellation touches it."""
    if future.done():
        await asyncio.sleep(0)  # what is called when it is done is called before this returns
        return True
    loop = asyncio.get_running_loop()
    over: asyncio.Future[None] = loop.create_future()

    def wake(_: object = None) -> None:
        if not over.done():
            over.set_result(None)

    timer = loop.call_at(at, wake)
    future.add_done_callback(wake)
    try:
        await over
    finally:
        timer.cancel()
        future.remove_done_callback(wake)
    return future.done()
