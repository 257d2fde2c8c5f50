"""Sessions that end at the provider's side, on a real SQLite file."""

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from uuid import uuid4

import pytest

from adapters.contract import SessionExpired
from gateway.sessions.expiry import record_expiry
from gateway.store.models import Direction, EventFilter, EventType, Exchange, Message
from gateway.store.sqlite import SqliteStore

EXPIRED = SessionExpired(provider_id="Luckymonaco", session_id="6fd2d6f3bb8f4c5a9fadf15d81206af2", user_id="123456")
NOW = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)


def exchange(provider: str = "monaco") -> Exchange:
    return Exchange(
        id=uuid4().hex,
        direction=Direction.INBOUND,
        provider=provider,
        operation="V4/SessionExpired",
        method="POST",
        path=f"/callbacks/{provider}/V4/SessionExpired",
        request=Message(),
        started_at=NOW,
        ended_at=NOW,
        verdict="ACCEPTED",
    )


@pytest.mark.parametrize(
    ("other", "provider", "is_new"),
    [
        (EXPIRED, "monaco", False),
        (EXPIRED, "kyren-eu", True),
        (replace(EXPIRED, session_id="another"), "monaco", True),
        (replace(EXPIRED, user_id="another"), "monaco", True),
        (replace(EXPIRED, provider_id="another"), "monaco", True),
    ],
)
async def test_an_expiry_is_told_once(tmp_path: Path, other: SessionExpired, provider: str, is_new: bool) -> None:
    """Provider, providerId, sessionId and userId make an expiry: one event each, and a journal line each time."""
    store = SqliteStore(str(tmp_path / "gateway.db"))
    await store.open()
    assert await record_expiry(store, EXPIRED, exchange())
    assert await record_expiry(store, other, exchange(provider)) is is_new
    events = await store.events_after("", EventFilter(), 10)
    assert len(events) == 1 + is_new
    assert (events[0].type, events[0].time, events[0].provider) == (EventType.SESSION_EXPIRED, NOW, "monaco")
    assert (events[0].user_id, events[0].session_id) == (EXPIRED.user_id, EXPIRED.session_id)
    assert len(await store.exchanges()) == 2
    await store.close()
