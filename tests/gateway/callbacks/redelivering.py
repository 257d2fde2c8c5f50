"""What tests of redelivery have in common: a refused line of the journal, and what becomes of it."""

import pytest

from gateway.sessions.errors import GatewayError, Reason
from gateway.store.models import EventType, Exchange
from tests.gateway.callbacks.harness import EXPIRED, KYREN_EU, House


async def refused(house: House, verdict: str) -> Exchange:
    """The one line of the journal, which came to this."""
    (line,) = await house.journal()
    assert line.verdict == verdict
    return line


async def redelivered(house: House, line: Exchange) -> Exchange:
    return await house.redeliveries.redeliver(line.id, "ada", "mended")


async def events_told(house: House) -> list[EventType]:
    """What subscribers have been told: all of it, for what is told later is seen to be behind it."""
    await house.deliver(KYREN_EU.path("SessionExpired"), {**EXPIRED, "sessionId": "the last"})
    commits = -1
    while True:
        commits = await house.store.events_committed(commits)
        events = await house.events()
        if events and events[-1].session_id == "the last":
            return [event.type for event in events[:-1]]


async def obstacle(house: House, line: Exchange) -> str:
    """Why the line cannot be redelivered; what is listed and what the attempt is told must be the same."""
    journal = await house.journal()
    with pytest.raises(GatewayError) as raised:
        await redelivered(house, line)
    failure = raised.value
    why = house.redeliveries.obstacle(line)
    assert failure.reason is Reason.NOT_REDELIVERABLE
    assert why
    assert failure.message == f"callback {line.id} cannot be redelivered: {why}"
    assert dict(failure.details) == {"why": why}
    assert await house.journal() == journal
    return why
