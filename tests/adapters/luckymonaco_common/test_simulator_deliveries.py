"""The callbacks of the family's simulators, and their retransmission."""

import json
from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.contract import (
    Accepted,
    Adapter,
    CallbackAnswer,
    CallbackFault,
    Credited,
    HttpReply,
    PromoPrize,
    Rejected,
    Result,
    SessionExpired,
)
from adapters.kyren.simulator import SIMULATOR as KYREN_SIMULATOR
from adapters.luckymonaco.simulator import SIMULATOR as LUCKYMONACO_SIMULATOR
from adapters.luckymonaco_common.replies import encode_reply
from adapters.luckymonaco_common.settings import FamilySettings
from adapters.luckymonaco_common.simulator import State
from adapters.simulation import Delivery, Expire, Simulator, Win
from tests.adapters.luckymonaco_common.messages import ACCOUNT, ATTEMPT
from tests.adapters.luckymonaco_common.simulated import REQUIRED, SESSIONS, close_posted, members

WIN = Win("s-1", "r-1", "ref-1", "USD", Decimal("10.0"))


@members
def test_its_callbacks_are_decoded(adapter: Adapter[FamilySettings], simulator: Simulator[State], version: str) -> None:
    """An expiry and a win are sent to the document's paths and are decoded as the events, credentials included."""
    provider = "luckymonaco" if version == "V4" else "kyren"
    account = replace(ACCOUNT, settings=FamilySettings(secure_login="partner", verify_token=True))
    state = simulator.start(account, SESSIONS)
    state = simulator.emit(state, Expire("s-2"), ATTEMPT)
    state = simulator.emit(state, replace(WIN, promo=PromoPrize(Decimal("2.50"), "p-1")), ATTEMPT)
    assert [session.session_id for session in simulator.open_sessions(state)] == ["s-1", "s-3"]
    expired, won = (delivery.request for delivery in simulator.pending(state))
    assert (expired.path, won.path) == (f"/{version}/SessionExpired", f"/{version}/Result")
    assert adapter.callbacks[expired.path[1:]].decode(account, expired) == SessionExpired(provider, "s-2", "u-1")
    assert adapter.callbacks[won.path[1:]].decode(account, won) == Result(
        reference="ref-1",
        user_id="u-1",
        currency="USD",
        amount=Decimal("10.0"),
        round_id="r-1",
        game_id="g_1_fortune",
        provider_id=provider,
        session_id="s-1" if version == "v1" else "",
        promo=PromoPrize(Decimal("2.50"), "p-1"),
    )


@members
def test_its_callbacks_have_what_the_table_requires(adapter: Any, simulator: Simulator[State], version: str) -> None:
    """Every required parameter is there, the round by the example's spelling, and none that the table does not know."""
    state = simulator.start(replace(ACCOUNT, token=None), SESSIONS)
    for event in (Expire("s-1"), WIN):
        state = simulator.emit(state, event, ATTEMPT)
    for delivery in simulator.pending(state):
        names = {"roundId" if name == "roundid" else name for name in json.loads(delivery.request.body)}
        operation = delivery.request.path[1:]
        assert simulator.required[operation] <= names
        assert names <= simulator.required[operation] | simulator.optional[operation]


def test_a_win_has_the_examples_form() -> None:
    """Auto Closing's example, member by member in its order, the amount's digits as they were."""
    state = LUCKYMONACO_SIMULATOR.start(ACCOUNT, SESSIONS)
    (delivery,) = LUCKYMONACO_SIMULATOR.pending(LUCKYMONACO_SIMULATOR.emit(state, WIN, ATTEMPT))
    assert json.loads(delivery.request.body, object_pairs_hook=list, parse_float=str) == [
        ("providerId", "luckymonaco"),
        ("userId", "u-1"),
        ("currency", "USD"),
        ("amount", "10.0"),
        ("roundDetails", "spin"),
        ("roundid", "r-1"),
        ("reference", "ref-1"),
        ("gameId", "g_1_fortune"),
        ("gameName", "fortune"),
        ("uuid", ATTEMPT.uuid),
        ("timestamp", "1793491200000"),
    ]


@members
def test_a_closed_session_still_wins_and_an_unknown_one_never(
    adapter: Any, simulator: Simulator[State], version: str
) -> None:
    """An unfinished round outlives its session; a session that never was is a KeyError."""
    state, _ = simulator.answer(simulator.start(ACCOUNT, SESSIONS), close_posted(version, REQUIRED))
    assert len(simulator.pending(simulator.emit(state, WIN, ATTEMPT))) == 1
    with pytest.raises(KeyError):
        simulator.emit(state, Expire("s-9"), ATTEMPT)


# --- Retransmission ---------------------------------------------------------------------------------------------------


def _answered(answer: CallbackAnswer) -> HttpReply:
    return encode_reply(ACCOUNT, answer)


def _json(**members: Any) -> HttpReply:
    return HttpReply(200, body=json.dumps(members).encode())


CREDITED = _answered(Credited("t-1", "USD", Decimal("1.5"), Decimal(0)))
TEMPORARY = [
    None,
    HttpReply(503),
    replace(CREDITED, status=201),
    HttpReply(200),
    HttpReply(200, body=b"{"),
    HttpReply(200, body=b"[]"),
    HttpReply(200, body=b"[" * 100_000),
    _json(),
    _json(error=None),
    _json(error=False),
    _answered(Accepted()),
    _json(error=0, transactionId="t", currency="USD"),
    _json(error=0, transactionId="", currency="USD", cash=1),
    _json(error=0, transactionId="t", currency="USD", cash="1"),
    _json(error=0, transactionId="t", currency="USD", cash=True),
    _json(error=0, transactionId="t", cash=1),
]


def _tries(event: Expire | Win, reply: Callable[[int], HttpReply | None]) -> int:
    """How often it sends, with this reply each time."""
    simulator = LUCKYMONACO_SIMULATOR
    state = simulator.emit(simulator.start(ACCOUNT, SESSIONS), event, ATTEMPT)
    sent = 0
    while simulator.pending(state):
        (delivery,) = simulator.pending(state)
        assert delivery.tries == sent
        state = simulator.on_reply(state, delivery, reply(sent))
        sent += 1
    return sent


@pytest.mark.parametrize("reply", TEMPORARY)
def test_without_a_usable_answer_it_tries_ten_times(reply: HttpReply | None) -> None:
    """No answer, another status, an unreadable body, or a success without its required fields: ten times."""
    assert _tries(WIN, lambda _: reply) == 10


FINAL = (CallbackFault.REFERENCE_REUSED, CallbackFault.AMOUNT_ABOVE_LIMIT)


@pytest.mark.parametrize("fault", [fault for fault in CallbackFault if fault not in FINAL])
def test_refused_it_tries_three_times(fault: CallbackFault) -> None:
    """An error answer is tried again, three times in all."""
    assert _tries(WIN, lambda _: _answered(Rejected(fault))) == 3
    assert _tries(Expire("s-1"), lambda _: _answered(Rejected(fault))) == 3


@pytest.mark.parametrize("reply", [*(_answered(Rejected(fault)) for fault in FINAL), _json(error="15"), CREDITED])
def test_a_final_answer_settles_it(reply: HttpReply) -> None:
    """15, 999 and success are not tried again."""
    assert _tries(WIN, lambda _: reply) == 1


def test_an_accepted_expiry_settles_it() -> None:
    """SessionExpired needs no more than the code, as number or as text."""
    assert _tries(Expire("s-1"), lambda _: _answered(Accepted())) == 1
    assert _tries(Expire("s-1"), lambda _: _json(error="0")) == 1


def test_missing_replies_and_refusals_are_counted_separately() -> None:
    """Three refusals end it whenever they come, and ten tries end it in any case."""
    refusal = _answered(Rejected(CallbackFault.TRY_AGAIN))
    assert _tries(WIN, lambda sent: None if sent < 5 else refusal) == 8
    assert _tries(WIN, lambda sent: refusal if sent in {0, 8} else None) == 10


@given(st.lists(st.tuples(st.integers(0, 3), st.sampled_from([None, CREDITED, HttpReply(500)])), max_size=25))
def test_the_queue_keeps_its_order_and_loses_nothing(replies: list[tuple[int, HttpReply | None]]) -> None:
    """After any replies, in any order and repeated, pending deliveries stay oldest first and only settled ones go."""
    simulator = KYREN_SIMULATOR
    state = simulator.start(ACCOUNT, SESSIONS)
    for number in range(4):
        state = simulator.emit(state, replace(WIN, reference=f"ref-{number}"), ATTEMPT)
    all_of_them = simulator.pending(state)
    settled: set[int] = set()
    tries = dict.fromkeys((delivery.id for delivery in all_of_them), 0)
    for index, reply in replies:
        delivery: Delivery = all_of_them[index]
        state = simulator.on_reply(state, delivery, reply)
        tries[delivery.id] += 1
        if reply is CREDITED or tries[delivery.id] == 10:
            settled.add(delivery.id)
        pending = [delivery.id for delivery in simulator.pending(state)]
        assert pending == [delivery.id for delivery in all_of_them if delivery.id not in settled]
