"""What is specific to Kyren: version v1, no clearHistory, and a warning."""

import json

import pytest

from adapters.contract import CloseSession, Result, SensitiveFields, SessionExpired, Unsupported
from adapters.kyren import ADAPTER
from tests.adapters.luckymonaco_common.messages import ACCOUNT, ATTEMPT, RESULT, posted

CALL = ADAPTER.close_session


def test_its_declarations() -> None:
    """Name, masked fields, callbacks, capabilities and warning are declared."""
    assert ADAPTER.name == "kyren"
    assert ADAPTER.masked == SensitiveFields(fields=frozenset({"token"}))
    notifications = {path: callback.notification for path, callback in ADAPTER.callbacks.items()}
    assert notifications == {"v1/SessionExpired": SessionExpired, "v1/Result": Result}
    assert {callback.method for callback in ADAPTER.callbacks.values()} == {"POST"}
    assert CALL is not None
    assert CALL.required_fields == {"token"}
    assert CALL.optional_fields == {"game_id"}
    assert CALL.ends_all_sessions
    assert "normal" in CALL.warning


def test_clear_history_is_never_sent() -> None:
    """The document has no such field, not even as 0."""
    assert CALL is not None
    sent = json.loads(CALL.encode(ACCOUNT, CloseSession("u", game_id="g"), ATTEMPT).body)
    assert list(sent) == ["secureLogin", "gameId", "userId", "token", "uuid"]


@pytest.mark.parametrize(
    ("asked", "field"),
    [(CloseSession("u", session_id="s"), "session_id"), (CloseSession("u", clear_history=True), "clear_history")],
)
def test_fields_that_it_cannot_express_are_refused(asked: CloseSession, field: str) -> None:
    """clear_history and session_id are refused as unsupported: more or less than asked would be closed."""
    assert CALL is not None
    with pytest.raises(Unsupported) as refused:
        CALL.encode(ACCOUNT, asked, ATTEMPT)
    assert refused.value.field == field


def test_a_result_names_its_session() -> None:
    """sessionId is Kyren's addition to Result."""
    read = ADAPTER.callbacks["v1/Result"].decode(ACCOUNT, posted({**RESULT, "sessionId": "s-1"}))
    assert isinstance(read, Result)
    assert read.session_id == "s-1"
