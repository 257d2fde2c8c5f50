"""Closures: an intent is durable before its attempt, a success is kept permanently, doubt is never forgotten."""

from datetime import timedelta
from typing import Any

import pytest

from adapters.contract import Certainty, Outcome, ProviderAnswer
from gateway.store.base import ContentDiffers, Store
from gateway.store.models import THE_GATEWAY, CloseRecord, EventType
from gateway.store.reconciliation import ItemFilter, ReconciliationKind, Resolution
from tests.gateway.store.conftest import Database
from tests.gateway.store.samples import (
    NOW,
    event,
    failed,
    open_items,
    outbound,
    published_events,
    settled,
    target,
    unknown_close,
)
from tests.support.actors import ADA

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
    assert len(await published_events(store)) == 1
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
    """Unknown once is unknown permanently; a refusal outweighs an attempt that was never sent."""
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


# --- Items for an operator ---------------------------------------------------------------------------------------


async def resolutions(store: Store) -> list[tuple[str, str]]:
    """Of the items that are settled: whose they are, and why."""
    return [
        (each.reference, each.resolution.reason)
        for each in (await store.items(ItemFilter(resolved=True))).entries
        if each.resolution is not None
    ]


async def test_an_unknown_outcome_is_an_item(store: Store) -> None:
    """An unknown failure keeps its item once; one that is known to have changed nothing keeps none."""
    await store.begin_close(ID, target(), NOW)
    await store.fail_close(ID, failed(REFUSED), outbound(), unknown_close(ID))
    assert await open_items(store) == ()
    line, first = outbound(), unknown_close(ID, exchange_id="exchange-1")
    for found in (first, unknown_close(ID, detail="again")):
        await store.begin_close(ID, target(), NOW)
        await store.fail_close(ID, failed(UNKNOWN), line, found)
    assert await open_items(store) == (first,)


async def test_a_success_settles_the_item(store: Store) -> None:
    """Once the close has succeeded everybody knows; the item of another request stays open."""
    for request_id in (ID, "another"):
        await store.begin_close(request_id, target(), NOW)
        await store.fail_close(request_id, failed(UNKNOWN), outbound(), unknown_close(request_id))
    await store.begin_close(ID, target(), NOW)
    ended = NOW + timedelta(seconds=1)
    await store.settle_close(ID, settled(), outbound(ended_at=ended), None)
    assert [each.reference for each in await open_items(store)] == ["another"]
    (closed,) = (await store.items(ItemFilter(resolved=True))).entries
    assert closed.resolution == Resolution(ended, THE_GATEWAY, "closed")


async def test_a_late_conclusion_settles_the_item(store: Store) -> None:
    """An attempt that was taken for cut off and is concluded after all, without doubt, needs nobody."""
    await store.begin_close(ID, target(), NOW)
    assert await store.report_abandoned(timedelta(0), LATER) == 1
    await store.fail_close(ID, failed(NOT_SENT), None)
    assert await open_items(store) == ()
    assert await resolutions(store) == [(ID, "concluded")]


async def test_doubt_of_before_keeps_the_item_open(store: Store) -> None:
    """A plain refusal does not settle the doubt of an attempt before it."""
    await store.begin_close(ID, target(), NOW)
    await store.fail_close(ID, failed(UNKNOWN), outbound(), unknown_close(ID))
    await store.begin_close(ID, target(), NOW)
    await store.fail_close(ID, failed(REFUSED), outbound())
    assert [each.reference for each in await open_items(store)] == [ID]


LATER = NOW + timedelta(minutes=5)


async def test_an_abandoned_attempt_is_reported_once(store: Store) -> None:
    """Of the attempts begun, those that are old enough and were never concluded are an item each."""
    for request_id in ("cut-off", "refused", "settled"):
        await store.begin_close(request_id, target(), NOW)
    await store.fail_close("refused", failed(REFUSED), outbound())
    await store.settle_close("settled", settled(), outbound(), None)

    assert await store.report_abandoned(timedelta(minutes=5), LATER) == 0
    assert await store.report_abandoned(timedelta(0), LATER) == 1
    assert await store.report_abandoned(timedelta(0), LATER) == 0
    (found,) = await open_items(store)
    assert (found.kind, found.fault, found.reference) == (ReconciliationKind.CLOSE_UNKNOWN, "CLOSE_UNKNOWN", "cut-off")
    assert (found.provider, found.user_id, found.created_at) == ("acme", "player-1", LATER)


async def test_an_attempt_is_as_old_as_its_own_beginning(store: Store) -> None:
    """A second attempt that has just begun is not taken for abandoned because the closure is old."""
    await store.begin_close(ID, target(), NOW)
    await store.fail_close(ID, failed(REFUSED), outbound())
    await store.begin_close(ID, target(), LATER)
    assert await store.report_abandoned(timedelta(minutes=1), LATER) == 0


async def test_an_abandoned_attempt_of_which_an_item_is_kept(store: Store) -> None:
    """Where an earlier attempt has an item already, none is added, also where an operator resolved it."""
    await store.begin_close(ID, target(), NOW)
    await store.fail_close(ID, failed(UNKNOWN), outbound(), kept := unknown_close(ID))
    await store.begin_close(ID, target(), NOW)
    assert await store.report_abandoned(timedelta(0), LATER) == 0
    await store.resolve_item(kept.id, ADA, "asked the provider", NOW)
    assert await store.report_abandoned(timedelta(0), LATER) == 0
    assert await open_items(store) == ()


async def test_what_the_gateway_settled_is_reported_again(store: Store) -> None:
    """A doubt that was concluded does not hide the next one of the same request."""
    await store.begin_close(ID, target(), NOW)
    assert await store.report_abandoned(timedelta(0), LATER) == 1
    await store.fail_close(ID, failed(NOT_SENT), None)
    await store.begin_close(ID, target(), LATER)
    assert await store.report_abandoned(timedelta(0), LATER + timedelta(seconds=1)) == 1
    assert [each.reference for each in await open_items(store)] == [ID]
