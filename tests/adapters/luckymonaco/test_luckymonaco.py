"""What is specific to LuckyMonaco: version V4, and a round's history that can be cleared."""

import json

import pytest

from adapters.contract import CloseSession, Result, SensitiveFields, SessionExpired, Unsupported
from adapters.luckymonaco import ADAPTER
from tests.adapters.luckymonaco_common.messages import ACCOUNT, ATTEMPT

CALL = ADAPTER.close_session


def test_its_declarations() -> None:
    """Name, masked fields, callbacks and capabilities are declared."""
    assert ADAPTER.name == "luckymonaco"
    assert ADAPTER.masked == SensitiveFields(fields=frozenset({"token"}))
    notifications = {path: callback.notification for path, callback in ADAPTER.callbacks.items()}
    assert notifications == {"V4/SessionExpired": SessionExpired, "V4/Result": Result}
    assert {callback.method for callback in ADAPTER.callbacks.values()} == {"POST"}
    assert CALL is not None
    assert CALL.required_fields == {"token"}
    assert CALL.optional_fields == {"game_id", "clear_history"}
    assert CALL.ends_all_sessions


@pytest.mark.parametrize(("clear_history", "sent"), [(False, "0"), (True, "1")])
def test_clear_history_is_always_sent_as_a_number(clear_history: bool, sent: str) -> None:
    """0 or 1, as in the example, and after userId."""
    assert CALL is not None
    request = CALL.encode(ACCOUNT, CloseSession("u", clear_history=clear_history), ATTEMPT)
    assert f'"userId":"u","clearHistory":{sent},"token"' in request.body.decode()
    assert type(json.loads(request.body)["clearHistory"]) is int


def test_a_session_is_not_closed_by_closing_more() -> None:
    """A session_id is refused as unsupported, since the dialect closes by player."""
    assert CALL is not None
    with pytest.raises(Unsupported) as refused:
        CALL.encode(ACCOUNT, CloseSession("u", session_id="s"), ATTEMPT)
    assert refused.value.field == "session_id"
