"""Broken decoders of callbacks that guess, normalize or drop values where they should refuse."""

import re
from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal
from urllib.parse import parse_qsl, urlencode

from adapters.contract import (
    Account,
    CallbackFault,
    CallbackRefused,
    HttpRequest,
    PartialCallback,
    Result,
    SessionExpired,
)
from tests.adapters.broken import Broken, with_callback
from tests.adapters.example import Settings, decode_left, decode_paid, read_form

_Account = Account[Settings]
_DecodePaid = Callable[[_Account, HttpRequest], Result]


def _normalizes(normalize: Callable[[Result], Result]) -> _DecodePaid:
    """Returns a payment with a normalized value."""
    return lambda account, request: normalize(decode_paid(account, request))


def _lowers_the_seat(account: _Account, request: HttpRequest) -> SessionExpired:
    expired = decode_left(account, request)
    return replace(expired, session_id=expired.session_id.lower())


def _drops_readable_values(fault: CallbackFault) -> _DecodePaid:
    """Refuses a payment with this fault, without its readable values."""

    def decode(account: _Account, request: HttpRequest) -> Result:
        try:
            return decode_paid(account, request)
        except CallbackRefused as refused:
            if refused.fault is fault:
                refused.readable = PartialCallback(user_id=refused.readable.user_id)
            raise

    return decode


def _reads_as_money(form: str) -> _DecodePaid:
    """Accepts a text of this form as an amount too."""

    def decode(account: _Account, request: HttpRequest) -> Result:
        try:
            return decode_paid(account, request)
        except CallbackRefused as refused:
            won = read_form(request.body)["won"] if refused.fault is CallbackFault.AMOUNT_INVALID else ""
            if not re.fullmatch(form, won):
                raise
            body = urlencode(read_form(request.body) | {"won": "1"}).encode()
            return replace(decode_paid(account, replace(request, body=body)), amount=Decimal(won))

    return decode


def _assumes_euro(account: _Account, request: HttpRequest) -> Result:
    more = b"" if b"coin=" in request.body else b"&coin=EUR"
    return decode_paid(account, replace(request, body=request.body + more))


def _keeps_the_last(account: _Account, request: HttpRequest) -> Result:
    pairs = dict(parse_qsl(request.body.decode("ascii", "replace"), keep_blank_values=True))
    return decode_paid(account, replace(request, body=urlencode(pairs).encode()))


_NORMALIZED: dict[str, Callable[[Result], Result]] = {
    "lowers_the_slip": lambda result: replace(result, reference=result.reference.lower()),
    "lowers_the_winner": lambda result: replace(result, user_id=result.user_id.casefold()),
    "trims_the_game": lambda result: replace(result, game_id=result.game_id.strip()),
    "cuts_the_slip": lambda result: replace(result, reference=result.reference[:24]),
    "cuts_the_round": lambda result: replace(result, round_id=result.round_id[:20]),
}
_READ_AS_MONEY = {
    "reads_an_exponent": r"1\.5e1",
    "reads_a_leading_zero": "01",
    "reads_an_underscore": "1_0",
    "reads_foreign_digits": r"(?![0-9])\d",
    "reads_space": " 5 ",
    "reads_a_plus": r"\+1",
    "reads_a_minus": "-1",
    "reads_what_is_no_number": "NaN",
}
BROKEN = (
    *(
        Broken(
            name,
            with_callback("paid", decode=_normalizes(normalize)),
            "callback_ids_are_unchanged",
            "not decoded as the event",
        )
        for name, normalize in _NORMALIZED.items()
    ),
    Broken(
        "lowers_the_seat",
        with_callback("left", decode=_lowers_the_seat),
        "callback_ids_are_unchanged",
        "not decoded as the event",
    ),
    *(
        Broken(name, with_callback("paid", decode=_reads_as_money(form)), "amounts_are_parsed_strictly", "as an amount")
        for name, form in _READ_AS_MONEY.items()
    ),
    Broken(
        "drops_the_slip_of_a_bad_sum",
        with_callback("paid", decode=_drops_readable_values(CallbackFault.AMOUNT_INVALID)),
        "refusals_keep_the_reference",
        "a Result refused over won loses",
    ),
    Broken(
        "drops_the_slip_of_a_missing_field",
        with_callback("paid", decode=_drops_readable_values(CallbackFault.FIELD_MISSING)),
        "refusals_keep_the_reference",
        "a Result refused without player loses",
    ),
    Broken(
        "assumes_euro",
        with_callback("paid", decode=_assumes_euro),
        "required_callback_fields_are_enforced",
        "paid without coin is accepted",
    ),
    Broken(
        "keeps_the_last",
        with_callback("paid", decode=_keeps_the_last),
        "duplicate_fields_are_refused",
        "slip occurs twice",
    ),
)
