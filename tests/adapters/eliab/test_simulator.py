"""Eliab's simulator: strict about what its document requires."""

import json
from dataclasses import replace
from decimal import Decimal

import pytest

from adapters.contract import Account, Closed, CloseSession, Device, HttpReply, HttpRequest, Outcome
from adapters.eliab import ADAPTER, EliabSettings
from adapters.eliab.simulator import SIMULATOR, State
from adapters.simulation import Delivery, Expire, NotInThisDialect, PlayerSession, Win
from tests.adapters.eliab.messages import ACCOUNT, ATTEMPT

SESSIONS = (PlayerSession("s-1", "u-1", "g"), PlayerSession("c951985e4043091155c660f11ac4c28d4", "u-1", "g"))
REQUEST = HttpRequest(
    "POST",
    "/v1.0/session/close",
    headers=(
        ("Content-Type", "application/json; multipart/form-data;"),
        ("Authorization", "Basic t0ken"),
        ("Sessionid", "s-1"),
    ),
    body=b'{"requestContent":{}}',
)


def _start(account: Account[EliabSettings] = ACCOUNT) -> State:
    return SIMULATOR.start(account, SESSIONS)


def _info(reply: HttpReply) -> dict[str, str]:
    """The Info object of an answer, which is printed with the document's trailing comma."""
    text = reply.body.decode()
    assert text.endswith("},\n}")
    answer = json.loads(text.removesuffix(",\n}") + "}")
    assert answer.keys() == {"info"}
    assert answer["info"].keys() == {"type", "title", "message", "sessionId"}
    info: dict[str, str] = answer["info"]
    return info


def _with(name: str, value: str | None) -> HttpRequest:
    others = tuple(header for header in REQUEST.headers if header[0].lower() != name.lower())
    return replace(REQUEST, headers=others if value is None else (*others, (name, value)))


def test_the_tables_are_the_documents() -> None:
    """Required and optional, headers and body, as in the document's RULE column."""
    assert SIMULATOR.required == {"close_session": {"Content-Type", "Authorization", "SessionID", "requestContent"}}
    assert SIMULATOR.optional == {"close_session": {"OS", "AppVersion"}}


@pytest.mark.parametrize("device", [Device(), Device("Android 14", "1.0.10")])
def test_it_understands_our_encoder_and_we_its_answer(device: Device) -> None:
    """A close travels there and back; the second time the session is no longer active."""
    call = ADAPTER.close_session
    assert call is not None
    state = _start()
    for outcome in (Outcome.CLOSED, Outcome.NO_ACTIVE_SESSION):
        state, reply = SIMULATOR.answer(state, call.encode(ACCOUNT, CloseSession("u-1", "s-1", device=device), ATTEMPT))
        decoded = call.decode(ACCOUNT, reply)
        assert isinstance(decoded, Closed)
        assert decoded.outcome == outcome
        assert SIMULATOR.open_sessions(state) == SESSIONS[1:]


def test_success_is_printed_as_in_the_document() -> None:
    """Spaces, comma and shortened session id included."""
    _, reply = SIMULATOR.answer(_start(), _with("SessionID", SESSIONS[1].session_id))
    assert reply.status == 200
    assert reply.body.decode() == (
        '{\n    "info": {\n        "type": "success",\n        "title": "Session closed!",\n'
        '        "message": "The session has been closed successfully!",\n'
        '        "sessionId": "c951985e4043091155c660f11a..."\n    },\n}'
    )


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        *((_with(name, None), 400) for name in ("Content-Type", "Authorization", "SessionID")),
        *((_with(name, ""), 400) for name in ("Content-Type", "Authorization", "SessionID")),
        (_with("Content-Type", "application/json"), 400),
        (_with("Content-Type", "application/json; multipart/form-data"), 400),
        (replace(REQUEST, headers=(*REQUEST.headers, ("SessionID", "s-1"))), 400),
        (replace(REQUEST, headers=(*REQUEST.headers, ("OS", "a"), ("os", "b"))), 400),
        *((_with("OS", value), 400) for value in ("", " x", "\u732b")),
        *((_with("AppVersion", value), 400) for value in ("", "1.0", "1.0.0-rc1", "x.y.z")),
        *((_with("Authorization", value), 401) for value in ("Basic other", "Bearer t0ken", "t0ken", "Basic ")),
        (_with("Authorization", "Basic Basic t0ken"), 401),
        (_with("SessionID", "s-9"), 404),
        (replace(REQUEST, query=(("a", "b"),)), 400),
        *(
            (replace(REQUEST, body=body), 400)
            for body in (
                *(
                    b"",
                    b"{}",
                    b"{",
                    b"\xff",
                    b"[]",
                    b"[" * 100_000,
                    b'{"requestContent":[]}',
                    b'[["requestContent",{}]]',
                ),
                *(b'{"requestContent":{"a":1}}', b'{"requestContent":null}', b'{"requestContent":{},"a":1}'),
                b'{"requestContent":{},"requestContent":{}}',
            )
        ),
    ],
)
def test_it_refuses_what_the_document_does_not_allow(request_: HttpRequest, status: int) -> None:
    """Each wrong header or body earns its status with an Info object, and closes nothing."""
    state, reply = SIMULATOR.answer(_start(), request_)
    assert reply.status == status
    assert _info(reply)["type"] == "error"
    assert SIMULATOR.open_sessions(state) == SESSIONS


@pytest.mark.parametrize(("method", "path"), [("GET", REQUEST.path), ("POST", "/v1.0/session"), ("POST", "/")])
def test_elsewhere_it_is_a_plain_web_server(method: str, path: str) -> None:
    """Another method or path is 404 without an Info object."""
    _, reply = SIMULATOR.answer(_start(), replace(REQUEST, method=method, path=path))
    assert (reply.status, reply.body) == (404, b"Not Found\n")


def test_without_a_token_of_its_own_it_takes_any() -> None:
    """It still wants the word Basic and something after it."""
    state = _start(replace(ACCOUNT, token=None))
    assert SIMULATOR.answer(state, _with("Authorization", "Basic any"))[1].status == 200
    assert SIMULATOR.answer(state, _with("Authorization", "Basic "))[1].status == 401


@pytest.mark.parametrize(
    ("code", "status", "kind", "closes"),
    [
        ("500", 500, "error", False),
        ("404", 404, "error", False),
        ("error", 200, "error", False),
        ("warning", 200, "warning", True),
        ("info", 200, "info", True),
    ],
)
def test_it_fails_on_demand(code: str, status: int, kind: str, closes: bool) -> None:
    """A status or a type of Info for every well-formed request, until it is stopped; only an error closes nothing."""
    state, reply = SIMULATOR.answer(SIMULATOR.fail_with(_start(), code), REQUEST)
    assert (reply.status, _info(reply)["type"]) == (status, kind)
    assert SIMULATOR.open_sessions(state) == (SESSIONS[1:] if closes else SESSIONS)
    assert SIMULATOR.answer(SIMULATOR.fail_with(state, code), replace(REQUEST, body=b""))[1].status == 400
    assert SIMULATOR.answer(SIMULATOR.fail_with(_start(), ""), REQUEST)[1].status == 200


@pytest.mark.parametrize("code", ["200", "17", "done", "5000"])
def test_only_codes_of_the_dialect_can_be_asked_for(code: str) -> None:
    """A code that Eliab cannot answer is a ValueError."""
    with pytest.raises(ValueError, match="no code of this dialect"):
        SIMULATOR.fail_with(_start(), code)


def test_it_sends_no_callbacks() -> None:
    """The document has no callback: each event raises NotInThisDialect."""
    state = _start()
    for event in (Expire("s-1"), Win("s-1", "r", "ref", "USD", Decimal(1))):
        with pytest.raises(NotInThisDialect):
            SIMULATOR.emit(state, event, ATTEMPT)
    assert SIMULATOR.pending(state) == ()
    assert SIMULATOR.on_reply(state, Delivery(1, REQUEST), None) == state


def test_the_state_does_not_show_the_token() -> None:
    """The state may be printed."""
    assert "t0ken" not in repr(_start())
