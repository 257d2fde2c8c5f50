"""Golden files become typed values, and an error names the file and the key."""

from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal

import pytest

from adapters import golden
from adapters.contract import (
    Accepted,
    Account,
    Attempt,
    CallbackFault,
    Closed,
    CloseSession,
    Credited,
    Device,
    FieldInvalid,
    HttpReply,
    HttpRequest,
    Outcome,
    PromoPrize,
    ProviderAnswer,
    RefusalKind,
    Rejected,
    Result,
    Secret,
    SessionExpired,
    Unsupported,
)
from adapters.golden import CallbackGolden, CallGolden, FaultExpected, RefusalExpected, UnsentExpected, UnsentGolden
from tests.adapters.example import ADAPTER, Settings

HEAD = """
source = "a document, page 1"
operation = "close_session"
[account]
provider = "parlour-1"
token = "desk-token-1"
[account.settings]
house = "north"
"""
CALL = f"""{HEAD}
[call]
user_id = "tester"
game_id = "whist"
clear_history = true
token = "given"
device = {{os = "Android", app_version = "1.0.10"}}
[attempt]
number = 2
uuid = "<uuid>"
now = 2026-01-01T00:00:00Z
"""
SENT = f"""{CALL}
[request]
method = "PUT"
path = "/seats/clear"
query = [["v", "2"]]
headers = [["X-Desk", "given"]]
body = '''player=é'''
printed = '''
player=é'''
[reply]
status = 200
body = "said=cleared"
[expect]
outcome = "CLOSED"
code = "cleared"
"""
CALLBACK = f"""{HEAD.replace("close_session", "paid")}
[request]
method = "POST"
path = "/paid"
body = "slip=1"
[notification]
type = "Result"
reference = "r"
user_id = "u"
currency = "EUR"
amount = "10.50"
round_id = "1"
game_id = "g"
promo = {{amount = "0.000000000000000001", reference = "p"}}
[answer]
type = "Credited"
transaction_id = "t"
currency = "EUR"
cash = "110.50"
bonus = "1"
[reply]
status = 200
body = "said=thanks"
printed = "said=thanks"
"""
ACCOUNT = Account("parlour-1", Settings(house="north"), Secret("desk-token-1"))


def parse(text: str) -> golden.Golden:
    return golden.parse("one.toml", text.encode(), ADAPTER)


def test_a_call_that_is_sent() -> None:
    """Every part of a call's golden becomes the contract's value, and texts become UTF-8 bytes."""
    assert parse(SENT) == CallGolden(
        name="one.toml",
        source="a document, page 1",
        operation="close_session",
        account=ACCOUNT,
        call=CloseSession("tester", "", "whist", Secret("given"), True, Device("Android", "1.0.10")),
        attempt=Attempt(2, "<uuid>", datetime(2026, 1, 1, tzinfo=UTC)),
        request=HttpRequest("PUT", "/seats/clear", (("v", "2"),), (("X-Desk", "given"),), "player=é".encode()),
        printed="player=é".encode(),
        reply=HttpReply(200, (), b"said=cleared"),
        expect=Closed(Outcome.CLOSED, ProviderAnswer("cleared", "", 200)),
    )


def test_a_call_that_is_refused() -> None:
    """A refusal is expected by its kind, and by code and description only where the golden gives them."""
    refused = SENT.replace('outcome = "CLOSED"\ncode = "cleared"', 'refusal = "FAILED"')
    one = parse(refused)
    assert isinstance(one, CallGolden)
    assert one.expect == RefusalExpected(RefusalKind.FAILED, None, None)
    another = parse(refused + 'code = "again"\ndescription = ""\n')
    assert isinstance(another, CallGolden)
    assert another.expect == RefusalExpected(RefusalKind.FAILED, "again", "")


@pytest.mark.parametrize(
    ("expect", "refusal"), [('unsupported = "game_id"', Unsupported), ('field_invalid = "game_id"', FieldInvalid)]
)
def test_a_call_that_is_not_sent(expect: str, refusal: type[Unsupported | FieldInvalid]) -> None:
    """Without request and reply a golden shows what the encoder refuses, and by which field."""
    one = parse(f"{CALL}[expect]\n{expect}\n")
    assert isinstance(one, UnsentGolden)
    assert one.expect == UnsentExpected(refusal, "game_id")


def test_a_callback_with_a_result() -> None:
    """A callback's golden holds the notification with exact decimals, our answer, and the answer's bytes."""
    assert parse(CALLBACK) == CallbackGolden(
        name="one.toml",
        source="a document, page 1",
        operation="paid",
        account=ACCOUNT,
        request=HttpRequest("POST", "/paid", (), (), b"slip=1"),
        expect=Result(
            "r", "u", "EUR", Decimal("10.50"), "1", "g", promo=PromoPrize(Decimal("0.000000000000000001"), "p")
        ),
        answer=Credited("t", "EUR", Decimal("110.50"), Decimal(1)),
        reply=HttpReply(200, (), b"said=thanks"),
        printed=b"said=thanks",
    )


def test_a_callback_with_a_fault() -> None:
    """A callback that is refused expects its fault and field, and a rejection as our answer."""
    one = parse(
        _between(
            _between(CALLBACK, "[notification]", "[answer]", '[expect]\nfault = "FIELD_MISSING"\nfield = "won"\n'),
            "[answer]",
            "[reply]",
            '[answer]\ntype = "Rejected"\nfault = "FIELD_MISSING"\nfield = "won"\n',
        )
    )
    assert isinstance(one, CallbackGolden)
    assert one.expect == FaultExpected(CallbackFault.FIELD_MISSING, "won")
    assert one.answer == Rejected(CallbackFault.FIELD_MISSING, "won")


def test_a_callback_with_an_expiry() -> None:
    """A session's end has its three fields and a plain acceptance."""
    expired = '[notification]\ntype = "SessionExpired"\nprovider_id = "n"\nsession_id = "s"\nuser_id = "u"\n'
    text = _between(CALLBACK, "[notification]", "[answer]", expired)
    one = parse(_between(text, "[answer]", "[reply]", '[answer]\ntype = "Accepted"\n'))
    assert isinstance(one, CallbackGolden)
    assert (one.expect, one.answer) == (SessionExpired("n", "s", "u"), Accepted())


def _between(text: str, start: str, end: str, other: str) -> str:
    """The text with the part from `start` up to `end` replaced."""
    return text[: text.index(start)] + other + text[text.index(end) :]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (SENT.replace("a document, page 1", " "), "$.source"),
        (SENT.replace('source = "a document, page 1"', ""), "`source`"),
        (SENT.replace('"close_session"', '"open_session"'), "'open_session'; the adapter 'example' has close_session"),
        (SENT.replace('house = "north"', ""), "`house`, in [account.settings]"),
        (SENT.replace('house = "north"', 'hose = "north"'), "in [account.settings]"),
        (SENT.replace('user_id = "tester"', ""), "$.call"),
        (SENT.replace("user_id", "player"), "$.call"),
        (SENT.replace("clear_history", "clear_histroy"), "`clear_histroy`"),
        (SENT.replace("printed", "prnited"), "`prnited`"),
        (SENT.replace("00:00:00Z", "00:00:00"), "$.attempt.now"),
        (SENT.replace('"/seats/clear"', '"seats/clear"'), "$.request.path"),
        (SENT.replace("status = 200", "status = 2000"), "$.reply.status"),
        (SENT.replace('"CLOSED"', '"SHUT"'), "$.expect.outcome"),
        (SENT.replace('code = "cleared"', ""), "`outcome` and `code`"),
        (SENT + 'refusal = "FAILED"\n', "`outcome` and `code`"),
        (SENT + 'unsupported = "game_id"\n', "`outcome` and `code`"),
        (_between(SENT, "[request]", "[reply]", ""), "is alone"),
        (f'{CALL}[expect]\noutcome = "CLOSED"\n', "`unsupported` and `field_invalid`"),
        (f'{CALL}[expect]\nunsupported = "game_id"\noutcome = "CLOSED"\n', "`unsupported` and `field_invalid`"),
        (CALLBACK.replace('"10.50"', '"1e3"'), "$.notification.amount"),
        (CALLBACK.replace('"10.50"', "10.5"), "$.notification.amount"),
        (CALLBACK.replace('"Credited"', '"Paid"'), "$.answer.type"),
        (_between(CALLBACK, "[notification]", "[answer]", ""), "either [notification]"),
        (CALLBACK + '[expect]\nfault = "UNREADABLE"\n', "either [notification]"),
        ("source = ", "is not TOML"),
    ],
)
def test_errors_name_file_and_key(text: str, problem: str) -> None:
    """A file that is not of the form is refused with its name, the key, and what to do."""
    with pytest.raises(golden.GoldenInvalid) as invalid:
        parse(text)
    assert "one.toml" in str(invalid.value)
    assert problem in str(invalid.value)
    assert str(invalid.value).endswith("Correct that file.")


def test_bytes_that_are_not_utf8_are_refused() -> None:
    """A file in another encoding is refused as such, and by its name."""
    with pytest.raises(golden.GoldenInvalid, match=r"one\.toml.*UTF-8"):
        golden.parse("one.toml", b"source = '\xe9'", ADAPTER)


def test_an_adapter_without_a_close_has_no_golden_of_it() -> None:
    """An operation that the adapter lacks is refused like an unknown one."""
    with pytest.raises(golden.GoldenInvalid, match="has left, paid"):
        golden.parse("one.toml", SENT.encode(), replace(ADAPTER, close_session=None))


def test_the_files_of_a_package() -> None:
    """A package's goldens are found by name, sorted; a package without any has none."""
    names = list(golden.files_of("tests.adapters.example"))
    assert names == sorted(names)
    assert "closed.toml" in names
    assert golden.files_of("tests.adapters.broken") == {}
