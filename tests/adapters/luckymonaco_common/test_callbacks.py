"""The family's callbacks: the order of checks, every field's form, and money that is never rounded."""

import contextlib
import json
import re
from dataclasses import replace
from decimal import Context, Decimal
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.contract import (
    Account,
    CallbackFault,
    CallbackRefused,
    PartialCallback,
    PromoPrize,
    Result,
    Secret,
    SessionExpired,
    unsigned,
)
from adapters.kyren import ADAPTER as KYREN
from adapters.luckymonaco import ADAPTER as LUCKYMONACO
from adapters.luckymonaco_common.callbacks import result, session_expired
from adapters.luckymonaco_common.settings import FamilySettings
from tests.adapters.luckymonaco_common.messages import ACCOUNT, AMOUNTS, RESULT, SESSION_EXPIRED, posted

EXPIRED_REQUIRED = ["providerId", "sessionId", "userId"]
RESULT_REQUIRED = list(RESULT)
COMPARING = replace(ACCOUNT, settings=FamilySettings(secure_login="partner", verify_token=True))


def _expired(message: dict[str, Any] | bytes, account: Account[FamilySettings] = ACCOUNT) -> SessionExpired:
    return session_expired().decode(account, posted(message))


def _result(message: dict[str, Any] | bytes, *, names_session: bool = False) -> Result:
    return result(names_session=names_session).decode(ACCOUNT, posted(message))


def _refused(decode: Any, message: dict[str, Any] | bytes, *more: Any) -> tuple[CallbackFault, str]:
    with pytest.raises(CallbackRefused) as refused:
        decode(message, *more)
    assert refused.value.message
    return refused.value.fault, refused.value.field


def test_neither_member_signs() -> None:
    """The dialect has no signature: every `verify` is `unsigned`."""
    for adapter in (LUCKYMONACO, KYREN):
        assert {callback.verify for callback in adapter.callbacks.values()} == {unsigned}


# --- SessionExpired ---------------------------------------------------------------------------------------------------


def test_session_expired_needs_three_fields() -> None:
    """providerId, sessionId and userId identify the event; the rest of the table is not needed."""
    assert _expired(SESSION_EXPIRED) == SessionExpired("luckymonaco", "s-1", "u-1")


@pytest.mark.parametrize("name", EXPIRED_REQUIRED)
@pytest.mark.parametrize("value", [None, "", "absent"])
def test_session_expired_field_missing(name: str, value: str | None) -> None:
    """A required field that is absent, null or empty is named."""
    message = {**SESSION_EXPIRED, name: value}
    if value == "absent":
        del message[name]
    assert _refused(_expired, message) == (CallbackFault.FIELD_MISSING, name)


@pytest.mark.parametrize("name", EXPIRED_REQUIRED)
def test_session_expired_field_malformed(name: str) -> None:
    """An id is an integer, or a text of at most 255 characters without control characters or half characters."""
    values: list[object] = [-1, 1.5, True, [], {}, "x" * 256, "a\nb", "\x00", "\x7f", "\x85", "\ud800"]
    for value in values:
        assert _refused(_expired, {**SESSION_EXPIRED, name: value}) == (CallbackFault.FIELD_MALFORMED, name)


def test_an_id_may_be_any_text() -> None:
    """255 characters of any alphabet are an id."""
    assert _expired({**SESSION_EXPIRED, "userId": "\u732b" * 255}).user_id == "\u732b" * 255


# --- Credentials ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("decode", "message"), [(_expired, SESSION_EXPIRED), (_result, RESULT)])
def test_a_wrong_secure_login_is_refused(decode: Any, message: dict[str, Any]) -> None:
    """What is present must equal ours, whatever its type."""
    logins: list[object] = ["", "Partner", "partner ", "p\u00e4rtner", "\ud800", 1, True, [], {"a": 1}]
    for login in logins:
        assert _refused(decode, {**message, "secureLogin": login}) == (CallbackFault.CREDENTIALS_WRONG, "secureLogin")


@pytest.mark.parametrize(("decode", "message"), [(_expired, SESSION_EXPIRED), (_result, RESULT)])
@pytest.mark.parametrize("login", [None, "partner"])
def test_the_right_secure_login_or_none_passes(decode: Any, message: dict[str, Any], login: str | None) -> None:
    """Ours passes, and so does null: the document's own example has none."""
    assert decode({**message, "secureLogin": login}) == decode(message)


@pytest.mark.parametrize("token", ["theirs", "", 5])
def test_the_token_is_compared_only_where_configured(token: object) -> None:
    """By the document the token is the player's: only `verify_token` makes it ours."""
    message = {**SESSION_EXPIRED, "token": token}
    assert _expired(message) == _expired(SESSION_EXPIRED)
    assert _refused(_expired, message, COMPARING) == (CallbackFault.CREDENTIALS_WRONG, "token")


def test_our_token_or_none_passes_where_it_is_compared() -> None:
    """Ours passes, and so does a message without one."""
    for token in ("t0ken", None):
        assert _expired({**SESSION_EXPIRED, "token": token}, COMPARING) == _expired(SESSION_EXPIRED)


def test_without_a_token_of_ours_none_is_right() -> None:
    """Comparing with nothing refuses everything, rather than nothing."""
    account = replace(COMPARING, token=None)
    message = {**SESSION_EXPIRED, "token": "any"}
    assert _refused(_expired, message, account) == (CallbackFault.CREDENTIALS_WRONG, "token")


def test_a_token_in_result_is_an_unknown_member() -> None:
    """Result's table has no token."""
    assert result().decode(COMPARING, posted({**RESULT, "token": "any"})) == _result(RESULT)


def test_no_refusal_shows_a_credential() -> None:
    """A refusal shows neither their credential nor ours."""
    account = replace(COMPARING, token=Secret("s3cr3t-ours"))
    with pytest.raises(CallbackRefused) as refused:
        _expired({**SESSION_EXPIRED, "token": "s3cr3t-theirs"}, account)
    assert "s3cr3t" not in f"{refused.value!r} {refused.value.message} {refused.value.readable}"


# --- The order of checks ----------------------------------------------------------------------------------------------


def test_credentials_go_before_fields() -> None:
    """A message with wrong credentials is refused for them, whatever its fields."""
    assert _refused(_expired, {"secureLogin": "x"})[0] == CallbackFault.CREDENTIALS_WRONG
    assert _refused(_result, {"secureLogin": "x"})[0] == CallbackFault.CREDENTIALS_WRONG


def test_missing_goes_before_malformed_and_that_before_the_amount() -> None:
    """64 comes before 57 and 57 before 59, in any order of the fields."""
    wrong = {**RESULT, "uuid": [], "amount": "-1", "promoWinAmount": "-1", "promoWinReference": "p"}
    assert _refused(_result, {**wrong, "roundDetails": None}) == (CallbackFault.FIELD_MISSING, "roundDetails")
    assert _refused(_result, {**wrong, "promoWinReference": ""}) == (CallbackFault.FIELD_MISSING, "promoWinReference")
    assert _refused(_result, wrong) == (CallbackFault.FIELD_MALFORMED, "uuid")
    for name in ("currency", "promoCampaignType", "promoWinReference", "gameName", "promoWinAmount"):
        message = {**wrong, "uuid": "u", name: True}
        assert _refused(_result, message) == (CallbackFault.FIELD_MALFORMED, name)
    assert _refused(_result, {**wrong, "uuid": "u"}) == (CallbackFault.AMOUNT_INVALID, "amount")


def test_the_first_missing_field_of_the_table_is_named() -> None:
    """Of several missing fields the table's first is named, so that answers do not change at random."""
    assert _refused(_result, {}) == (CallbackFault.FIELD_MISSING, "uuid")
    for first, second in pairwise(RESULT_REQUIRED):
        assert _refused(_result, {**RESULT, first: None, second: None}) == (CallbackFault.FIELD_MISSING, first)


@given(
    st.binary(max_size=100)
    | st.dictionaries(
        st.sampled_from(
            [*RESULT, "roundid", "secureLogin", "token", "sessionId", "promoWinAmount", "promoWinReference"]
        ),
        st.sampled_from(["x", "", None, 1, 1.5, "1", True, [], {}]),
    ).map(lambda message: json.dumps({**RESULT, **SESSION_EXPIRED, **message}).encode())
)
def test_decode_never_raises_anything_else(body: bytes) -> None:
    """Whatever is sent is a notification or a refusal."""
    for decode in (_expired, _result):
        with contextlib.suppress(CallbackRefused):
            assert isinstance(decode(body), SessionExpired | Result)


# --- Result -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", RESULT_REQUIRED)
def test_result_field_missing(name: str) -> None:
    """Every field that the table requires is required, and named when absent or null."""
    message = {**RESULT}
    del message[name]
    assert _refused(_result, message) == (CallbackFault.FIELD_MISSING, name)
    assert _refused(_result, {**RESULT, name: None}) == (CallbackFault.FIELD_MISSING, name)


@pytest.mark.parametrize("name", [name for name in RESULT_REQUIRED if name != "roundDetails"])
def test_result_field_empty(name: str) -> None:
    """An empty text is as good as none."""
    assert _refused(_result, {**RESULT, name: ""}) == (CallbackFault.FIELD_MISSING, name)


@pytest.mark.parametrize(
    ("name", "values"),
    [
        *((name, [-5, 5.5, True, [], {}, "x" * 256, "a\tb"]) for name in ("uuid", "userId", "gameId", "reference")),
        *((name, [-5, 5.5, True, [], {}, "x" * 256, "\u0000"]) for name in ("providerId", "roundId", "roundid")),
        *((name, [-5, [], {}, "x" * 256, "\0"]) for name in ("bonusCode", "promoCampaignID", "promoCampaignType")),
        ("gameName", [5, True, [], {}]),
        ("currency", [5, "usd", "US", "USDUSDUSDUS", "US$", "\uff35\uff33\uff24", "USD\n"]),
        ("roundDetails", [5, True]),
        ("amount", [True, [], {}, [1]]),
    ],
)
def test_result_field_malformed(name: str, values: list[object]) -> None:
    """A wrong type, a text too long or with characters it cannot have, is named."""
    message = {key: value for key, value in RESULT.items() if not (name == "roundid" and key == "roundId")}
    for value in values:
        assert _refused(_result, {**message, name: value}) == (CallbackFault.FIELD_MALFORMED, name)


@given(st.integers(0, 10**255 - 1))
def test_ids_may_be_json_integers(number: int) -> None:
    """They are taken by their digits, however many: the same as the text of them."""
    names = ("userId", "gameId", "reference", "roundId", "providerId", "bonusCode", "promoCampaignID")
    body, digits = json.dumps({**RESULT, **dict.fromkeys(names, "@")}), format(Decimal(number), "f")
    assert _result(body.replace('"@"', digits).encode()) == _result(body.replace("@", digits).encode())


@pytest.mark.parametrize("prefix", [b"\xef\xbb\xbf", b"\xef\xbb\xbf \r\n"])
def test_a_byte_order_mark_is_skipped(prefix: bytes) -> None:
    """It is no part of the message."""
    body = json.dumps(RESULT).encode()
    assert _result(prefix + body) == _result(body)


def test_the_game_name_is_kept_nowhere_and_may_be_any_text() -> None:
    """No win is refused over how a game is called."""
    assert _result({**RESULT, "gameName": "x" * 300}) == _result(RESULT)


@pytest.mark.parametrize("timestamp", ["1482429190374", "yesterday", 1482429190374, 1.5, False, [], {}])
def test_the_timestamp_is_not_judged(timestamp: object) -> None:
    """It is required, and no more."""
    assert _result({**RESULT, "timestamp": timestamp}) == _result(RESULT)


@pytest.mark.parametrize("details", ["spin", [], ["spin", "freespin"], {}, {"type": "spin"}])
def test_round_details_are_array_text_or_object(details: object) -> None:
    """All three occur, and an array or an object may be empty."""
    assert _result({**RESULT, "roundDetails": details}) == _result(RESULT)


def test_round_id_and_roundid_are_one_field() -> None:
    """Either spelling is read; the one that is null or empty is not there; both at once are refused."""
    without = {name: value for name, value in RESULT.items() if name != "roundId"}
    assert _result({**without, "roundid": "r-2"}).round_id == "r-2"
    assert _result({**without, "roundid": "r-2", "roundId": None}).round_id == "r-2"
    assert _result({**without, "roundid": "", "roundId": "r-1"}).round_id == "r-1"
    assert _refused(_result, without) == (CallbackFault.FIELD_MISSING, "roundId")
    for other in ("r-1", "r-2", 5):
        assert _refused(_result, {**RESULT, "roundid": other}) == (CallbackFault.FIELD_MALFORMED, "roundId")


def test_only_kyrens_result_names_its_session() -> None:
    """sessionId is read where the member of the family has it, and is optional there."""
    message = {**RESULT, "sessionId": "s-1"}
    assert _result(message).session_id == ""
    assert _result(message, names_session=True).session_id == "s-1"
    assert _result(RESULT, names_session=True).session_id == ""
    assert _result({**RESULT, "sessionId": 5}, names_session=True).session_id == "5"
    assert _result({**RESULT, "sessionId": True}).session_id == ""
    with pytest.raises(CallbackRefused) as refused:
        _result({**RESULT, "sessionId": True}, names_session=True)
    assert (refused.value.fault, refused.value.field) == (CallbackFault.FIELD_MALFORMED, "sessionId")


_WIDE = Context(prec=200)

# --- Money ------------------------------------------------------------------------------------------------------------


@given(AMOUNTS, st.booleans())
def test_amounts_are_exact(amount: str, quoted: bool) -> None:
    """Every digit of an amount arrives, as a JSON number and as a string alike."""
    written = json.dumps(amount) if quoted else amount
    body = json.dumps({**RESULT, "amount": "A"}).replace('"A"', written).encode()
    assert str(_result(body).amount.as_tuple()) == str(Decimal(amount).as_tuple())


@given(AMOUNTS, st.integers(-40, 40), st.sampled_from(["e", "E", "e+", "E00"]))
def test_an_exponent_is_another_way_to_write_an_amount(amount: str, shift: int, mark: str) -> None:
    """A JSON number with any exponent is the amount that it is, or 59 where its plain form is none."""
    exponent = f"{mark}{shift}" if shift >= 0 else f"{mark[0]}{shift}"
    mantissa = format(Decimal(amount).scaleb(-shift, _WIDE), "f")
    body = json.dumps({**RESULT, "amount": "A"}).replace('"A"', mantissa + exponent).encode()
    written = format(Decimal(mantissa + exponent), "f")
    if re.fullmatch(r"[0-9]+(\.[0-9]{1,18})?", written) and len(written.replace(".", "")) <= 32:
        assert _result(body).amount == Decimal(amount)
        assert format(_result(body).amount, "f") == written
    else:
        assert _refused(_result, body) == (CallbackFault.AMOUNT_INVALID, "amount")
    quoted = json.dumps({**RESULT, "amount": mantissa + exponent}).encode()
    assert _refused(_result, quoted) == (CallbackFault.AMOUNT_INVALID, "amount")


@pytest.mark.parametrize("amount", ["1e33", "1e-19", "-1e1", "1e400", "1e300000000", "1e-300000000", f"{'1' * 99}e-98"])
def test_an_exponent_too_far_is_invalid(amount: str) -> None:
    """It is 59 at once: nobody writes out a number of millions of digits."""
    body = json.dumps({**RESULT, "amount": "A"}).replace('"A"', amount).encode()
    assert _refused(_result, body) == (CallbackFault.AMOUNT_INVALID, "amount")


@pytest.mark.parametrize("amount", ["-1", "-0", "0.1234567890123456789", "9" * 33, "1e400"])
def test_an_amount_not_of_the_form_is_invalid(amount: str) -> None:
    """A JSON number that is not plain is 59, and so is the same as a string."""
    for written in (amount, json.dumps(amount)):
        body = json.dumps({**RESULT, "amount": "A"}).replace('"A"', written).encode()
        assert _refused(_result, body) == (CallbackFault.AMOUNT_INVALID, "amount")


@pytest.mark.parametrize("amount", [" 5", "5 ", "abc", "\u0665", "1_0", "NaN", "+1", "01", "1.", ".5"])
def test_a_text_that_is_no_amount_is_invalid(amount: str) -> None:
    """What only a lenient reader takes for a number is 59, in either amount."""
    assert _refused(_result, {**RESULT, "amount": amount}) == (CallbackFault.AMOUNT_INVALID, "amount")
    message = {**RESULT, "promoWinAmount": amount, "promoWinReference": "p"}
    assert _refused(_result, message) == (CallbackFault.AMOUNT_INVALID, "promoWinAmount")


def test_a_prize_needs_both_of_its_fields() -> None:
    """Amount and reference make a prize; null and empty are none; one alone names the other."""
    both = {**RESULT, "promoWinAmount": "2.50", "promoWinReference": "p-1"}
    assert _result(both).promo == PromoPrize(Decimal("2.50"), "p-1")
    assert _result({**both, "promoWinAmount": 0}).promo == PromoPrize(Decimal(0), "p-1")
    for nothing in (None, ""):
        assert _result({**RESULT, "promoWinAmount": nothing, "promoWinReference": nothing}).promo is None
        for absent in ("promoWinAmount", "promoWinReference"):
            assert _refused(_result, {**both, absent: nothing}) == (CallbackFault.FIELD_MISSING, absent)


# --- The readable values of a refusal ---------------------------------------------------------------------------------


def test_a_refusal_carries_what_could_be_read() -> None:
    """Reference, user and session go with the refusal in whatever form they are: a person looks for them."""
    with pytest.raises(CallbackRefused) as refused:
        _result({**RESULT, "amount": "-1", "sessionId": "s-1"})
    assert refused.value.readable == PartialCallback("ref-1", "u-1", "s-1")
    with pytest.raises(CallbackRefused) as refused:
        _result({**RESULT, "secureLogin": "x", "userId": 5, "reference": "a\x00b"})
    assert refused.value.readable == PartialCallback("a\ufffdb", "5")
    with pytest.raises(CallbackRefused) as refused:
        _result({**RESULT, "amount": "-1", "userId": True, "reference": ["r"]})
    assert refused.value.readable == PartialCallback()
    with pytest.raises(CallbackRefused) as refused:
        _result(b"{")
    assert refused.value.readable == PartialCallback()
