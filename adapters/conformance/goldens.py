"""Checks: the adapter matches its golden files byte for byte, and each operation has enough of them."""

from typing import Any

from adapters.conformance import wire
from adapters.conformance.case import Case, result_of
from adapters.contract import (
    Account,
    Callback,
    CallbackRefused,
    Closed,
    HttpRequest,
    Notification,
    ProviderRefused,
    Rejected,
)
from adapters.golden import CLOSE_SESSION, CallbackGolden, CallGolden, FaultExpected, RefusalExpected, UnsentGolden

_OR_GOLDEN = "or correct the golden, if the provider's document says otherwise."


def goldens_are_readable(case: Case) -> None:
    """Every golden file has the documented form and names its source."""
    for problem in case.unreadable:
        raise case.failure(str(problem), fix="The docstring of adapters/golden.py describes the form.")


def every_operation_has_goldens(case: Case) -> None:
    """Each operation has a golden of a success and a golden of a refusal."""
    operations = [CLOSE_SESSION] if case.adapter.close_session else []
    for operation in (*operations, *case.adapter.callbacks):
        found = [_is_success(golden) for golden in case.goldens if golden.operation == operation]
        for success, kind in ((True, "a success"), (False, "a refusal")):
            if success not in found:
                raise case.failure(
                    f"no golden shows {kind} of {operation}",
                    fix=f"Add one to golden/ of {case.package}, from the provider's document, and name its source.",
                )


def _is_success(golden: CallGolden | UnsentGolden | CallbackGolden) -> bool:
    match golden:
        case CallGolden(expect=expect):
            return isinstance(expect, Closed)
        case UnsentGolden():
            return False
        case CallbackGolden(answer=answer):
            return not isinstance(answer, Rejected)


def requests_are_exact(case: Case) -> None:
    """`encode` makes the golden's request from the golden's call, byte for byte and header for header."""
    for close, golden in case.sent:
        request = close.encode(golden.account, golden.call, golden.attempt)
        for part in ("method", "path", "query", "headers", "body"):
            expected, got = getattr(golden.request, part), getattr(request, part)
            if expected != got:
                raise case.failure(
                    f"encode makes another {part}",
                    golden=golden,
                    expected=expected,
                    got=got,
                    fix=f"Correct encode; {_OR_GOLDEN}",
                )


def unsent_calls_are_refused(case: Case) -> None:
    """`encode` refuses a golden's call that the dialect cannot express, and names the golden's field."""
    for close, golden in case.unsent:
        refusal, field = golden.expect.refusal, golden.expect.field
        got = result_of(close.encode, golden.account, golden.call, golden.attempt)
        if not (isinstance(got, refusal) and got.field == field):
            raise case.failure(
                "a call that the dialect cannot express is not refused as the golden expects",
                golden=golden,
                expected=f"{refusal.__name__} naming {field}",
                got=got,
                fix=f"Raise {refusal.__name__}({field!r}, …) in encode.",
            )


def replies_are_decoded(case: Case) -> None:
    """`decode` gives the golden's outcome or refusal, with the golden's code and description."""
    for close, golden in case.sent:
        got = result_of(close.decode, golden.account, golden.reply)
        if not _is_expected(golden.expect, got):
            raise case.failure(
                "decode gives another result of the reply",
                golden=golden,
                expected=golden.expect,
                got=got,
                fix=f"Correct decode; {_OR_GOLDEN}",
            )


def _is_expected(expect: Closed | RefusalExpected, got: object) -> bool:
    if isinstance(expect, Closed) or not isinstance(got, ProviderRefused):
        return expect == got
    return (
        got.kind is expect.kind
        and expect.code in {None, got.answer.code}
        and expect.description in {None, got.answer.description}
    )


def callbacks_are_decoded(case: Case) -> None:
    """`verify` and `decode` give the golden's notification, or its fault and field."""
    for callback, golden in case.callbacks:
        got: object = result_of(verify_and_decode, callback, golden.account, golden.request)
        if isinstance(got, CallbackRefused):
            got = FaultExpected(got.fault, got.field)
        if got != golden.expect:
            raise case.failure(
                "verify and decode give another result of the callback",
                golden=golden,
                expected=golden.expect,
                got=got,
                fix=f"Correct verify or decode; {_OR_GOLDEN}",
            )


def verify_and_decode(
    callback: Callback[Any, Notification], account: Account[Any], request: HttpRequest
) -> Notification:
    """The notification of a callback, decoded as the gateway does it. Raises CallbackRefused."""
    callback.verify(account, request)
    return callback.decode(account, request)


def callback_replies_are_exact(case: Case) -> None:
    """`encode_reply` makes the golden's reply from the golden's answer, byte for byte and header for header."""
    for callback, golden in case.callbacks:
        got = callback.encode_reply(golden.account, golden.answer)
        if got != golden.reply:
            raise case.failure(
                "encode_reply makes another reply",
                golden=golden,
                expected=golden.reply,
                got=got,
                fix=f"Correct encode_reply; {_OR_GOLDEN}",
            )


def printed_bodies_are_equivalent(case: Case) -> None:
    """A body as the document prints it and as it is sent are one value, with the same key order and number literals."""
    for golden in case.goldens:
        if isinstance(golden, UnsentGolden) or golden.printed is None:
            continue
        body = golden.request.body if isinstance(golden, CallGolden) else golden.reply.body
        if not wire.same_value(golden.printed, body):
            raise case.failure(
                "the printed body is another value than the body that is sent",
                golden=golden,
                expected=golden.printed,
                got=body,
                fix="Copy `printed` from the document again, then make the other body the same value.",
            )


CHECKS = (
    goldens_are_readable,
    every_operation_has_goldens,
    requests_are_exact,
    unsent_calls_are_refused,
    replies_are_decoded,
    callbacks_are_decoded,
    callback_replies_are_exact,
    printed_bodies_are_equivalent,
)
