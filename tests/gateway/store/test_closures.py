"""Closures: an intent is durable before its attempt, a success is kept for good, doubt is never forgotten."""

from typing import Any

import pytest

from adapters.contract import Certainty, Outcome, ProviderAnswer
from gateway.store.interface import ContentDiffers, Store
from gateway.store.records import CloseRecord, EventFilter, EventType
from tests.gateway.store.conftest import Database
from tests.gateway.store.samples import NOW, event, failed, outbound, settled, target

ID = "7f0cbd16-2a29-4a0e-9a8f-3f1f8a5e2c11"


async def test_the_first_attempt(store: Store) -> None:
    """Beginning answers attempt 1, with nothing known before it; from then on its outcome is unknown."""
    assert await store.find_close(ID) is None
    assert await store.begin_close(ID, target(), NOW) == CloseRecord(ID, target(), 1, None, None)
    assert await store.find_close(ID) == CloseRecord(ID, target(), 1, None, Certainty.UNKNOWN)


@pytest.mark.parametrize(
    ("field", "other"),
    [
        ("provider", {"provider": "bolt", "user_id": "other"}),
        ("user_id", {"user_id": "other", "session_id": "other"}),
        ("session_id", {"session_id": "other", "game_id": "other"}),
        ("game_id", {"game_id": "other", "clear_history": True}),
        ("clear_history", {"clear_history": True, "reason": "other"}),
        ("reason", {"reason": "other"}),
    ],
)
async def test_another_target_under_the_same_id_is_refused(store: Store, field: str, other: dict[str, Any]) -> None:
    """The first differing field is named, no attempt is counted, and a success does not change that."""
    await store.begin_close(ID, target(), NOW)
    for _ in range(2):
        with pytest.raises(ContentDiffers) as caught:
            await store.begin_close(ID, target(**other), NOW)
        assert caught.value.field == field
        known = await store.find_close(ID)
        assert known is not None
        assert known.attempts == 1
        await store.settle_close(ID, settled(), outbound(), None)


async def test_a_success_is_answered_again_as_it_was(store: Store) -> None:
    """A settled target begins no further attempt, and keeps its first success, its answer and its one event."""
    first = settled(
        outcome=Outcome.NO_ACTIVE_SESSION, answer=ProviderAnswer("17", "No data \N{SNOWMAN}", 200), end_time=NOW
    )
    await store.begin_close(ID, target(), NOW)
    await store.settle_close(ID, first, outbound(request_id=ID), event(EventType.SESSION_CLOSED, request_id=ID))
    assert await store.begin_close(ID, target(), NOW) == CloseRecord(ID, target(), 1, first, None)

    await store.settle_close(ID, settled(), outbound(request_id=ID), event(EventType.SESSION_CLOSED, request_id=ID))
    await store.fail_close(ID, failed(Certainty.UNKNOWN), outbound(request_id=ID))
    assert await store.find_close(ID) == CloseRecord(ID, target(), 1, first, None)
    assert len(await store.events_after("", EventFilter(), 10)) == 1
    assert len(await store.exchanges(request_id=ID)) == 3


NOT_SENT, REFUSED, UNKNOWN = Certainty.NOT_SENT, Certainty.REFUSED, Certainty.UNKNOWN


@pytest.mark.parametrize(
    ("failures", "together"),
    [
        ([NOT_SENT], NOT_SENT),
        ([REFUSED], REFUSED),
        ([UNKNOWN], UNKNOWN),
        ([NOT_SENT, REFUSED], REFUSED),
        ([REFUSED, NOT_SENT], REFUSED),
        ([UNKNOWN, NOT_SENT, REFUSED], UNKNOWN),
        ([NOT_SENT, UNKNOWN], UNKNOWN),
        ([None], UNKNOWN),  # begun and never concluded
        ([None, NOT_SENT], UNKNOWN),
        ([NOT_SENT, None, REFUSED], UNKNOWN),
    ],
)
async def test_certainty_is_that_of_all_attempts_together(
    store: Store, failures: list[Certainty | None], together: Certainty
) -> None:
    """Unknown once is unknown for good; a refusal outweighs an attempt that was never sent."""
    for number, certainty in enumerate(failures, start=1):
        record = await store.begin_close(ID, target(), NOW)
        assert record.attempts == number
        if certainty is not None:
            await store.fail_close(ID, failed(certainty), outbound(request_id=ID))
    known = await store.find_close(ID)
    assert known is not None
    assert known.certainty is together
    assert await store.begin_close(ID, target(), NOW) == CloseRecord(ID, target(), len(failures) + 1, None, together)


async def test_a_success_ends_the_doubt(store: Store) -> None:
    """A success after an unknown attempt is a plain success."""
    await store.begin_close(ID, target(), NOW)
    await store.begin_close(ID, target(), NOW)
    await store.settle_close(ID, settled(), outbound(), None)
    assert await store.find_close(ID) == CloseRecord(ID, target(), 2, settled(), None)


async def test_a_failure_before_sending_has_no_line(store: Store) -> None:
    """Where nothing was exchanged, the attempt is concluded and the journal stays empty."""
    await store.begin_close(ID, target(), NOW)
    await store.fail_close(ID, failed(NOT_SENT), None)
    assert await store.exchanges() == ()


async def test_concluding_what_never_began_is_a_bug(store: Store) -> None:
    """A close that nobody began cannot be concluded, and leaves no line behind."""
    with pytest.raises(LookupError, match="begin_close comes first"):
        await store.settle_close(ID, settled(), outbound(), event())
    with pytest.raises(LookupError, match="begin_close comes first"):
        await store.fail_close(ID, failed(UNKNOWN), outbound())
    assert await store.exchanges() == ()


async def test_an_intent_outlives_the_process(database: Database) -> None:
    """An attempt that was cut off is found again as unknown by the next process, and a success as a success."""
    whole = target(session_id="session-1", game_id="game-1", clear_history=True, reason="fraud \N{SNOWMAN}")
    store = database()
    await store.open()
    await store.begin_close(ID, whole, NOW)
    await store.begin_close("settled", whole, NOW)
    await store.settle_close("settled", settled(), outbound(), None)
    await store.close()

    store = database()
    await store.open()
    assert await store.begin_close(ID, whole, NOW) == CloseRecord(ID, whole, 2, None, UNKNOWN)
    assert await store.find_close("settled") == CloseRecord("settled", whole, 1, settled(), None)
    await store.close()
