"""Checks: `verify` and `decode` accept or refuse any callback, and `encode_reply` encodes every answer."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import astuple, replace
from datetime import datetime
from decimal import Decimal
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from adapters.conformance import wire
from adapters.conformance.case import CALL_MARKER, Case, examples, result_of, shown
from adapters.conformance.responses import bytes_like
from adapters.conformance.substitutions import places, texts_by_path
from adapters.contract import (
    Accepted,
    Account,
    Callback,
    CallbackAnswer,
    CallbackFault,
    CallbackRefused,
    Credited,
    HttpReply,
    HttpRequest,
    Notification,
    PartialCallback,
    Rejected,
    Result,
    Secret,
    unsigned,
)
from adapters.golden import CallbackGolden

_Callback = Callback[Any, Notification]

MONEY_DIGITS = 32
MONEY_PLACES = 18

amounts = st.builds(
    lambda digits, places: Decimal((0, tuple(map(int, str(digits))), -places)),
    st.integers(0, 10**MONEY_DIGITS - 1),
    st.integers(0, MONEY_PLACES),
) | st.sampled_from([Decimal("12345678901234.123456789012345678"), Decimal("10.50"), Decimal(0), Decimal("1E-18")])
"""Every amount that money may have."""


def any_callback_is_decoded_or_refused(case: Case) -> None:
    """For any request `decode` returns its notification or raises CallbackRefused; so does `verify`; nothing else."""
    for path, callback in case.adapter.callbacks.items():
        goldens = [golden for _, golden in case.callbacks if golden.operation == path]
        bodies = sorted({golden.request.body for golden in goldens})
        for golden in goldens[:1]:
            for body in wire.malformed_variants(bodies):
                _check_request(case, callback, golden, replace(golden.request, body=body))
            for request in _unusual_headers(golden.request):
                _check_request(case, callback, golden, request)
            _check_any_body(case, callback, golden, bodies)


def _check_any_body(case: Case, callback: _Callback, golden: CallbackGolden, bodies: list[bytes]) -> None:
    @examples
    @given(body=bytes_like(bodies))
    def holds(body: bytes) -> None:
        _check_request(case, callback, golden, replace(golden.request, body=body))

    holds()


def _unusual_headers(request: HttpRequest) -> Iterator[HttpRequest]:
    """The request without headers, and with each header's value replaced by what an HTTP server may pass on."""
    yield replace(request, headers=())
    for index, (name, _) in enumerate(request.headers):
        for value in ("", "é", "\udce9", "٣", "x" * 5_000):
            yield replace(request, headers=(*request.headers[:index], (name, value), *request.headers[index + 1 :]))


def _check_request(case: Case, callback: _Callback, golden: CallbackGolden, request: HttpRequest) -> None:
    for name, function in (("verify", callback.verify), ("decode", callback.decode)):
        where = f"{name} of {golden.operation}"
        fix = "Raise CallbackRefused, with the fault UNREADABLE for what is not the dialect's form."
        result = case.run(where, function, golden.account, request, fix=fix)
        if name == "verify" and result is None:
            continue
        for problem in _problems(result, callback):
            raise case.failure(
                f"{where} gives {problem}",
                expected=f"a well-typed {callback.notification.__name__}, or CallbackRefused",
                got=f"{shown(result)} for {shown(request)}",
                fix="Check each value before it goes into the notification, and refuse with the fault that applies.",
            )


def _problems(result: object, callback: _Callback) -> Iterator[str]:
    match result:
        case CallbackRefused(
            fault=CallbackFault() as fault, field=str() as field, readable=PartialCallback() as readable
        ):
            if fault is CallbackFault.FIELD_MISSING and not field:
                yield "FIELD_MISSING without the field's name"
            if not _is_text(field, *astuple(readable)):
                yield "a refusal with a text that UTF-8 cannot encode"
        case callback.notification():
            values = [value for value in astuple(result) if not isinstance(value, Decimal | datetime | tuple | None)]
            if not _is_text(*values):
                yield "a notification with a text that UTF-8 cannot encode"
            if isinstance(result, Result):
                yield from _money_problems(result)
        case _:
            yield "another type"


def _money_problems(result: Result) -> Iterator[str]:
    values: tuple[object, ...] = (result.amount, *([result.promo.amount] if result.promo else []))
    for amount in values:
        if not isinstance(amount, Decimal) or not amount.is_finite() or amount.is_signed():
            yield f"{amount!r} as an amount"
        elif not -MONEY_PLACES <= int(amount.as_tuple().exponent) <= 0 or len(amount.as_tuple().digits) > MONEY_DIGITS:
            yield "an amount of more than 32 digits, more than 18 of them after the point, or with an exponent"


def _is_text(*values: object) -> bool:
    return all(isinstance(value, str) and not re.search("[\ud800-\udfff]", value) for value in values)


# --- Signatures -------------------------------------------------------------------------------------------------------


def signatures_are_verified(case: Case) -> None:
    """`verify` refuses another body, another key and no signature. One that checks nothing must be `unsigned`."""
    for callback, golden in _signed(case):
        forgeries = {
            "another body": (golden.account, replace(golden.request, body=golden.request.body + b" ")),
            "no header": (golden.account, replace(golden.request, headers=(), query=())),
            "another key": (replace(golden.account, token=Secret(CALL_MARKER)), golden.request),
            "no key": (replace(golden.account, token=None), golden.request),
        }
        for forgery, (account, request) in forgeries.items():
            if _is_verified(callback, account, request):
                raise case.failure(
                    f"verify accepts a callback with {forgery}",
                    golden=golden,
                    fix="Verify the signature over the raw bytes; or use adapters.contract.unsigned if there is none.",
                )


def whole_signature_is_compared(case: Case) -> None:
    """A callback without its signature is refused, and so is one with any one character of it changed."""
    for callback, golden in _signed(case):
        for place in places(golden.request):
            if place.text is None or _is_verified(callback, golden.account, place.put()):
                continue
            for index in range(len(place.text.rstrip("="))):  # without base64's padding
                forged = place.spelling(_flipped(place.text, index))
                if _is_verified(callback, golden.account, forged):
                    raise case.failure(
                        f"verify does not compare character {index + 1} of {place.name}",
                        golden=golden,
                        fix="Compare the whole signature, with hmac.compare_digest.",
                    )


def _signed(case: Case) -> Iterator[tuple[_Callback, CallbackGolden]]:
    """The goldens whose signature `verify` accepts."""
    for callback, golden in case.callbacks:
        if callback.verify is not unsigned and _is_verified(callback, golden.account, golden.request):
            yield callback, golden


def _flipped(text: str, index: int) -> str:
    """The text with another character there: not the same in another case, nor with the same high bits in base64."""
    another = "0" if text[index].lower() in "abcdefghijklmnopqrstuv" else "A"
    return f"{text[:index]}{another}{text[index + 1 :]}"


def _is_verified(callback: _Callback, account: Account[Any], request: HttpRequest) -> bool:
    return not isinstance(result_of(callback.verify, account, request), CallbackRefused)


# --- Our answers ------------------------------------------------------------------------------------------------------

CREDITED = Credited("transaction-x", "EUR", Decimal("110.50"))
REJECTIONS = tuple(Rejected(fault, field) for fault in CallbackFault for field in ("", "somefield"))
ANSWERS: tuple[CallbackAnswer, ...] = (Accepted(), CREDITED, *REJECTIONS)


def every_answer_is_encoded(case: Case) -> None:
    """`encode_reply` encodes every answer with HTTP 200, and 'send again' differs from 'do not send again'."""
    for callback, account in _callbacks_with_account(case):
        for answer in ANSWERS:
            reply = _encode(case, callback, account, answer)
            if reply.status != 200:
                raise case.failure(
                    f"{answer} is encoded with HTTP {reply.status}",
                    expected="HTTP 200, which every answer to an authenticated callback has",
                    got=reply,
                    fix="Use the dialect's codes for what went wrong: any proxy may send another status.",
                )
        again, never = (
            _encode(case, callback, account, Rejected(fault))
            for fault in (CallbackFault.TRY_AGAIN, CallbackFault.REFERENCE_REUSED)
        )
        if again == never:
            raise case.failure(
                "TRY_AGAIN and REFERENCE_REUSED have the same reply: the provider cannot decide whether to send again",
                got=again,
                fix="Give TRY_AGAIN a code that the provider retries, and REFERENCE_REUSED one that it does not.",
            )


def rejections_differ_from_success(case: Case) -> None:
    """A rejection has another value than a success where both have one. Another description alone is not enough."""
    for callback, account in _callbacks_with_account(case):
        answer: CallbackAnswer = CREDITED if callback.notification is Result else Accepted()
        success = _encode(case, callback, account, answer)
        replies = {rejected: _encode(case, callback, account, rejected) for rejected in REJECTIONS}
        distinguishing = _distinguishing(success, replies)
        for rejected, reply in replies.items():
            if _looks_successful(success, reply, distinguishing):
                raise case.failure(
                    f"the rejection {rejected.fault} is encoded as a success",
                    expected=f"another value than in {shown(success)}, and not only in a description",
                    got=reply,
                    fix="Give the fault its own code.",
                )


Path = tuple[str, ...]


def _distinguishing(success: HttpReply, replies: Mapping[Rejected, HttpReply]) -> frozenset[Path]:
    """Where rejections differ from a success, without what varies with the field at fault: that is a description."""
    differing = frozenset(path for reply in replies.values() for path in _differing(success, reply))
    described = {
        path
        for path in differing
        for fault in CallbackFault
        if len({texts_by_path(replies[Rejected(fault, field)]).get(path) for field in ("", "somefield")}) > 1
    }
    return differing - described or differing


def _looks_successful(success: HttpReply, rejection: HttpReply, distinguishing: frozenset[Path]) -> bool:
    """Whether a provider that looks for a success finds one in the rejection."""
    ours, theirs = texts_by_path(success), texts_by_path(rejection)
    if not ours:  # a form that the suite cannot parse
        return rejection.body == success.body or bool(success.body and success.body in rejection.body)
    if not ours.keys() & theirs.keys():  # other members altogether
        return not theirs
    return not _differing(success, rejection) & distinguishing


def _differing(success: HttpReply, rejection: HttpReply) -> frozenset[Path]:
    """The paths where both have a value, and not the same one."""
    values = texts_by_path(success)
    return frozenset(path for path, text in texts_by_path(rejection).items() if values.get(path, text) != text)


def _callbacks_with_account(case: Case) -> Iterator[tuple[_Callback, Account[Any]]]:
    for callback in case.adapter.callbacks.values():
        if case.account:
            yield callback, case.account


def _encode(case: Case, callback: _Callback, account: Account[Any], answer: CallbackAnswer) -> HttpReply:
    fix = "Encode every answer of the contract, and raise nothing."
    reply = case.run("encode_reply", callback.encode_reply, account, answer, fix=fix)
    if not isinstance(reply, HttpReply):
        raise case.failure(f"encode_reply raises {type(reply).__name__}", got=answer, fix=fix)
    return reply


def balances_are_encoded_exactly(case: Case) -> None:
    """The reply to a Result has the balance with every digit and no exponent, its currency and its transaction."""

    @examples
    @given(cash=amounts | st.sampled_from([Decimal("1E+2"), Decimal("0E-18")]))
    def holds(cash: Decimal) -> None:
        for callback, account in _callbacks_with_account(case):
            if callback.notification is not Result:
                continue
            body = _encode(case, callback, account, replace(CREDITED, cash=cash)).body
            numbers = re.findall(rb"\d+(?:\.\d+)?(?:[eE][+-]?\d+)?", body)
            if not any(b"e" not in number.lower() and Decimal(number.decode()) == cash for number in numbers):
                raise case.failure(
                    "the balance is not exact",
                    expected=format(cash, "f"),
                    got=body,
                    fix='Write format(cash, "f"): no float, no rounding, no exponent.',
                )
            if not all(part.encode() in body for part in (CREDITED.transaction_id, CREDITED.currency)):
                raise case.failure(
                    "the reply to a Result lacks transaction or currency", got=body, fix="Encode all of Credited."
                )

    holds()


CHECKS = (
    any_callback_is_decoded_or_refused,
    signatures_are_verified,
    whole_signature_is_compared,
    every_answer_is_encoded,
    rejections_differ_from_success,
    balances_are_encoded_exactly,
)
