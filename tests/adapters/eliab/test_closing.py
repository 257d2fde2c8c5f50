"""Eliab's close: headers exactly as its document wants them, and every answer's meaning."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.contract import (
    Account,
    Closed,
    CloseSession,
    Device,
    FieldInvalid,
    HttpReply,
    HttpRequest,
    Outcome,
    ProviderRefused,
    RefusalKind,
    Secret,
    SensitiveFields,
    Unsupported,
)
from adapters.eliab import ADAPTER, EliabSettings
from tests.adapters.eliab.messages import ACCOUNT, ATTEMPT

INFO = {"type": "success", "title": "Closed", "message": "Done", "sessionId": "s-1"}
_VISIBLE = st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), min_size=1, max_size=255)


def _encode(asked: CloseSession, account: Account[EliabSettings] = ACCOUNT) -> HttpRequest:
    assert ADAPTER.close_session is not None
    return ADAPTER.close_session.encode(account, asked, ATTEMPT)


def _decode(reply: HttpReply) -> Closed | ProviderRefused:
    assert ADAPTER.close_session is not None
    try:
        return ADAPTER.close_session.decode(ACCOUNT, reply)
    except ProviderRefused as refused:
        return refused


def _meaning(body: object, status: int = 200) -> Outcome | RefusalKind:
    written = body if isinstance(body, bytes) else json.dumps(body).encode()
    decoded = _decode(HttpReply(status, body=written))
    return decoded.outcome if isinstance(decoded, Closed) else decoded.kind


def test_its_declarations() -> None:
    """Name, secrets and capabilities; it has no callbacks and no warning."""
    assert ADAPTER.name == "eliab"
    assert ADAPTER.masked == SensitiveFields(headers=frozenset({"authorization"}))
    assert not ADAPTER.callbacks
    call = ADAPTER.close_session
    assert call is not None
    assert call.required_fields == {"session_id", "token"}
    assert call.optional_fields == {"device"}
    assert (call.ends_all_sessions, call.warning) == (False, "")


# --- The request ------------------------------------------------------------------------------------------------------


@given(session_id=_VISIBLE, token=_VISIBLE)
def test_visible_ascii_travels_as_it_is(session_id: str, token: str) -> None:
    """Session id and token go into their headers unchanged, after exactly one Basic; the user is not sent."""
    request = _encode(CloseSession("nobody-sees-me", session_id, token=Secret(token)))
    assert request.headers == (
        ("Content-Type", "application/json; multipart/form-data;"),
        ("Authorization", f"Basic {token}"),
        ("SessionID", session_id),
    )
    assert (request.method, request.path, request.query) == ("POST", "/v1.0/session/close", ())
    assert request.body == b'{"requestContent":{}}'


@pytest.mark.parametrize(
    ("device", "headers"),
    [
        (Device(), ()),
        (Device(os="Android"), (("OS", "Android"),)),
        (Device(os="iOS 17 (beta)"), (("OS", "iOS 17 (beta)"),)),
        (Device(app_version="1.0.10"), (("AppVersion", "1.0.10"),)),
        (Device("Android", "0.0.0"), (("OS", "Android"), ("AppVersion", "0.0.0"))),
    ],
)
def test_the_device_travels_where_it_is_given(device: Device, headers: tuple[tuple[str, str], ...]) -> None:
    """OS and AppVersion are optional, each by itself."""
    assert _encode(CloseSession("u", "s-1", device=device)).headers[3:] == headers


@pytest.mark.parametrize(
    ("asked", "field"),
    [
        (CloseSession("u", "s-1", game_id="g"), "game_id"),
        (CloseSession("u", "s-1", clear_history=True), "clear_history"),
        (CloseSession("u", game_id="g"), "game_id"),
    ],
)
def test_fields_that_it_cannot_express_are_refused(asked: CloseSession, field: str) -> None:
    """game_id and clear_history are refused as unsupported, before any field that the caller can fix."""
    with pytest.raises(Unsupported) as refused:
        _encode(asked)
    assert refused.value.field == field


_NOT_VISIBLE = ["a b", " a", "a ", "a\n", "a\r\nOS: x", "a\x00", "a\x7f", "s\u00e9ance", "\u732b", "\ud800"]


@pytest.mark.parametrize(
    ("asked", "field"),
    [
        *((CloseSession("u", value), "session_id") for value in ["", *_NOT_VISIBLE]),
        *((CloseSession("u", "s-1", token=Secret(value)), "token") for value in _NOT_VISIBLE),
        (CloseSession("u", "s-1", token=Secret("Basic s3cr3t")), "token"),
        *(
            (CloseSession("u", "s-1", device=Device(os=value)), "device.os")
            for value in (" a", "a ", " ", "a\n", "a\tb", "a\r\nX: y", "\u732b")
        ),
        *(
            (CloseSession("u", "s-1", device=Device(app_version=value)), "device.app_version")
            for value in ("1", "1.0", "1.0.0.0", "v1.0.0", "1.0.0-rc1", "01.0.0", "1.0.x", "1.0.0\n", "1.\u0661.0", " ")
        ),
    ],
)
def test_a_field_that_cannot_be_a_header_is_rejected(asked: CloseSession, field: str) -> None:
    """Nothing that could break a header, or be read as another version, is sent; and no token shows."""
    with pytest.raises(FieldInvalid) as refused:
        _encode(asked)
    assert refused.value.field == field
    assert "s3cr3t" not in str(refused.value)


@pytest.mark.parametrize(
    ("given_token", "configured", "sent"),
    [("theirs", "ours", "theirs"), (None, "ours", "ours"), ("", "ours", "ours"), ("theirs", None, "theirs")],
)
def test_the_callers_token_goes_before_the_configured_one(
    given_token: str | None, configured: str | None, sent: str
) -> None:
    """The caller may give a token; the configuration holds the default."""
    account = Account("p", EliabSettings(), None if configured is None else Secret(configured))
    token = None if given_token is None else Secret(given_token)
    assert _encode(CloseSession("u", "s-1", token=token), account).header("Authorization") == f"Basic {sent}"


@pytest.mark.parametrize("token", [None, Secret("")])
def test_a_call_without_any_token_is_rejected(token: Secret | None) -> None:
    """The document requires an access token."""
    with pytest.raises(FieldInvalid) as refused:
        _encode(CloseSession("u", "s-1"), Account("p", EliabSettings(), token))
    assert refused.value.field == "token"


# --- The answer -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("statuses", "kind", "meaning"),
    [
        ([200], "success", Outcome.CLOSED),
        ([200], "info", Outcome.CLOSED),
        ([200], "warning", Outcome.CLOSED),
        ([200], "error", RefusalKind.REFUSED_UNLISTED),
        ([404, 410], "error", Outcome.NO_ACTIVE_SESSION),
        ([404, 410], "info", Outcome.NO_ACTIVE_SESSION),
        ([400, 402, 405, 409, 418, 422, 499], "error", RefusalKind.REFUSED),
        ([400, 422], "success", RefusalKind.REFUSED),
        ([401, 403], "error", RefusalKind.CREDENTIALS_REJECTED),
        ([429], "error", RefusalKind.THROTTLED),
        ([500, 502, 503, 599], "success", RefusalKind.FAILED),
        ([100, 201, 202, 204, 206, 301, 302, 304, 307], "success", RefusalKind.MALFORMED),
    ],
)
def test_status_and_type_have_their_meaning(statuses: list[int], kind: str, meaning: Outcome | RefusalKind) -> None:
    """Each status and type has its documented meaning, or our reading where the document has none."""
    assert {_meaning({"info": {**INFO, "type": kind}}, status) for status in statuses} == {meaning}


@pytest.mark.parametrize(
    "body",
    [
        *(b"", b"{}", b"null", b"[]", b"<html>", b"\xff", b"[" * 1_000_000, b'{"info":null}', b'{"info":[]}', b"{,}"),
        *({"info": {name: text for name, text in INFO.items() if name != absent}} for absent in INFO),
        *({"info": {**INFO, name: None}} for name in INFO),
        *({"info": {**INFO, name: 5}} for name in INFO),
        *({"info": {**INFO, name: {}}} for name in INFO),
        *({"info": {**INFO, "type": kind}} for kind in ("", "Success", "done", "success ")),
        {"Info": INFO},
        [{"info": INFO}],
        b'{"info":' + json.dumps(INFO).encode() + b',"x":NaN}',
        b'{"info":' + json.dumps(INFO).encode() + b',"info":{}}',
        b'{"info":{"type":"error",' + json.dumps(INFO)[1:].encode() + b"}",
    ],
)
def test_without_an_info_object_it_is_not_the_dialect(body: Any) -> None:
    """Every member of Info is required, a text, and there once; a 404 in other words closes nothing."""
    assert {_meaning(body, status) for status in (200, 400, 404, 410, 422)} == {RefusalKind.MALFORMED}


def test_a_byte_order_mark_is_no_part_of_the_answer() -> None:
    """What is readable without it closes with it."""
    assert _meaning(b'\xef\xbb\xbf{"info":' + json.dumps(INFO).encode() + b"}", 200) is Outcome.CLOSED


def test_more_members_are_tolerated() -> None:
    """A vendor may add members, and empty texts are texts."""
    info = {"type": "success", "title": "", "message": "", "sessionId": "", "more": {"deep": [1]}}
    assert _meaning({"info": info, "took": 10**30}) == Outcome.CLOSED


_INFO = json.dumps(INFO)


@pytest.mark.parametrize(
    ("body", "meaning"),
    [
        (f'{{"info":{_INFO},}}', Outcome.CLOSED),
        (f'{{\n    "info": {_INFO}\t,\r\n}}\n', Outcome.CLOSED),
        (f'{{"info":{_INFO},"more":1 }}', Outcome.CLOSED),
        (f'{{"info":{_INFO},', RefusalKind.MALFORMED),
        (f'{{"info":{_INFO},,}}', RefusalKind.MALFORMED),
        (f'{{"info":{_INFO},"more":[{"1," * 2000}1]}}', RefusalKind.MALFORMED),
        (f'{{"info":{_INFO},"more":1,}}', RefusalKind.MALFORMED),
        (f'{{"info":{_INFO},}},', RefusalKind.MALFORMED),
        (f'{{"info":{_INFO[:-1]},}}}}', RefusalKind.MALFORMED),
        (f'{{"info":{_INFO[:-1]},}},}}', RefusalKind.MALFORMED),
        (f'{{"info":{_INFO},"more":{{}},}}', RefusalKind.MALFORMED),
        (f'{{"more":{{}},"info":{_INFO},}}', RefusalKind.MALFORMED),
        (f'{{"info":{_INFO},"info":{_INFO},}}', RefusalKind.MALFORMED),
        (f'{{,"info":{_INFO}}}', RefusalKind.MALFORMED),
        (f'{{"info":{_INFO},/**/}}', RefusalKind.MALFORMED),
        (f'{{"info":{_INFO},\u00a0}}', RefusalKind.MALFORMED),
        (f'{{"info":{_INFO}}},}}', RefusalKind.MALFORMED),
        (f'[{{"info":{_INFO}}},]', RefusalKind.MALFORMED),
    ],
)
def test_one_comma_and_nothing_looser(body: str, meaning: Outcome | RefusalKind) -> None:
    """The one trailing comma of the document, at its place in an answer of its members, and no other."""
    assert _meaning(body.encode()) == meaning


@pytest.mark.parametrize(
    ("status", "body", "code", "description"),
    [
        (200, {"info": INFO}, "success", "Closed: Done"),
        (404, {"info": INFO}, "404", "Closed: Done"),
        (500, {"info": INFO}, "500", "Closed: Done"),
        (500, b"", "500", ""),
        (200, b"", "200", ""),
        (400, {"info": {**INFO, "message": "bad t0ken\n"}}, "400", "Closed: bad ***"),
    ],
)
def test_the_answer_is_kept_in_the_providers_words(status: int, body: Any, code: str, description: str) -> None:
    """The code is the type for 200 and else the status; the words are title and message, without our token."""
    written = body if isinstance(body, bytes) else json.dumps(body).encode()
    answer = _decode(HttpReply(status, body=written)).answer
    assert (answer.code, answer.description, answer.http_status) == (code, description, status)


@given(
    st.integers(100, 599),
    st.binary(max_size=80)
    | st.dictionaries(st.text(), st.text() | st.dictionaries(st.text(), st.text())).map(
        lambda m: json.dumps(m).encode()
    ),
)
def test_decode_never_raises_anything_else(status: int, body: bytes) -> None:
    """Every answer is a close or a refusal, and every refusal has a message."""
    decoded = _decode(HttpReply(status, body=body))
    assert isinstance(decoded, Closed) or decoded.message
