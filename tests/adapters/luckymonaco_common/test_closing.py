"""CloseSession of both members: the body, and what every answer means."""

import json
from dataclasses import replace
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
    Outcome,
    ProviderRefused,
    RefusalKind,
    Secret,
)
from adapters.kyren import ADAPTER as KYREN
from adapters.luckymonaco import ADAPTER as LUCKYMONACO
from adapters.luckymonaco_common.codes import KINDS
from adapters.luckymonaco_common.settings import FamilySettings
from tests.adapters.luckymonaco_common.messages import ACCOUNT, ATTEMPT

MEMBERS = [LUCKYMONACO.close_session, KYREN.close_session]
_TEXT = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=255)


def _decode(reply: HttpReply, account: Account[FamilySettings] = ACCOUNT) -> Closed | ProviderRefused:
    assert LUCKYMONACO.close_session is not None
    try:
        return LUCKYMONACO.close_session.decode(account, reply)
    except ProviderRefused as refused:
        return refused


def _meaning(body: object, status: int = 200, account: Account[FamilySettings] = ACCOUNT) -> Outcome | RefusalKind:
    written = body if isinstance(body, bytes) else json.dumps(body).encode()
    decoded = _decode(HttpReply(status, body=written), account)
    return decoded.outcome if isinstance(decoded, Closed) else decoded.kind


# --- The request ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("call", MEMBERS)
@given(login=_TEXT, user=_TEXT, game=_TEXT, token=_TEXT)
def test_any_text_travels_as_it_is(call: Any, login: str, user: str, game: str, token: str) -> None:
    """Partner, user, game and token are arbitrary Unicode, sent as UTF-8 without escapes beyond JSON's own."""
    account = Account("p", FamilySettings(secure_login=login))
    request = call.encode(account, CloseSession(user, game_id=game, token=Secret(token)), ATTEMPT)
    sent = json.loads(request.body)
    assert (sent["secureLogin"], sent["userId"], sent["gameId"], sent["token"]) == (login, user, game, token)
    assert request.body.decode() == json.dumps(sent, ensure_ascii=False, separators=(",", ":"))


@pytest.mark.parametrize("call", MEMBERS)
def test_each_attempt_has_its_own_uuid(call: Any) -> None:
    """`uuid` is the attempt's, since the document wants one for each HTTP request."""
    sent = [call.encode(ACCOUNT, CloseSession("u"), replace(ATTEMPT, uuid=uuid)).body for uuid in ("a" * 32, "b" * 32)]
    assert [json.loads(body)["uuid"] for body in sent] == ["a" * 32, "b" * 32]


@pytest.mark.parametrize("call", MEMBERS)
def test_an_absent_game_is_left_out(call: Any) -> None:
    """gameId is optional, and an empty one could mean a game without a name."""
    assert "gameId" not in json.loads(call.encode(ACCOUNT, CloseSession("u"), ATTEMPT).body)


@pytest.mark.parametrize("call", MEMBERS)
def test_the_device_is_ignored(call: Any) -> None:
    """What the dialect has no word for and changes nothing is not sent."""
    plain, with_device = (
        call.encode(ACCOUNT, CloseSession("u", device=device), ATTEMPT) for device in (Device(), Device("iOS", "1.0.0"))
    )
    assert plain == with_device


@pytest.mark.parametrize("call", MEMBERS)
@pytest.mark.parametrize(
    ("given_token", "configured", "sent"),
    [("theirs", "ours", "theirs"), (None, "ours", "ours"), ("", "ours", "ours"), ("theirs", None, "theirs")],
)
def test_the_callers_token_goes_before_the_configured_one(
    call: Any, given_token: str | None, configured: str | None, sent: str
) -> None:
    """The caller may give a token; the configuration holds the default."""
    account = replace(ACCOUNT, token=None if configured is None else Secret(configured))
    asked = CloseSession("u", token=None if given_token is None else Secret(given_token))
    assert json.loads(call.encode(account, asked, ATTEMPT).body)["token"] == sent


@pytest.mark.parametrize("call", MEMBERS)
@pytest.mark.parametrize(
    ("asked", "field"),
    [
        (CloseSession(""), "user_id"),
        (CloseSession("\ud800"), "user_id"),
        (CloseSession("u", game_id="\ud800"), "game_id"),
        (CloseSession("u", token=Secret("s3cr3t\udc80")), "token"),
    ],
)
def test_what_cannot_be_written_is_field_invalid(call: Any, asked: CloseSession, field: str) -> None:
    """Half a character, or no user, is refused by the field's name, and no token shows."""
    with pytest.raises(FieldInvalid) as refused:
        call.encode(ACCOUNT, asked, ATTEMPT)
    assert refused.value.field == field
    assert "s3cr3t" not in str(refused.value)


@pytest.mark.parametrize("call", MEMBERS)
@pytest.mark.parametrize("token", [None, Secret("")])
def test_no_token_at_all_is_field_invalid(call: Any, token: Secret | None) -> None:
    """Both documents require a token."""
    with pytest.raises(FieldInvalid) as refused:
        call.encode(replace(ACCOUNT, token=token), CloseSession("u"), ATTEMPT)
    assert refused.value.field == "token"


# --- The answer: codes ------------------------------------------------------------------------------------------------

LISTED = {
    **dict.fromkeys(["9", "12", "22", "62"], RefusalKind.USER_UNKNOWN),
    **dict.fromkeys(["54", "401"], RefusalKind.CREDENTIALS_REJECTED),
    **dict.fromkeys(["997", "998"], RefusalKind.FAILED),
    **dict.fromkeys(["999"], RefusalKind.FAILED_PERMANENTLY),
    **dict.fromkeys(["14", "15", "16", "17", "19", "18", "20", "21", "4", "7", "71"], RefusalKind.REFUSED),
    **dict.fromkeys(["52", "53", "55", "56", "57", "99", "59", "61", "64", "404"], RefusalKind.REFUSED),
}
"""The vendors' list, code by code, written out once more."""


def test_the_table_is_the_vendors_list() -> None:
    """Every code that the vendors list has its meaning, and no other code has one."""
    assert dict(KINDS) == LISTED


@pytest.mark.parametrize(("code", "kind"), [*LISTED.items(), ("1", RefusalKind.REFUSED_UNLISTED)])
def test_every_code_has_its_meaning(code: str, kind: RefusalKind) -> None:
    """A code means the same as number and as text, with status 200 and with another status of a refusal."""
    account = replace(ACCOUNT, settings=FamilySettings(secure_login="p", no_session_codes=()))
    for status in (200, 400, 404, 422, 499):
        assert _meaning({"error": int(code)}, status, account) == kind
        assert _meaning({"error": code}, status, account) == kind


@pytest.mark.parametrize("code", LISTED)
def test_a_configured_no_session_code_goes_before_its_other_meaning(code: str) -> None:
    """What the operator configures as 'no active session' is success, with any code of the list."""
    account = replace(ACCOUNT, settings=FamilySettings(secure_login="p", no_session_codes=(code,)))
    assert _meaning({"error": code}, 200, account) == Outcome.NO_ACTIVE_SESSION


@given(st.integers(-(10**17), 10**17).filter(lambda code: str(code) not in {*LISTED, "0"}))
def test_an_unlisted_code_is_never_success(code: int) -> None:
    """An undocumented number is a refusal with an unknown result."""
    assert _meaning({"error": code}) == RefusalKind.REFUSED_UNLISTED


@pytest.mark.parametrize("error", [b"0", b'"0"'])
def test_success_as_number_and_as_text(error: bytes) -> None:
    """The example writes a number, the table a string."""
    assert _meaning(b'{"error":' + error + b"}") == Outcome.CLOSED


@pytest.mark.parametrize(
    "body",
    [
        *(b'{"error":%s}' % e for e in (b"0.0", b"-0", b"0e0", b"false", b"true", b"null", b"[]", b"{}", b'""')),
        *(b'{"error":%s}' % e for e in (b'" 0"', b'"0 "', b'"00"', b'"0\\n"', b'"\\u0660"', b'"OK"', b"1e400")),
        *(b"", b"{}", b"0", b"[]", b'{"eroor":0}', b'{"error":0,"error":0}', b'{"error":0}}', b"<html>", b"\xff"),
        b"[" * 1_000_000,
    ],
)
def test_what_is_not_the_envelope_is_malformed(body: bytes) -> None:
    """Nothing near to 'error 0' is taken for it."""
    assert _meaning(body) == RefusalKind.MALFORMED


@pytest.mark.parametrize("description", [None, 1.5, 0, [], {}, True])
def test_no_close_fails_over_its_description(description: object) -> None:
    """A description of any type, or none, is no reason to doubt the code."""
    decoded = _decode(HttpReply(200, body=json.dumps({"error": 0, "description": description}).encode()))
    assert isinstance(decoded, Closed)
    assert decoded.answer.description == ""


# --- The answer: statuses ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("statuses", "kind"),
    [
        ([429], RefusalKind.THROTTLED),
        ([500, 503, 599], RefusalKind.FAILED),
        ([401, 403], RefusalKind.CREDENTIALS_REJECTED),
        ([301, 302, 304], RefusalKind.MALFORMED),
        ([100, 201, 202, 204, 206, 400, 404, 410], RefusalKind.MALFORMED),
    ],
)
def test_success_needs_status_200(statuses: list[int], kind: RefusalKind) -> None:
    """'error 0' with any other status has the status's meaning, and is never a close."""
    for status in statuses:
        assert _meaning({"error": 0}, status) == kind
        assert _meaning(b"", status) == kind


def test_no_active_session_may_have_another_status() -> None:
    """404 with code 17 is no active session; 404 with a web server's body is not."""
    assert _meaning({"error": 17}, 404) == Outcome.NO_ACTIVE_SESSION
    assert _meaning(b"Not Found", 404) == RefusalKind.MALFORMED


@pytest.mark.parametrize(
    ("body", "status", "code"), [(b'{"error":998}', 500, "998"), (b"", 500, "500"), (b"<html>", 200, "200")]
)
def test_the_answer_keeps_the_code_that_was_read(body: bytes, status: int, code: str) -> None:
    """The code is the dialect's where one was read, else the HTTP status."""
    refused = _decode(HttpReply(status, body=body))
    assert isinstance(refused, ProviderRefused)
    assert (refused.answer.code, refused.answer.http_status) == (code, status)


@given(
    st.integers(100, 599),
    st.binary(max_size=80)
    | st.dictionaries(st.text(), st.text() | st.integers()).map(lambda members: json.dumps(members).encode()),
)
def test_decode_never_raises_anything_else(status: int, body: bytes) -> None:
    """Every answer is a close or a refusal, and every refusal has a message."""
    decoded = _decode(HttpReply(status, body=body))
    assert isinstance(decoded, Closed) or decoded.message
