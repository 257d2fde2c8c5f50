"""The family's simulators enforce what the documents require."""

import json
from dataclasses import replace
from typing import Any

import pytest

from adapters.contract import (
    Adapter,
    Closed,
    CloseSession,
    HttpReply,
    Outcome,
)
from adapters.kyren.simulator import SIMULATOR as KYREN_SIMULATOR
from adapters.luckymonaco.simulator import SIMULATOR as LUCKYMONACO_SIMULATOR
from adapters.luckymonaco_common.settings import FamilySettings
from adapters.luckymonaco_common.simulator import REMEMBERED_UUIDS, State
from adapters.simulation import Expire, Simulator
from tests.adapters.luckymonaco_common.messages import ACCOUNT, ATTEMPT
from tests.adapters.luckymonaco_common.simulated import REQUIRED, SESSIONS, close_posted, members


def _code_and_description(reply: HttpReply) -> tuple[int, str]:
    members = json.loads(reply.body)
    assert (reply.status, members.keys()) == (200, {"error", "description"})
    return members["error"], members["description"]


def _ids(simulator: Simulator[State], state: State) -> list[str]:
    return [session.session_id for session in simulator.open_sessions(state)]


# --- The documents' tables --------------------------------------------------------------------------------------------


def test_the_tables_are_luckymonacos_documents() -> None:
    """Required and optional, parameter by parameter, as in the documents' Remark columns."""
    assert LUCKYMONACO_SIMULATOR.required == {
        "close_session": {"secureLogin", "userId", "token", "uuid"},
        "V4/SessionExpired": {"secureLogin", "providerId", "sessionId", "userId", "token", "uuid"},
        "V4/Result": {
            *("uuid", "userId", "gameId", "gameName", "roundId", "amount", "reference", "currency", "providerId"),
            *("timestamp", "roundDetails"),
        },
    }
    assert LUCKYMONACO_SIMULATOR.optional == {
        "close_session": {"gameId", "clearHistory"},
        "V4/SessionExpired": set(),
        "V4/Result": {"bonusCode", "promoWinAmount", "promoWinReference", "promoCampaignID", "promoCampaignType"},
    }


def test_the_tables_are_kyrens_document_and_public_revisions() -> None:
    """Kyren's close has no clearHistory; its callbacks are LuckyMonaco's, with sessionId in Result."""
    theirs, ours = KYREN_SIMULATOR, LUCKYMONACO_SIMULATOR
    assert theirs.required == {name.replace("V4", "v1"): fields for name, fields in ours.required.items()}
    assert theirs.optional == {
        "close_session": {"gameId"},
        "v1/SessionExpired": set(),
        "v1/Result": ours.optional["V4/Result"] | {"sessionId"},
    }


# --- CloseSession -----------------------------------------------------------------------------------------------------


@members
@pytest.mark.parametrize("asked", [CloseSession("u-1"), CloseSession("u-1", game_id="g_1_fortune")])
def test_it_understands_our_encoder_and_we_its_answer(
    adapter: Adapter[FamilySettings], simulator: Simulator[State], version: str, asked: CloseSession
) -> None:
    """A close travels there and back; without a game all of the player's sessions end; the second time none is left."""
    assert adapter.close_session is not None
    state = simulator.start(ACCOUNT, SESSIONS)
    for uuid, outcome in (("a", Outcome.CLOSED), ("b", Outcome.NO_ACTIVE_SESSION)):
        request = adapter.close_session.encode(ACCOUNT, asked, replace(ATTEMPT, uuid=uuid * 32))
        state, reply = simulator.answer(state, request)
        decoded = adapter.close_session.decode(ACCOUNT, reply)
        assert isinstance(decoded, Closed)
        assert decoded.outcome == outcome
        assert _ids(simulator, state) == (["s-2", "s-3"] if asked.game_id else ["s-3"])


@members
def test_a_player_without_any_session_is_unknown(adapter: Any, simulator: Simulator[State], version: str) -> None:
    """62 for an unknown player, 17 for a player without a session in that game."""
    state = simulator.start(ACCOUNT, SESSIONS)
    assert (
        _code_and_description(simulator.answer(state, close_posted(version, {**REQUIRED, "userId": "u-9"}))[1])[0] == 62
    )
    assert (
        _code_and_description(simulator.answer(state, close_posted(version, {**REQUIRED, "gameId": "g_9"}))[1])[0] == 17
    )


@members
@pytest.mark.parametrize("name", REQUIRED)
def test_each_required_parameter_is_required(
    adapter: Any, simulator: Simulator[State], version: str, name: str
) -> None:
    """64, naming the parameter, whichever is absent, null or empty; and nothing is closed."""
    without = {key: value for key, value in REQUIRED.items() if key != name}
    for body in (without, {**REQUIRED, name: None}, {**REQUIRED, name: ""}):
        state, reply = simulator.answer(simulator.start(ACCOUNT, SESSIONS), close_posted(version, body))
        assert _code_and_description(reply) == (64, f"Empty mandatory field '{name}'")
        assert _ids(simulator, state) == ["s-1", "s-2", "s-3"]


_REFUSED: list[tuple[dict[str, Any] | bytes, int]] = [
    *(({**REQUIRED, name: 5}, 57) for name in REQUIRED),
    ({**REQUIRED, "gameId": None}, 57),
    ({**REQUIRED, "gameId": ""}, 57),
    ({**REQUIRED, "gameId": 5}, 57),
    ({**REQUIRED, "sessionId": "s-1"}, 57),
    *(({**REQUIRED, "clearHistory": value}, 57) for value in (2, -1, "0", True, 1.0, None)),
    ({**REQUIRED, "secureLogin": "somebody"}, 54),
    ({**REQUIRED, "token": "another"}, 401),
    (b"", 57),
    (b"[]", 57),
    (b"{", 57),
    (b"\xff", 57),
    (b"[" * 100_000, 57),
    (json.dumps(REQUIRED)[:-1].encode() + b',"uuid":"1"}', 57),
    (json.dumps(REQUIRED)[:-1].encode() + b',"gameId":NaN}', 57),
]


@members
@pytest.mark.parametrize(("body", "code"), _REFUSED)
def test_it_refuses_what_the_document_does_not_allow(
    adapter: Any, simulator: Simulator[State], version: str, body: dict[str, Any] | bytes, code: int
) -> None:
    """Wrong types, unknown members, bad JSON and wrong credentials earn their code, and close nothing."""
    state, reply = simulator.answer(simulator.start(ACCOUNT, SESSIONS), close_posted(version, body))
    assert _code_and_description(reply)[0] == code
    assert len(_ids(simulator, state)) == 3


@pytest.mark.parametrize("flag", [0, 1])
def test_only_luckymonaco_knows_clear_history(flag: int) -> None:
    """0 and 1 are LuckyMonaco's; to Kyren the member is unknown."""
    body = {**REQUIRED, "clearHistory": flag}
    answers = [
        simulator.answer(simulator.start(ACCOUNT, SESSIONS), close_posted(version, body))[1]
        for simulator, version in ((LUCKYMONACO_SIMULATOR, "V4"), (KYREN_SIMULATOR, "v1"))
    ]
    assert [_code_and_description(answer) for answer in answers] == [
        (0, "Success"),
        (57, "Invalid parameters: clearHistory"),
    ]


@members
@pytest.mark.parametrize(
    ("method", "path"),
    [("GET", ""), ("POST", "/CloseSession"), ("POST", "/v4/closesession"), ("POST", "/v1.0/session/close")],
)
def test_elsewhere_it_is_a_plain_web_server(
    adapter: Any, simulator: Simulator[State], version: str, method: str, path: str
) -> None:
    """Another method or path is 404, and not in the dialect."""
    state = simulator.start(ACCOUNT, SESSIONS)
    request = close_posted(version, REQUIRED)
    after, reply = simulator.answer(state, replace(request, method=method, path=path or request.path))
    assert (reply.status, reply.header("content-type"), after) == (404, "text/plain", state)


@members
@pytest.mark.parametrize("content_type", [None, "text/json", "application/json; multipart/form-data;"])
def test_the_content_type_is_the_documents(
    adapter: Any, simulator: Simulator[State], version: str, content_type: str | None
) -> None:
    """The header is the one that the example shows."""
    headers = () if content_type is None else (("content-type", content_type),)
    request = replace(close_posted(version, REQUIRED), headers=headers)
    assert _code_and_description(simulator.answer(simulator.start(ACCOUNT, SESSIONS), request)[1])[0] == 57


@members
def test_a_query_is_not_in_the_document(adapter: Any, simulator: Simulator[State], version: str) -> None:
    """Everything travels in the body."""
    request = replace(close_posted(version, REQUIRED), query=(("userId", "u-1"),))
    assert _code_and_description(simulator.answer(simulator.start(ACCOUNT, SESSIONS), request)[1])[0] == 57


@members
def test_a_uuid_serves_once(adapter: Any, simulator: Simulator[State], version: str) -> None:
    """A second request with the same uuid is refused, whatever the first one achieved; memory is bounded."""
    state, _ = simulator.answer(
        simulator.start(ACCOUNT, SESSIONS), close_posted(version, {**REQUIRED, "userId": "u-9"})
    )
    state, reply = simulator.answer(state, close_posted(version, REQUIRED))
    assert _code_and_description(reply) == (57, "Invalid parameters: uuid was used before")
    for number in range(REMEMBERED_UUIDS + 1):
        state, _ = simulator.answer(state, close_posted(version, {**REQUIRED, "uuid": str(number)}))
    assert len(state.uuids) == REMEMBERED_UUIDS


@members
def test_without_a_token_of_its_own_it_takes_any(adapter: Any, simulator: Simulator[State], version: str) -> None:
    """It cannot know the player's token; an empty one is still missing."""
    state = simulator.start(replace(ACCOUNT, token=None), SESSIONS)
    assert (
        _code_and_description(simulator.answer(state, close_posted(version, {**REQUIRED, "token": "any"}))[1])[0] == 0
    )
    assert _code_and_description(simulator.answer(state, close_posted(version, {**REQUIRED, "token": ""}))[1])[0] == 64


@members
def test_it_fails_on_demand(adapter: Any, simulator: Simulator[State], version: str) -> None:
    """Every well-formed request gets the code that was asked for, and closes nothing, until it is stopped."""
    state = simulator.fail_with(simulator.start(ACCOUNT, SESSIONS), "998")
    state, reply = simulator.answer(state, close_posted(version, REQUIRED))
    assert _code_and_description(reply)[0] == 998
    assert len(_ids(simulator, state)) == 3
    assert _code_and_description(simulator.answer(state, close_posted(version, {}))[1])[0] == 64
    state = simulator.fail_with(state, "")
    assert _code_and_description(simulator.answer(state, close_posted(version, {**REQUIRED, "uuid": "1"}))[1])[0] == 0
    for code in ("0", "error", "-1"):
        with pytest.raises(ValueError, match="error code"):
            simulator.fail_with(state, code)


def test_neither_state_nor_delivery_shows_the_token() -> None:
    """The state may be printed."""
    state = KYREN_SIMULATOR.start(ACCOUNT, SESSIONS)
    state = KYREN_SIMULATOR.emit(state, Expire("s-1"), ATTEMPT)
    assert "t0ken" not in repr(state)
