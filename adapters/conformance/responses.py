"""Checks: any callback is understood or refused, a signature is judged, and every answer of ours can be told."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import astuple, replace
from decimal import Decimal
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from adapters.conformance import wire
from adapters.conformance.callbacks import bytes_like
from adapters.conformance.case import CALL_MARKER, Subject, examples, shown
from adapters.conformance.substitutions import places, statements
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


def any_callback_is_understood_or_refused(subject: Subject) -> None:
    """Whatever comes in, decode gives its notification or raises CallbackRefused; so does verify, and nothing else."""
    for path, callback in subject.adapter.callbacks.items():
        goldens = [golden for _, golden in subject.told if golden.operation == path]
        bodies = sorted({golden.request.body for golden in goldens})
        for golden in goldens[:1]:
            for body in wire.strangers(bodies):
                _received(subject, callback, golden, replace(golden.request, body=body))
            for request in _strange_headers(golden.request):
                _received(subject, callback, golden, request)
            _judge_any_body(subject, callback, golden, bodies)


def _judge_any_body(subject: Subject, callback: _Callback, golden: CallbackGolden, bodies: list[bytes]) -> None:
    @examples
    @given(body=bytes_like(bodies))
    def holds(body: bytes) -> None:
        _received(subject, callback, golden, replace(golden.request, body=body))

    holds()


def _strange_headers(request: HttpRequest) -> Iterator[HttpRequest]:
    """The request without headers, and with each header's value replaced by what a server may hand on."""
    yield replace(request, headers=())
    for index, (name, _) in enumerate(request.headers):
        for value in ("", "é", "\udce9", "٣", "x" * 5_000):
            yield replace(request, headers=(*request.headers[:index], (name, value), *request.headers[index + 1 :]))


def _received(subject: Subject, callback: _Callback, golden: CallbackGolden, request: HttpRequest) -> None:
    for name, function in (("verify", callback.verify), ("decode", callback.decode)):
        try:
            result: object = function(golden.account, request)
        except CallbackRefused as refused:
            result = refused
        except Exception as error:
            raise subject.failure(
                f"{name} of {golden.operation} raises {type(error).__name__}",
                got=request,
                mend="Raise CallbackRefused, with the fault UNREADABLE for what is not the dialect's form.",
            ) from error
        if name == "verify" and result is None:
            continue
        for unsound in _unsound(result, callback):
            raise subject.failure(
                f"{name} of {golden.operation} gives {unsound}",
                expected=f"a well-typed {callback.notification.__name__}, or CallbackRefused",
                got=f"{shown(result)} for {shown(request)}",
                mend="Check each value before it goes into the notification, and refuse with the fault that fits.",
            )


def _unsound(result: object, callback: _Callback) -> Iterator[str]:
    match result:
        case CallbackRefused(
            fault=CallbackFault() as fault, field=str() as field, readable=PartialCallback() as readable
        ):
            if fault is CallbackFault.FIELD_MISSING and not field:
                yield "FIELD_MISSING without the field's name"
            if not _is_text(field, *astuple(readable)):
                yield "a refusal with a text that is not fit for UTF-8"
        case callback.notification():
            values = [value for value in astuple(result) if not isinstance(value, Decimal | tuple | None)]
            if not _is_text(*values):
                yield "a notification with a text that is not fit for UTF-8"
            if isinstance(result, Result):
                yield from _unsound_money(result)
        case _:
            yield "something else"


def _unsound_money(result: Result) -> Iterator[str]:
    amounts_told: tuple[object, ...] = (result.amount, *([result.promo.amount] if result.promo else []))
    for amount in amounts_told:
        if not isinstance(amount, Decimal) or not amount.is_finite() or amount.is_signed():
            yield f"{amount!r} as an amount"
        elif not -MONEY_PLACES <= int(amount.as_tuple().exponent) <= 0 or len(amount.as_tuple().digits) > MONEY_DIGITS:
            yield "an amount of more than 32 digits, more than 18 of them after the point, or with an exponent"


def _is_text(*values: object) -> bool:
    return all(isinstance(value, str) and not re.search("[\ud800-\udfff]", value) for value in values)


def signatures_are_judged(subject: Subject) -> None:
    """A verify of its own refuses another body, another key and no signature; one that judges nothing is `unsigned`."""
    for callback, golden in subject.told:
        if callback.verify is unsigned or not _is_verified(callback, golden.account, golden.request):
            continue
        forgeries = {
            "another body": (golden.account, replace(golden.request, body=golden.request.body + b" ")),
            "no header": (golden.account, replace(golden.request, headers=(), query=())),
            "another key": (replace(golden.account, token=Secret(CALL_MARKER)), golden.request),
            "no key": (replace(golden.account, token=None), golden.request),
        }
        for forgery, (account, request) in forgeries.items():
            if _is_verified(callback, account, request):
                raise subject.failure(
                    f"verify lets a callback with {forgery} pass",
                    golden=golden,
                    mend="Judge the signature over the raw bytes; or use adapters.contract.unsigned if there is none.",
                )


def every_character_of_a_signature_counts(subject: Subject) -> None:
    """Without its signature a callback is refused, and so it is with any one character of it changed."""
    for callback, golden in subject.told:
        if callback.verify is unsigned or not _is_verified(callback, golden.account, golden.request):
            continue
        for place in places(golden.request):
            if place.text is None or _is_verified(callback, golden.account, place.put()):
                continue
            for index in range(len(place.text.rstrip("="))):  # but base64's padding
                forged = place.spelling(_flipped(place.text, index))
                if _is_verified(callback, golden.account, forged):
                    raise subject.failure(
                        f"verify does not look at character {index + 1} of {place.name}",
                        golden=golden,
                        mend="Compare the whole signature, with hmac.compare_digest.",
                    )


def _flipped(text: str, index: int) -> str:
    """Another character there: never the same one in another case, nor one with the same high bits in base64."""
    another = "0" if text[index].lower() in "abcdefghijklmnopqrstuv" else "A"
    return f"{text[:index]}{another}{text[index + 1 :]}"


def _is_verified(callback: _Callback, account: Account[Any], request: HttpRequest) -> bool:
    try:
        callback.verify(account, request)
    except CallbackRefused:
        return False
    return True


# --- Our answers ------------------------------------------------------------------------------------------------------

CREDITED = Credited("transaction-x", "EUR", Decimal("110.50"))


def every_answer_can_be_told(subject: Subject) -> None:
    """encode_reply knows every answer and tells it with HTTP 200; and it tells 'send again' unlike 'never again'."""
    for callback, account in _answerers(subject):
        for answer in ANSWERS:
            reply = _told(subject, callback, account, answer)
            if reply.status != 200:
                raise subject.failure(
                    f"{answer} is told with HTTP {reply.status}",
                    expected="HTTP 200, which every answer after the callback key has",
                    got=reply,
                    mend="Tell what went wrong in the dialect's own codes: another status may come from any proxy.",
                )
        again, never = (
            _told(subject, callback, account, Rejected(fault))
            for fault in (CallbackFault.TRY_AGAIN, CallbackFault.REFERENCE_REUSED)
        )
        if again == never:
            raise subject.failure(
                "TRY_AGAIN and REFERENCE_REUSED are told the same: the provider cannot know whether to send again",
                got=again,
                mend="Tell TRY_AGAIN with a code that it retries, REFERENCE_REUSED with one that it does not.",
            )


REJECTIONS = tuple(Rejected(fault, field) for fault in CallbackFault for field in ("", "somefield"))
ANSWERS: tuple[CallbackAnswer, ...] = (Accepted(), CREDITED, *REJECTIONS)


def no_rejection_reads_as_a_success(subject: Subject) -> None:
    """A rejection says something else than a success where both speak: a word more or less leaves it a success."""
    for callback, account in _answerers(subject):
        answer: CallbackAnswer = CREDITED if callback.notification is Result else Accepted()
        success = _told(subject, callback, account, answer)
        rejections = {rejected: _told(subject, callback, account, rejected) for rejected in REJECTIONS}
        telling = _telling(success, rejections)
        for rejected, reply in rejections.items():
            if _reads_as(success, reply, telling):
                raise subject.failure(
                    f"the rejection {rejected.fault} is told as a success",
                    expected=f"another value than in {shown(success)}, and not in words for a person alone",
                    got=reply,
                    mend="Give the fault a code of its own.",
                )


Path = tuple[str, ...]


def _telling(success: HttpReply, rejections: Mapping[Rejected, HttpReply]) -> frozenset[Path]:
    """Where a success and rejections differ; without what varies with the field at fault: words, and not a code."""
    telling = frozenset(path for reply in rejections.values() for path in _contradicted(success, reply))
    worded = {
        path
        for path in telling
        for fault in CallbackFault
        if len({statements(rejections[Rejected(fault, field)]).get(path) for field in ("", "somefield")}) > 1
    }
    return telling - worded or telling


def _reads_as(success: HttpReply, rejection: HttpReply, telling: frozenset[Path]) -> bool:
    """Whether someone who looks for a success finds it in the rejection."""
    ours, theirs = statements(success), statements(rejection)
    if not ours:  # of a form that the suite cannot take apart
        return rejection.body == success.body or bool(success.body and success.body in rejection.body)
    if not ours.keys() & theirs.keys():  # of another shape altogether
        return not theirs
    return not _contradicted(success, rejection) & telling


def _contradicted(success: HttpReply, rejection: HttpReply) -> frozenset[Path]:
    """Where both speak and say something else."""
    said = statements(success)
    return frozenset(path for path, text in statements(rejection).items() if said.get(path, text) != text)


def _answerers(subject: Subject) -> Iterator[tuple[_Callback, Account[Any]]]:
    for callback in subject.adapter.callbacks.values():
        if subject.account:
            yield callback, subject.account


def _told(
    subject: Subject,
    callback: _Callback,
    account: Account[Any],
    answer: CallbackAnswer,
) -> HttpReply:
    try:
        return callback.encode_reply(account, answer)
    except Exception as error:
        raise subject.failure(
            f"encode_reply raises {type(error).__name__}", got=answer, mend="Let it know every answer of the contract."
        ) from error


def money_is_told_exactly(subject: Subject) -> None:
    """The balance after a Result is told to the last digit, without an exponent, with its currency and transaction."""

    @examples
    @given(cash=amounts | st.sampled_from([Decimal("1E+2"), Decimal("0E-18")]))
    def holds(cash: Decimal) -> None:
        for callback, account in _answerers(subject):
            if callback.notification is not Result:
                continue
            body = _told(subject, callback, account, replace(CREDITED, cash=cash)).body
            numbers = re.findall(rb"\d+(?:\.\d+)?(?:[eE][+-]?\d+)?", body)
            if not any(b"e" not in number.lower() and Decimal(number.decode()) == cash for number in numbers):
                raise subject.failure(
                    "the balance is not told exactly",
                    expected=format(cash, "f"),
                    got=body,
                    mend='Write format(cash, "f"): no float, no rounding, no exponent.',
                )
            if not all(part.encode() in body for part in (CREDITED.transaction_id, CREDITED.currency)):
                raise subject.failure(
                    "the answer to a Result lacks transaction or currency", got=body, mend="Encode all of Credited."
                )

    holds()


CHECKS = (
    any_callback_is_understood_or_refused,
    signatures_are_judged,
    every_character_of_a_signature_counts,
    every_answer_can_be_told,
    no_rejection_reads_as_a_success,
    money_is_told_exactly,
)
